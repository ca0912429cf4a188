"""The Taylor test: does a gradient belong to the loss it came with?

With a direction v, E0(h) = |L(theta + h v) - L(theta)| falls like h, and E1(h) = |L(theta + h v) - L(theta) - h g.v|
like h^2 if and only if g is the gradient of L as computed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument, NonFiniteLoss, SolveError
from pynode.evaluation import checked_params

LossFunction = Callable[[], Tensor]
"""A scalar loss as a function of parameters that it holds itself; called again after each change of them."""

EXACT_SLOPE = 1.9
"""E1 falls with slope 2 for the exact gradient; this much is left to the fit."""

LARGE, SMALL, ROUGH = slice(1, 7), slice(7, None), 4.0
"""The difference quotient at a size differs from that at the smallest by a multiple of h where the loss is smooth.  It
is rough where the multiple at some size of h < 1/64 is so many times the median of those at 1/2 to 1/64."""

STEADY = 3
"""Successive sizes by which the slope of a rough loss is judged."""


@dataclass(frozen=True)
class TaylorResult:
    """Remainders E0, E1 at the sizes `h` (all of one length, h falling), their fitted slopes, and the verdict.

    `fitted` is the half-open range of indices used for the fit: the smallest sizes at which E1 is still well above the
    rounding error of the loss.  Empty (0, 0) where E1 never was: the loss is linear along v to rounding.  `bound` is
    the relative error of the directional derivative: at most this where the test passes, about this where it fails.

    `rough_below` is a size h, or None.  The difference quotients of a smooth loss tend to its slope like h.  An
    adaptive solver changes its steps with the parameters, so that at small h the loss that it computes may have a slope
    of its own, which says nothing about the gradient: then the loss is rough below `rough_below`, and `bound` is the
    relative difference between the gradient and the difference quotients at the larger sizes where these are steadiest.
    """

    h: tuple[float, ...]
    e0: tuple[float, ...]
    e1: tuple[float, ...]
    slope_e0: float
    slope_e1: float
    fitted: tuple[int, int]
    bound: float
    rough_below: float | None = None

    @property
    def passes(self) -> bool:
        """Whether E1 falls with slope 2 (to 0.1) until it is small beside E0, or is rounding error throughout."""
        return self._unseen or (self.slope_e1 >= EXACT_SLOPE and self.bound < 0.1)

    @property
    def _unseen(self) -> bool:
        return self.fitted == (0, 0) and all(map(math.isfinite, self.e1))

    @property
    def verdict(self) -> str:
        """The finding in words, with what is left unseen: an error smaller than `bound` can't show."""
        if self._unseen:
            return "passes: E1 is rounding error"
        if self.fitted == (0, 0):
            return "undecided: the loss is not finite near these parameters"
        if self.passes:
            return f"passes: E1 falls with slope {self.slope_e1:.2f}; the gradient's error is below {self.bound:.0e}"
        if self.slope_e1 >= EXACT_SLOPE:
            return "undecided: E1 falls with slope 2, but sinks into rounding error before E0 does; use float64"
        if self.rough_below is not None:
            return (
                f"undecided: the computed loss is rough below h = {self.rough_below:.0e}; "
                f"above, its slope and the gradient differ by about {self.bound:.0e}"
            )
        return f"fails: E1 falls with slope {self.slope_e1:.2f}, not 2; the gradient is off by about {self.bound:.0e}"

    def __str__(self) -> str:
        """The verdict; the remainders stand in the fields."""
        return self.verdict


def taylor_test(
    loss: LossFunction, params: Iterable[Tensor], *, halvings: int = 24, seed: int = 0, points: int = 5
) -> TaylorResult:
    """Taylor test of the gradient of `loss()` by `params`, along a random direction, over h = 2^0, ..., 2^-halvings.

    The direction has one normal entry per parameter entry, scaled to the 2-norm of the parameters (or 1), so that h
    is a relative step.  Slopes are fitted to the `points` smallest sizes whose remainder is above rounding error.
    `params` are restored.  float64 is wanted: in float32 rounding hides the second order.

    Raises `InvalidArgument` for parameters that require no gradient or a loss that is not a finite scalar.
    """
    params = differentiable(params)
    for p in params:
        if not p.requires_grad or not p.is_leaf:
            raise InvalidArgument("params", tuple(p.shape), "not a leaf that requires a gradient", "pass nn.Parameters")
    if halvings < points:
        raise InvalidArgument("halvings", halvings, f"fewer than the {points} points of the fit", "use 10 or more")
    base = loss()
    if base.numel() != 1 or not bool(torch.isfinite(base)):
        raise InvalidArgument("loss", base.detach().tolist(), "not a finite scalar", "return one number")
    grads = torch.autograd.grad(base, params, allow_unused=True, materialize_grads=True)
    if not all(bool(torch.isfinite(g).all()) for g in grads):
        raise NonFiniteLoss("the gradient has NaN or infinite entries; mend the field or move the parameters")
    direction = random_direction(params, seed)
    slope = float(sum((g * v).sum() for g, v in zip(grads, direction, strict=True)))
    start = float(base.detach())

    h = [2.0**-k for k in range(halvings + 1)]
    with _moving(params, direction) as move:

        def value_at(step: float) -> float:
            move(step)
            return _value(loss)

        changes = [value_at(step) - start for step in h]
        e0 = [abs(change) for change in changes]
        e1 = [abs(change - step * slope) for change, step in zip(changes, h, strict=True)]
        sizes = [abs(start + change) for change, step in zip(changes, h, strict=True) if step <= 0.1]
        size = max([abs(start), *filter(math.isfinite, sizes)])
        # rounding of the loss itself, with room for the many additions behind it
        floor = 2e3 * torch.finfo(base.dtype).eps * max(size, abs(slope) * h[-1])
        first, last = _window(e1, floor, points)
        slope_e1 = fitted_slope(h[first:last], e1[first:last])
        bound = _relative_error(h[:last], changes[:last], slope, exact=slope_e1 >= EXACT_SLOPE)
        rough = None
        if last and not slope_e1 >= EXACT_SLOPE:
            quotients = [change / step for change, step in zip(changes[:last], h[:last], strict=True)]
            rough = _first_rough_size(h, quotients, floor)
        if rough is not None:
            # differences to both sides, which have no part that falls like h
            steady = [(value_at(step) - value_at(-step)) / (2 * step) for step in h[1:rough]]
            bound = _distance(steady, slope)
    return TaylorResult(
        tuple(h),
        tuple(e0),
        tuple(e1),
        fitted_slope(h[first:last], e0[first:last]),
        slope_e1,
        (first, last),
        bound,
        None if rough is None else h[rough - 1],
    )


