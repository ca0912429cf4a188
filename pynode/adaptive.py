"""Watches an adaptive solve of torchdiffeq: counts its work and turns its failures into typed errors.

torchdiffeq reports trouble by assertions that carry neither the time nor the field; its callbacks come just before
them and know both.
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from pynode.errors import SolveError
from pynode.evaluation import CountedField
from pynode.solution import Cost, SolveStats, Status
from pynode.types import State, States, Times
from pynode.world import ALONE, World

ADAPTIVE_SOLVERS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""torchdiffeq's adaptive Runge-Kutta solvers by its own names."""


def landing_on(times: Times) -> dict[str, Tensor]:
    """Options that make the solver step onto `times` (after the first) instead of past them.

    torchdiffeq interpolates what it stepped past by a polynomial of degree 4, whose error no tolerance controls.
    """
    return {"step_t": times[1:].detach().double()}


def forward_options(solver: str, ts: Times, *, landing: bool = False) -> dict[str, Tensor]:
    """Options of a forward solve: dopri8 is so much better than the interpolation that it must land on the outputs."""
    return landing_on(ts) if landing or solver == "dopri8" else {}


class AdaptiveWatch:
    """A vector field for torchdiffeq that counts evaluations, products and steps, forward and backward apart.

    Raises `SolveError` on step-size underflow, a non-finite state, or more than `max_steps` steps of one solve.  Ranks
    of a `world` that take the same steps raise it together.
    """

    def __init__(self, f: CountedField, stats: SolveStats, max_steps: int = sys.maxsize, world: World = ALONE) -> None:
        self.f, self.stats, self.max_steps, self.world = f, stats, max_steps, world
        self._phase = "forward"

    def __call__(self, t: Tensor, y: State) -> State:
        if self._phase == "backward":
            self.stats.backward.n_vjp += 1  # the adjoint takes one product with every evaluation
        return self.f(t, y)

    def turn_backward(self) -> None:
        """From here on all work belongs to the gradient."""
        self._phase, self.f.cost = "backward", self.stats.backward

    # torchdiffeq finds the callbacks by name

    def callback_step(self, t0: Tensor, y0: State, dt: Tensor) -> None:
        self.check_step(t0, dt, y0, y0)

    def callback_accept_step(self, t0: Tensor, y0: State, dt: Tensor) -> None:  # noqa: ARG002
        self._cost.n_accepted += 1

    def callback_reject_step(self, t0: Tensor, y0: State, dt: Tensor) -> None:  # noqa: ARG002
        self._cost.n_rejected += 1

    @property
    def _cost(self) -> Cost:
        return self.stats.forward if self._phase == "forward" else self.stats.backward

    def check_step(self, t: Tensor, dt: Tensor, y: State, everything: Tensor) -> None:
        """Raises `SolveError` unless a step `dt` can be taken from `t`; `everything` is all that is being solved."""
        finite = self._finite_everywhere(everything)
        underflow = not bool(t + dt != t)
        exhausted = self._cost.n_accepted + self._cost.n_rejected >= self.max_steps
        if finite and not underflow and not exhausted:
            return
        with torch.no_grad():
            norm_f = float(self.f.f(t.detach().to(y.dtype), y).norm())
        if not finite or not bool(dt) or math.isnan(norm_f):
            status = Status.NON_FINITE  # torchdiffeq answers NaN inside a step by dt = 0
        else:
            status = Status.STEP_UNDERFLOW if underflow else Status.MAX_STEPS
        raise SolveError(status, t=float(t.detach()), dt=float(dt.detach()), norm_f=norm_f, phase=self._phase)

    def check_outputs(self, ts: Times, ys: States) -> None:
        """Raises `SolveError` on all ranks where the states `ys` of one of them are not finite."""
        if not self._finite_everywhere(ys):
            raise SolveError(Status.NON_FINITE, t=float(ts[-1]), dt=0.0, norm_f=math.nan, phase=self._phase)

    def _finite_everywhere(self, x: Tensor) -> bool:
        """Whether all entries are finite, on every rank."""
        finite = bool(torch.isfinite(x).all())
        if self.world.size == 1:
            return finite
        bad = torch.tensor([float(not finite)])
        self.world.sum_(bad)
        return not bool(bad)
