"""Opt-Disc: adaptive solve and continuous adjoint by torchdiffeq (its gradient error depends on both tolerances)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torchdiffeq
from torch import Tensor

from pynode.evaluation import CountedField, check_closure
from pynode.gradients.base import GradientMethod, check_choice, check_tolerance
from pynode.adaptive import ADAPTIVE_SOLVERS, AdaptiveWatch
from pynode.solution import SolveStats
from pynode.types import State, States, Times


@dataclass(frozen=True)
class OptDisc(GradientMethod):
    """Optimise, then discretise: solve the continuous adjoint ODE backwards in time by an adaptive solve of its own.

    Also called optimise-then-discretise, the continuous (backsolve) adjoint, or the adjoint method of Chen et al. 2018
    (arXiv 1806.07366).  Memory does not grow with the number of steps; the gradient is that of no discrete loss, and is
    off by what the forward and the adjoint tolerances allow.  The state is solved backwards along with the adjoint,
    starting anew from the stored state at each output time, so fields that are unstable in reversed time hurt.

    Tolerances are per step, relative and absolute, in units of the state.  `adjoint_rtol` and `adjoint_atol` default to
    the forward ones.  `adjoint_norm="seminorm"` leaves the parameters out of the adjoint's step control (Kidger, Chen &
    Lyons 2021, arXiv 2009.09457).  `max_steps` bounds the steps of either solve.
    """

    name: ClassVar[str] = "opt-disc"
    backend: ClassVar[str] = "torchdiffeq"
    adaptive: ClassVar[bool] = True

    solver: str = "dopri5"
    rtol: float = 1e-7
    atol: float = 1e-9
    adjoint_rtol: float | None = None
    adjoint_atol: float | None = None
    adjoint_norm: Literal["mixed", "seminorm"] = "mixed"
    max_steps: int = 100_000

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, ADAPTIVE_SOLVERS)
        check_choice("adjoint_norm", self.adjoint_norm, ("mixed", "seminorm"))
        for argument in ("rtol", "atol", "adjoint_rtol", "adjoint_atol"):
            if getattr(self, argument) is not None:
                check_tolerance(argument, getattr(self, argument))

    def _solve(self, f: CountedField, y0: State, ts: Times, params: tuple[Tensor, ...], stats: SolveStats) -> States:
        watch = AdaptiveWatch(f, stats, self.max_steps)
        check_closure(f, y0, ts, params)
        ys = torchdiffeq.odeint_adjoint(
            watch,
            y0,
            ts,
            method=self.solver,
            rtol=self.rtol,
            atol=self.atol,
            adjoint_rtol=self.adjoint_rtol,
            adjoint_atol=self.adjoint_atol,
            adjoint_options={"norm": "seminorm"} if self.adjoint_norm == "seminorm" else None,
            adjoint_params=params,
        )
        watch.turn_backward()
        return ys  # type: ignore[no-any-return]
