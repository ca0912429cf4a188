"""Watches an adaptive solve of torchdiffeq: counts its work and turns its failures into typed errors.

torchdiffeq reports trouble by assertions that carry neither the time nor the field; its callbacks come just before
them and know both.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from pynode.adjoint import check_cotangents
from pynode.errors import SolveError
from pynode.evaluation import CountedField
from pynode.samples import fastest_samples, non_finite_samples
from pynode.solution import Cost, SolveStats, Status
from pynode.types import State, States, Times
from pynode.world import ALONE, World


def landing_on(times: Times) -> dict[str, Tensor]:
    """Options that make the solver step onto `times` (after the first) instead of past them.

    torchdiffeq interpolates what it stepped past by a polynomial of degree 4, whose error no tolerance controls.
    """
    return {"step_t": times[1:].detach().double()}


def forward_options(solver: str, ts: Times, *, landing: bool = False) -> dict[str, Tensor]:
    """Options of a forward solve: dopri8 is so much better than the interpolation that it must land on the outputs."""
    return landing_on(ts) if landing or solver == "dopri8" else {}


def steps_left(max_steps: int, t: float, dt: float, end: float) -> str:
    """For the message of a solve that has taken `max_steps` steps: what the way to `end` would still need."""
    left = abs(end - t) / abs(dt) if dt else math.inf
    said = f" (max_steps = {max_steps:,})"
    if left > 10 * max_steps:
        said += f", and the rest of the interval needs about {left:.1e} more of this size, so the problem is stiff"
    return said


Record = Callable[[Tensor, State, Tensor, State, list[State]], None]
"""Called with the time and the state before a step, its size, the slope at the initial state, and the step's slopes."""


class AdaptiveWatch:
    """A vector field for torchdiffeq that counts evaluations, products and steps, forward and backward apart.

    Raises `SolveError` on step-size underflow, a non-finite state, or more than `max_steps` steps of one solve up to
    the time `end`.  Ranks of a `world` that take the same steps raise it together.  `recent` holds the slopes of the
    step that is being tried, in the order of their evaluation.
    """

    def __init__(
        self,
        f: CountedField,
        stats: SolveStats,
        max_steps: int = sys.maxsize,
        world: World = ALONE,
        end: float = math.nan,
    ) -> None:
        self.f, self.stats, self.max_steps, self.world, self.end = f, stats, max_steps, world, end
        self.recent: list[State] = []
        self.record: Record | None = None
        self.hint = ""
        self._first: State | None = None
        self._phase = "forward"

    def __call__(self, t: Tensor, y: State) -> State:
        if self._phase == "backward":
            self.stats.backward.n_vjp += 1  # the adjoint takes one product with every evaluation
        slope = self.f(t, y)
        # a field may give the same tensor each time, with other numbers
        self.recent.append(slope.detach() if self.record is None else slope.detach().clone())
        return slope

    def turn_backward(self) -> None:
        """From here on all work belongs to the gradient."""
        self._phase, self.f.cost = "backward", self.stats.backward
        self.record = self._first = None
        self.recent.clear()

    # torchdiffeq finds the callbacks by name

    def callback_step(self, t0: Tensor, y0: State, dt: Tensor) -> None:
        self.check_step(t0, dt, y0, y0)
        if self._first is None:
            self._first = self.recent[0]
        self.recent.clear()

    def callback_accept_step(self, t0: Tensor, y0: State, dt: Tensor) -> None:
        self._cost.n_accepted += 1
        if self.record is not None and self._first is not None:
            self.record(t0, y0, dt, self._first, self.recent.copy())

    def callback_reject_step(self, t0: Tensor, y0: State, dt: Tensor) -> None:  # noqa: ARG002
        self._cost.n_rejected += 1

    @property
    def _cost(self) -> Cost:
        return self.stats.forward if self._phase == "forward" else self.stats.backward

    def check_step(self, t: Tensor, dt: Tensor, y: State, everything: Tensor) -> None:
        """Raises `SolveError` unless a step `dt` can be taken from `t`; `everything` is all that is being solved."""
        if everything.is_cpu or self.world.size > 1:
            finite = self._finite_everywhere(everything)
            underflow = not bool(t + dt != t)
        else:  # one wait for the device
            finite, moves = torch.stack((torch.isfinite(everything).all(), t + dt != t)).tolist()
            underflow = not moves
        exhausted = self._cost.n_accepted + self._cost.n_rejected >= self.max_steps
        if finite and not underflow and not exhausted:
            return
        with torch.no_grad():
            slope = self.f.f(t.detach().to(y.dtype), y)
        norm_f, samples, detail = float(slope.norm()), None, ""
        time, size = float(t.detach()), float(dt.detach())
        if not finite or not bool(dt) or math.isnan(norm_f):
            status = Status.NON_FINITE  # torchdiffeq answers NaN inside a step by dt = 0
            samples = next(filter(None, map(non_finite_samples, (y, slope, *self.recent))), None)
        else:
            status = Status.STEP_UNDERFLOW if underflow else Status.MAX_STEPS
        if status is Status.STEP_UNDERFLOW:
            samples = fastest_samples(slope)
        if status is Status.MAX_STEPS:
            detail = steps_left(self.max_steps, time, size, self.end)
        raise SolveError(
            status,
            t=time,
            dt=size,
            norm_f=norm_f,
            phase=self._phase,
            samples=samples,
            detail=detail,
            remedy=status.remedy + (self.hint if self._phase == "backward" else ""),
        )

    def check_outputs(self, ts: Times, ys: States) -> None:
        """Raises `SolveError` on all ranks where the states `ys` of one of them are not finite."""
        if not self._finite_everywhere(ys):
            samples = next(filter(None, map(non_finite_samples, ys)), None)
            t = float(ts[-1])
            raise SolveError(Status.NON_FINITE, t=t, dt=0.0, norm_f=math.nan, phase=self._phase, samples=samples)

    def check_cotangents(self, ts: Times, cotangents: States) -> None:
        """Raises `CotangentError` on the rank whose cotangents are not finite, `SolveError` on the others with it."""
        if self._finite_everywhere(cotangents):
            return
        check_cotangents(ts, cotangents)
        raise SolveError(Status.NON_FINITE, t=float(ts[-1]), dt=0.0, norm_f=math.nan, phase="backward")

    def _finite_everywhere(self, x: Tensor) -> bool:
        """Whether all entries are finite, on every rank."""
        finite = bool(torch.isfinite(x).all())
        if self.world.size == 1:
            return finite
        bad = torch.tensor([float(not finite)])
        self.world.sum_(bad)
        return not bool(bad)
