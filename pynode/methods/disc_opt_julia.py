"""Disc-Opt in Julia: the same fixed-step schemes with the discrete adjoint of exactly these steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from pynode.gradients import Discrete
from pynode.methods.base import GradientMethod
from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4
from pynode.solve import Recipe
from pynode.steps import Fixed, StepCount


@dataclass(frozen=True)
class DiscOptJulia(GradientMethod):
    """Discretise, then optimise, as `DiscOpt` does, run in Julia: both methods can be compared inside one language.

    `steps` is the number of equal steps between two output times, one number or one for each interval.  All stages are
    kept for the way back.  The same as `DiscOpt(engine="julia")`.  The gradient is that of `DiscOpt` to rounding.
    """

    name: ClassVar[str] = "disc-opt-julia"
    backend: ClassVar[str] = "julia"
    adaptive: ClassVar[bool] = False
    stands_for: ClassVar[str] = "disc-opt"
    runs_on: ClassVar[str] = "julia"

    scheme: Scheme = RK4
    """Runge-Kutta scheme of a step."""
    steps: int | Sequence[int] = StepCount(1)  # type: ignore[assignment]
    """Steps in each output interval, one number or one for each interval."""

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe(self.scheme, Fixed(self.steps), Discrete())