@contextmanager
def _moving(params: Sequence[Tensor], direction: Sequence[Tensor]) -> Iterator[Callable[[float], None]]:
    """Gives a function that sets `params` to their values plus a multiple of `direction`; restores them at the end."""
    before = [p.detach().clone() for p in params]

    def move(step: float) -> None:
        for p, b, v in zip(params, before, direction, strict=True):
            p.copy_(b + step * v)

    with torch.no_grad():
        try:
            yield move
        finally:
            for p, b in zip(params, before, strict=True):
                p.copy_(b)


def random_direction(params: Sequence[Tensor], seed: int) -> list[Tensor]:
    """One tensor per parameter, normal entries, as long as the parameters together (2-norm; 1 if they are zero)."""
    generator = torch.Generator().manual_seed(seed)
    raw = [torch.randn(p.shape, dtype=torch.float64, generator=generator).to(p) for p in params]
    length = math.sqrt(sum(float(v.double().pow(2).sum()) for v in raw))
    size = math.sqrt(sum(float(p.detach().double().pow(2).sum()) for p in params)) or 1.0
    return [v * (size / length) for v in raw]


def fitted_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the least-squares line through (log x, log y); NaN where fewer than two points are positive."""
    pairs = [(math.log(a), math.log(b)) for a, b in zip(x, y, strict=True) if a > 0 and 0 < b < math.inf]
    if len(pairs) < 2:
        return math.nan
    mean_a, mean_b = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    spread = sum((a - mean_a) ** 2 for a, _ in pairs)
    return float(sum((a - mean_a) * (b - mean_b) for a, b in pairs) / spread)


def _window(e1: Sequence[float], floor: float, points: int) -> tuple[int, int]:
    last = len(e1)
    while last > 0 and e1[last - 1] <= floor:
        last -= 1
    while last > 0 and not math.isfinite(e1[last - 1]):
        last -= 1
    return (max(0, last - points), last) if last >= 2 else (0, 0)


def _first_rough_size(h: Sequence[float], quotients: Sequence[float], floor: float) -> int | None:
    """The index of the largest size at which the loss is rough, or None where it is smooth."""
    limit, rounding = quotients[-1], floor / h[len(quotients) - 1]

    def bend(k: int) -> float:
        away = abs(quotients[k] - limit)
        return away / h[k] if rounding < away < math.inf else 0.0

    indices = range(len(quotients) - 1)
    bends = sorted(bend(k) for k in indices[LARGE])
    smooth = bends[len(bends) // 2] if bends else 0.0
    return next((k for k in indices[SMALL] if bend(k) > ROUGH * smooth > 0), None)


def _relative_error(h: Sequence[float], changes: Sequence[float], slope: float, *, exact: bool) -> float:
    """The error of `slope` relative to the difference quotient at the smallest size; for an `exact` one a bound of it.

    The remainder over h is the error plus a multiple of h, which two sizes tell apart: near a size where both cancel,
    the remainder alone looks smaller than the error, and above it larger.
    """
    if not changes or not changes[-1]:
        return 0.0
    quotients = [change / step for change, step in zip(changes, h, strict=True)]
    remainder = quotients[-1] - slope
    error = remainder
    if len(quotients) > 1 and math.isfinite(quotients[-2]):
        ratio = h[-2] / h[-1]
        error = (ratio * remainder - (quotients[-2] - slope)) / (ratio - 1)
    return (max(abs(error), abs(remainder)) if exact else abs(error)) / abs(quotients[-1])


def _distance(quotients: Sequence[float], slope: float) -> float:
    """The relative difference between `slope` and those of the successive `quotients` that vary least."""

    def variation(k: int) -> float:
        around = quotients[k : k + STEADY]
        return max(around) - min(around) if all(map(math.isfinite, around)) else math.inf

    best = min(range(len(quotients) - STEADY + 1), key=variation)
    middle = sorted(quotients[best : best + STEADY])[STEADY // 2]
    return abs(middle - slope) / max(abs(middle), abs(slope), sys.float_info.min)


def _value(loss: LossFunction) -> float:
    """The loss as a number; infinite where its solve fails, as it may at large perturbations."""
    try:
        value = float(loss())
    except SolveError:
        return math.inf
    return value if math.isfinite(value) else math.inf


def differentiable(params: Iterable[Tensor]) -> list[Tensor]:
    """`params` as a list; raises `InvalidArgument` unless it holds tensors, one or more."""
    listed = list(checked_params(list(params) if isinstance(params, nn.ParameterList) else params))
    if not listed:
        raise InvalidArgument("params", "()", "nothing to differentiate by", "pass the module's parameters")
    return listed
