"""Opt-Disc: adaptive solve and continuous adjoint, by kernels, torchdiffeq or SciML; tolerances decide its error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from pynode.engines import AUTO, EngineName
from pynode.engines.solvers import scheme_of, solver_of
from pynode.gradients import Continuous
from pynode.methods.base import GradientMethod
from pynode.solve import Recipe
from pynode.steps import Adaptive


@dataclass(frozen=True)
class OptDisc(GradientMethod):
    """Optimise, then discretise: solve the continuous adjoint ODE backwards in time by an adaptive solve of its own.

    Also called optimise-then-discretise, the continuous adjoint, or the adjoint method of Chen et al. 2018 (arXiv
    1806.07366).  The gradient is that of no discrete loss, and is off by what the forward and the adjoint tolerances
    allow.

    `adjoint` says where the state comes from on the way back.  "interpolating" reads it from the steps of the forward
    solve, which are kept (each step takes three states of memory with dopri5 on torch operators, eight in the kernels)
    and interpolated to the order of the solver.  "backsolve" solves the state backwards along with the adjoint, anew
    from the stored state at each output time, so memory does not grow with the number of steps; but where the field
    contracts forwards, errors grow backwards like exp(rate x length).  So what it reconstructs is compared with the
    stored state at every output time: the largest drift, in units of the tolerances, stands in the `stats` of the
    solution, and beyond `pynode.drift.DRIFT_BOUND` the gradient is wrong, and `drift` decides: "error" raises
    `DriftError`, "warn" warns, "ignore" goes on.

    `engine="fused"` runs compiled kernels, for the dense fields and their flows on the CPU; "eager" torchdiffeq, for
    any field; "auto" chooses.  Gradients differ by what the tolerances allow: the kernels have a step control of their
    own (a PI controller, as SciML has).

    `solver` is one of torchdiffeq's adaptive ones, or "tsit5" (kernels only; they know "dopri5" too).

    `landing=True` lets the forward solve step onto the output times instead of interpolating between steps: more
    evaluations, and a gradient that is nearer to the continuous one by one order of magnitude or more at equal
    tolerances, since the adjoint starts from better states (tested; dopri8 does so always).

    The field may hold or read anything that wants a gradient, but can't draw random numbers (`RandomField`).  The
    gradient can't be differentiated again (`NotTwiceDifferentiable`), and transforms of torch.func can't be applied.

    Tolerances are per step, relative and absolute, in units of the state.  `adjoint_rtol` and `adjoint_atol` default to
    the forward ones.  The adjoint's step control takes the largest of the root mean squares of state, adjoint, and each
    parameter's gradient; `adjoint_norm="seminorm"` leaves the last out (Kidger, Chen & Lyons 2021, arXiv 2009.09457),
    "rms" takes one root mean square of everything, as SciML does.  `max_steps` bounds the steps of either solve.
    """

    name: ClassVar[str] = "opt-disc"
    backend: ClassVar[str] = "torchdiffeq"
    adaptive: ClassVar[bool] = True
    by_default: ClassVar[bool] = True

    solver: str = "dopri5"
    """Pair that takes the steps: dopri5, tsit5, bosh3, dopri8, ...; on engine julia tsit5, vern7, vern9 or auto."""
    rtol: float = 1e-7
    """Relative tolerance of a step, at most 1."""
    atol: float = 1e-9
    """Absolute tolerance of a step, in units of the state."""
    adjoint_rtol: float | None = None
    """Relative tolerance of the adjoint solve (default: rtol)."""
    adjoint_atol: float | None = None
    """Absolute tolerance of the adjoint solve (default: atol)."""
    adjoint_norm: Literal["mixed", "seminorm", "rms"] = "mixed"
    """What the adjoint's step control measures: parts apart, without the parameters' gradient, or all as one."""
    max_steps: int = 10_000
    """Steps after which a solve gives up, forward and backward each."""
    adjoint: Literal["backsolve", "interpolating", "gauss", "quadrature"] = "interpolating"
    """Where the adjoint reads the state: from the stored solution, or solved backwards; the last two on julia only."""
    landing: bool = False
    """Step onto the output times instead of interpolating between steps: more accurate states and gradients."""
    engine: EngineName = AUTO
    """Who runs the solve, or auto, which takes the fastest that can, but not graph: it is not yet run on a GPU."""
    drift: Literal["error", "warn", "ignore"] = "error"
    """What to do where a backsolve has left the stored states."""
    vjp: Literal["handwritten", "reversediff", "zygote", "enzyme"] = "handwritten"
    """Vector-Jacobian products of engine julia: by formulas, or by an AD system of Julia's."""
    checkpointing: bool = True
    """Whether a backsolve of engine julia starts anew from every output time."""
    memory_limit: int | str | None = None
    """Memory that a solution of engine julia may take, in bytes or as 4GiB (default: half of what is free)."""

    @cached_property
    def recipe(self) -> Recipe:
        steps = Adaptive(self.rtol, self.atol, self.max_steps, self.landing)
        gradient = Continuous(
            self.adjoint,
            self.adjoint_rtol,
            self.adjoint_atol,
            self.adjoint_norm,
            self.drift,
            self.vjp,
            self.checkpointing,
            self.memory_limit,
        )
        return Recipe(scheme_of(self.solver), steps, gradient)

    @classmethod
    def of(cls, recipe: Recipe, engine: str) -> GradientMethod | None:
        steps, gradient = recipe.steps, recipe.gradient
        if type(gradient) is not Continuous or not isinstance(steps, Adaptive):
            return None
        return cls(
            solver=solver_of(recipe.scheme),
            rtol=steps.rtol,
            atol=steps.atol,
            adjoint_rtol=gradient.rtol,
            adjoint_atol=gradient.atol,
            adjoint_norm=gradient.norm,
            max_steps=steps.max_steps,
            adjoint=gradient.adjoint,
            landing=steps.landing,
            engine=engine,
            drift=gradient.drift,
            vjp=gradient.vjp,
            checkpointing=gradient.checkpointing,
            memory_limit=gradient.memory_limit,
        )

    @property
    def engine_name(self) -> str:
        return self.engine

    @property
    def family(self) -> str:
        """On SciML with the adjoint, which decides as much there as the solver does."""
        adjoint = f"{self.adjoint} " if self.engines[0].label else ""
        return f"{self.title} {adjoint}{self.solver}"
