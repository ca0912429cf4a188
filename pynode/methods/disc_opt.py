"""Disc-Opt: a fixed-step scheme, differentiated as the discrete program that it is (exact for the discrete loss)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from pynode.engines import AUTO, EngineName
from pynode.gradients import Discrete
from pynode.methods.base import GradientMethod
from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4
from pynode.solve import Recipe
from pynode.steps import Fixed, StepCount


@dataclass(frozen=True)
class DiscOpt(GradientMethod):
    """Discretise, then optimise: backpropagation through a fixed-step solver.

    Also called discretise-then-optimise, the discrete adjoint, or direct backpropagation.  The gradient is that of the
    discretised loss, to rounding, however coarse the steps; what the steps do decide is how far the discrete loss is
    from the continuous one.  Cost is known beforehand: n_f = stages x steps, and one vector-Jacobian product each.

    `steps` is the number of equal steps in each output interval.  `memory="store"` keeps every stage for the backward
    pass; "recompute" keeps the state after each step and rebuilds the stages of one step at a time: the same gradient
    for one more sweep of evaluations (the study's NFE-B) and much less memory.  `ts` may want a gradient as well.

    "checkpoint" keeps at most `budget` of those states at a time and regains the others by advancing from one before,
    with the fewest steps that this can be done with: one sweep that rebuilds each step as it is reversed, and
    t(n, budget + 1) - (n - 1) steps more, where n is the number of all steps and t as in `engines/eager/revolve.py`.
    Without a `budget` it is the smallest, about sqrt(2 n), by which the backward pass evaluates no step more than twice
    (NFE-B below two sweeps).  Not counted in the budget: `y0` and the states at the output times, which are the
    caller's (and may be changed by the caller, so no output is advanced from), the state in work, and the stages of
    one step.

    Rebuilt steps are those of the solve: the field is what it was then, random draws (dropout) are repeated, and batch
    norm counts its statistics once.  The gradient has derivatives of any order, whatever the memory (for those the
    solve is repeated with all stages stored), and torch.func's transforms (vmap, grad, jacrev, jacfwd) can be applied,
    inside of which every stage is stored.

    `engine`: "fused" solves and differentiates in compiled kernels (the dense fields and their flows on the CPU),
    "eager" by torch operators (anything), "auto" chooses; both give the same numbers to rounding.  The kernels
    keep no checkpoints: torch operators do.

    Onken & Ruthotto 2020 (arXiv 2005.13420), sec. 3; Gholami, Keutzer & Biros 2019 (ANODE) for "recompute"; Griewank &
    Walther 2000 (ACM TOMS 26, algorithm 799) for "checkpoint".
    """

    name: ClassVar[str] = "disc-opt"
    backend: ClassVar[str] = "torch"
    adaptive: ClassVar[bool] = False
    by_default: ClassVar[bool] = True

    scheme: Scheme = RK4
    """Runge-Kutta scheme of a step."""
    steps: int | Sequence[int] = StepCount(1)  # type: ignore[assignment]
    """Steps in each output interval, one number or one for each interval."""
    memory: Literal["store", "recompute", "checkpoint"] = "store"
    """What is kept for the backward pass: all stages, the state after each step, or a few states."""
    budget: int | None = None
    """Number of states that memory = checkpoint keeps (default: about the square root of twice the number of steps)."""
    engine: EngineName = AUTO
    """Who runs the solve, or auto, which takes the fastest that can, but not graph: it is not yet run on a GPU."""

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe(self.scheme, Fixed(self.steps), Discrete(self.memory, self.budget))

    @classmethod
    def of(cls, recipe: Recipe, engine: str) -> GradientMethod | None:
        scheme, steps, gradient = recipe.scheme, recipe.steps, recipe.gradient
        if type(gradient) is not Discrete or not isinstance(steps, Fixed) or not isinstance(scheme, Scheme):
            return None
        return cls(scheme, steps.n, gradient.memory, gradient.budget, engine)

    @property
    def engine_name(self) -> str:
        return self.engine

    def _transform_obstacle(self) -> str | None:
        return None  # a plain loop, which torch.func can follow
