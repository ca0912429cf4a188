"""Opt-Disc in Julia: adaptive solve by OrdinaryDiffEq, continuous adjoints by SciMLSensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pynode.drift import ON_DRIFT, OnDrift
from pynode.errors import InvalidArgument
from pynode.methods.base import check_choice, check_count, check_tolerance
from pynode.methods.julia.base import JuliaMethod
from pynode.types import Times

SOLVERS = ("tsit5", "vern7", "vern9", "auto")
ADJOINTS = ("gauss", "interpolating", "quadrature", "backsolve")
VJPS = ("handwritten", "reversediff", "zygote", "enzyme")


@dataclass(frozen=True)
class OptDiscJulia(JuliaMethod):
    """Optimise, then discretise, by the SciML stack (Ma et al. 2021, arXiv 1812.01892; Rackauckas et al. 2020).

    `solver`: "tsit5", "vern7", "vern9", or "auto" (Tsit5 that changes to Rosenbrock23 where the problem is stiff).
    `adjoint`: "gauss", "interpolating" and "quadrature" read the state from the dense forward solution, so they cost
    memory and don't care how the field behaves in reversed time; "gauss" takes the fewest products where parameters are
    many.  "backsolve" solves the state backwards too, with `checkpointing` anew from every output time; where it leaves
    the stored state by more than `pynode.drift.DRIFT_BOUND` tolerances, `drift` says what follows ("error", "warn",
    "ignore").
    `vjp`: products with the field's Jacobian by hand-written formulas, or by an AD system of Julia's to check them.
    Tolerances are per step, relative and absolute; those of the adjoint default to the forward ones.

    Right-hand sides and products are counted in Julia: `n_vjp` counts points at which products were taken, whether by
    state, by parameters, or both.
    """

    name: ClassVar[str] = "opt-disc-julia"
    adaptive: ClassVar[bool] = True

    solver: str = "tsit5"
    adjoint: str = "gauss"
    vjp: str = "handwritten"
    rtol: float = 1e-7
    atol: float = 1e-9
    adjoint_rtol: float | None = None
    adjoint_atol: float | None = None
    checkpointing: bool = True
    max_steps: int = 100_000
    drift: OnDrift = "error"

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, SOLVERS)
        check_choice("adjoint", self.adjoint, ADJOINTS)
        check_choice("vjp", self.vjp, VJPS)
        check_choice("drift", self.drift, ON_DRIFT)
        check_count("max_steps", self.max_steps)
        if not isinstance(self.checkpointing, bool):
            raise InvalidArgument("checkpointing", self.checkpointing, "neither True nor False", "use one of them")
        for argument in ("rtol", "atol", "adjoint_rtol", "adjoint_atol"):
            if not (argument.startswith("adjoint") and getattr(self, argument) is None):
                check_tolerance(argument, getattr(self, argument))

    @property
    def family(self) -> str:
        """With the adjoint, which decides as much as the solver does."""
        return f"{self.name} {self.adjoint} {self.solver}"

    def to_bridge(self, ts: Times) -> dict[str, Any]:  # noqa: ARG002 (steps are Julia's affair)
        return {
            "kind": "opt-disc",
            "solver": self.solver,
            "adjoint": self.adjoint,
            "vjp": self.vjp,
            "rtol": self.rtol,
            "atol": self.atol,
            "adjoint_rtol": self.adjoint_rtol if self.adjoint_rtol is not None else self.rtol,
            "adjoint_atol": self.adjoint_atol if self.adjoint_atol is not None else self.atol,
            "checkpointing": self.checkpointing,
            "max_steps": self.max_steps,
        }
