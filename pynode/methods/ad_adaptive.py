"""AD through the adaptive solver: neither the exact discrete gradient nor the continuous adjoint; for the record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from pynode.engines.choice import AUTO, candidates
from pynode.engines.solvers import scheme_of, solver_of
from pynode.gradients import ThroughSteps
from pynode.methods.base import GradientMethod
from pynode.solve import Recipe
from pynode.steps import Adaptive


@dataclass(frozen=True)
class AdaptiveAD(GradientMethod):
    """Backpropagation through the steps that an adaptive solver happened to take.

    What comes out is the derivative along the accepted steps with their sizes held fixed (all but the first, whose
    automatic choice torchdiffeq does differentiate).  The loss as a function of theta also changes through the step
    sizes, so this is not the gradient of the computed loss; nor is it the continuous adjoint.  It tends to the true
    gradient with the tolerance.  Memory grows with the number of steps, rejected ones included while they are tried;
    `max_steps` bounds them.
    """

    name: ClassVar[str] = "ad-adaptive"
    backend: ClassVar[str] = "torchdiffeq"
    adaptive: ClassVar[bool] = True

    solver: str = "dopri5"
    """Pair that takes the steps: dopri5, dopri8, bosh3, fehlberg2 or adaptive_heun."""
    rtol: float = 1e-7
    """Relative tolerance of a step, at most 1."""
    atol: float = 1e-9
    """Absolute tolerance of a step, in units of the state."""
    max_steps: int = 10_000
    """Steps after which a solve gives up."""
    landing: bool = False
    """Step onto the output times instead of interpolating between steps: more accurate states and gradients."""

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe(
            scheme_of(self.solver), Adaptive(self.rtol, self.atol, self.max_steps, self.landing), ThroughSteps()
        )

    @classmethod
    def of(cls, recipe: Recipe, engine: str) -> GradientMethod | None:
        steps, gradient = recipe.steps, recipe.gradient
        if type(gradient) is not ThroughSteps or not isinstance(steps, Adaptive):
            return None
        candidates(cls.runs_on if engine == AUTO else engine, recipe)
        return cls(solver_of(recipe.scheme), steps.rtol, steps.atol, steps.max_steps, steps.landing)

    @property
    def family(self) -> str:
        return f"{self.title} {self.solver}"
