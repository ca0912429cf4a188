"""The Taylor test: does a gradient belong to the loss it came with?

With a direction v, E0(h) = |L(theta + h v) - L(theta)| falls like h, and E1(h) = |L(theta + h v) - L(theta) - h g.v|
like h^2 if and only if g is the gradient of L as computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pynode.errors import InvalidArgument, NonFiniteLoss, SolveError

LossFunction = Callable[[], Tensor]
"""A scalar loss as a function of parameters that it holds itself; called again after each change of them."""


@dataclass(frozen=True)
class TaylorResult:
    """Remainders E0, E1 at the sizes `h` (all of one length, h falling), their fitted slopes, and the verdict.

    `fitted` is the half-open range of indices used for the fit: the smallest sizes at which E1 is still well above the
    rounding error of the loss.  Empty (0, 0) where E1 never was: the loss is linear along v to rounding.  `bound` is
    E1 / E0 at the smallest of them: the relative error of the directional derivative is no larger.
    """

    h: tuple[float, ...]
    e0: tuple[float, ...]
    e1: tuple[float, ...]
    slope_e0: float
    slope_e1: float
    fitted: tuple[int, int]
    bound: float

    @property
    def passes(self) -> bool:
        """Whether E1 falls with slope 2 (to 0.1) until it is small beside E0, or is rounding error throughout."""
        return self._unseen or (self.slope_e1 >= 1.9 and self.bound < 0.1)

    @property
    def _unseen(self) -> bool:
        return self.fitted == (0, 0) and all(map(math.isfinite, self.e1))

    @property
    def verdict(self) -> str:
        """The finding in words, with what is left unseen: an error smaller than `bound` can't show."""
        if self._unseen:
            return "passes: E1 is rounding error"
        if self.fitted == (0, 0):
            return "undecided: the loss is not finite beside these parameters"
        if self.passes:
            return f"passes: E1 falls with slope {self.slope_e1:.2f}; the gradient's error is below {self.bound:.0e}"
        if self.slope_e1 >= 1.9:
            return "undecided: E1 falls with slope 2, but sinks into rounding error before E0 does; use float64"
        return f"fails: E1 falls with slope {self.slope_e1:.2f}, not 2; the gradient is off by about {self.bound:.0e}"


def taylor_test(
    loss: LossFunction, params: Sequence[Tensor], *, halvings: int = 24, seed: int = 0, points: int = 5
) -> TaylorResult:
    """Taylor test of the gradient of `loss()` by `params`, along a random direction, over h = 2^0, ..., 2^-halvings.

    The direction has one normal entry per parameter entry, scaled to the 2-norm of the parameters (or 1), so that h
    is a relative step.  Slopes are fitted to the `points` smallest sizes whose remainder is above rounding error.
    `params` are restored.  float64 is wanted: in float32 rounding hides the second order.

    Raises `InvalidArgument` for parameters that want no gradient or a loss that is no finite scalar.
    """
    _check_params(params)
    if halvings < points:
        raise InvalidArgument("halvings", halvings, f"fewer than the {points} points of the fit", "use 10 or more")
    before = [p.detach().clone() for p in params]
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
    e0, e1, size = [], [], abs(start)
    try:
        with torch.no_grad():
            for step in h:
                for p, b, v in zip(params, before, direction, strict=True):
                    p.copy_(b + step * v)
                change = _value(loss) - start
                size = max(size, abs(start + change)) if math.isfinite(change) and step <= 0.1 else size
                e0.append(abs(change))
                e1.append(abs(change - step * slope))
    finally:
        with torch.no_grad():
            for p, b in zip(params, before, strict=True):
                p.copy_(b)
    # rounding of the loss itself, with room for the many additions behind it
    floor = 2e3 * torch.finfo(base.dtype).eps * max(size, abs(slope) * h[-1])
    first, last = _window(e1, floor, points)
    return TaylorResult(
        tuple(h),
        tuple(e0),
        tuple(e1),
        fitted_slope(h[first:last], e0[first:last]),
        fitted_slope(h[first:last], e1[first:last]),
        (first, last),
        e1[last - 1] / e0[last - 1] if last and e0[last - 1] else 0.0,
    )


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


def _value(loss: LossFunction) -> float:
    """The loss as a number; infinite where its solve fails, as it may at large perturbations."""
    try:
        value = float(loss())
    except SolveError:
        return math.inf
    return value if math.isfinite(value) else math.inf


def _check_params(params: Sequence[Tensor]) -> None:
    if not params:
        raise InvalidArgument("params", "()", "nothing to differentiate by", "pass the module's parameters")
    for p in params:
        if not p.requires_grad or not p.is_leaf:
            raise InvalidArgument("params", tuple(p.shape), "not a leaf that wants a gradient", "pass nn.Parameters")
