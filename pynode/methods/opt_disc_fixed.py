"""Opt-Disc on a fixed grid: state and adjoint ODE each discretised by itself, so the gradient is off by O(h)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from pynode.engines.choice import AUTO, candidates
from pynode.gradients import SameGrid
from pynode.methods.base import GradientMethod
from pynode.schemes.base import Scheme
from pynode.schemes.euler import EULER
from pynode.solve import Recipe
from pynode.steps import Fixed, StepCount


@dataclass(frozen=True)
class OptDiscFixed(GradientMethod):
    """Optimise, then discretise, on the grid of the state: the textbook case of an inconsistent gradient.

    The state runs by `scheme`; then the adjoint ODE dl/dt = -(df/dy)^T l is discretised by itself on the same grid:

    - `adjoint="explicit"`: l_k = l_{k+1} + h J(z_{k+1})^T l_{k+1}, the Jacobian at the later point (explicit Euler
      backwards in time).  Disc-Opt's Euler has J(z_k) there: one index apart, an error of O(h);
    - `adjoint="backward-euler"`: (I - h J(z_k)^T) l_k = l_{k+1}, one linear solve a step from vector-Jacobian products
      alone: a dense matrix up to 64 state entries, GMRES beyond.  Also O(h), but stable however stiff the field.

    For studying what goes wrong, not for training.  Onken & Ruthotto 2020, sec. 2; Hager 2000 for schemes that commute.
    """

    name: ClassVar[str] = "opt-disc-fixed"
    backend: ClassVar[str] = "torch"
    adaptive: ClassVar[bool] = False

    scheme: Scheme = EULER
    """Runge-Kutta scheme of the forward solve."""
    steps: int | Sequence[int] = StepCount(1)  # type: ignore[assignment]
    """Steps in each output interval, one number or one for each interval."""
    adjoint: Literal["explicit", "backward-euler"] = "explicit"
    """How the adjoint ODE is discretised: by explicit or by backward Euler."""

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe(self.scheme, Fixed(self.steps), SameGrid(self.adjoint))

    @classmethod
    def of(cls, recipe: Recipe, engine: str) -> GradientMethod | None:
        scheme, steps, gradient = recipe.scheme, recipe.steps, recipe.gradient
        if type(gradient) is not SameGrid or not isinstance(steps, Fixed) or not isinstance(scheme, Scheme):
            return None
        candidates(cls.runs_on if engine == AUTO else engine, recipe)
        return cls(scheme, steps.n, gradient.adjoint)

    @property
    def family(self) -> str:
        return f"{super().family} {self.adjoint}"
