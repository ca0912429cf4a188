"""Opt-Disc in Julia: adaptive solve by OrdinaryDiffEq, continuous adjoints by SciMLSensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from pynode.engines.solvers import scheme_of
from pynode.gradients import Continuous
from pynode.methods.base import GradientMethod
from pynode.solve import Recipe
from pynode.steps import Adaptive


@dataclass(frozen=True)
class OptDiscJulia(GradientMethod):
    """Optimise, then discretise, by the SciML stack (Ma et al. 2021, arXiv 1812.01892; Rackauckas et al. 2020).

    `solver`: "tsit5", "vern7", "vern9", or "auto" (Tsit5 that changes to Rodas5P where the problem is stiff, with one
    block of the Jacobian a sample).
    `adjoint`: "gauss", "interpolating" and "quadrature" read the state from the dense forward solution, so they cost
    memory and don't care how the field behaves in reversed time; "gauss" takes the fewest products where parameters are
    many.  A solution that would take more than half of `memory_limit` (bytes, or text such as "4GiB"; by default half
    of what is free), with "quadrature" more than a fifth, is solved piece by piece on the way back, at the cost of one
    more forward solve; where not even a piece fits, or the Jacobians of "auto" do not, the solve is refused.
    "backsolve" (not with "auto") solves the state backwards too, with `checkpointing` anew from every output time;
    where it leaves the stored state by more than `pynode.drift.DRIFT_BOUND` tolerances, `drift` says what follows
    ("error", "warn", "ignore").
    `vjp`: products with the field's Jacobian by hand-written formulas, or by an AD system of Julia's to check them.
    Tolerances are per step, relative and absolute; those of the adjoint default to the forward ones.

    Right-hand sides and products are counted in Julia: `n_vjp` counts points at which products were taken, whether by
    state, by parameters, or both.
    """

    name: ClassVar[str] = "opt-disc-julia"
    backend: ClassVar[str] = "julia"
    adaptive: ClassVar[bool] = True
    stands_for: ClassVar[str] = "opt-disc"
    runs_on: ClassVar[str] = "julia"

    solver: str = "tsit5"
    """SciML's solver: tsit5, vern7, vern9 or auto."""
    adjoint: Literal["gauss", "interpolating", "quadrature", "backsolve"] = "gauss"
    """Where the adjoint reads the state: from the dense solution, or solved backwards."""
    vjp: Literal["handwritten", "reversediff", "zygote", "enzyme"] = "handwritten"
    """Vector-Jacobian products of engine julia: by formulas, or by an AD system of Julia's."""
    rtol: float = 1e-7
    """Relative tolerance of a step, at most 1."""
    atol: float = 1e-9
    """Absolute tolerance of a step, in units of the state."""
    adjoint_rtol: float | None = None
    """Relative tolerance of the adjoint solve (default: rtol)."""
    adjoint_atol: float | None = None
    """Absolute tolerance of the adjoint solve (default: atol)."""
    checkpointing: bool = True
    """Whether a backsolve of engine julia starts anew from every output time."""
    max_steps: int = 100_000
    """Steps after which a solve gives up, forward and backward each."""
    drift: Literal["error", "warn", "ignore"] = "error"
    """What to do where a backsolve has left the stored states."""
    memory_limit: int | str | None = None
    """Memory that a solution of engine julia may take, in bytes or as 4GiB (default: half of what is free)."""

    @cached_property
    def recipe(self) -> Recipe:
        tolerances = (self.adjoint_rtol, self.adjoint_atol)
        gradient = Continuous(
            self.adjoint,
            *tolerances,
            drift=self.drift,
            vjp=self.vjp,
            checkpointing=self.checkpointing,
            memory_limit=self.memory_limit,
        )
        return Recipe(scheme_of(self.solver), Adaptive(self.rtol, self.atol, self.max_steps), gradient)

    @property
    def family(self) -> str:
        """With the adjoint, which decides as much as the solver does."""
        return f"{self.name} {self.adjoint} {self.solver}"
