"""Torch operators: any field, any device, every gradient; adaptive solves by torchdiffeq."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pynode.engines.base import Engine
from pynode.engines.eager import continuous, discrete, same_grid, through_steps
from pynode.engines.solvers import solver_of
from pynode.errors import InvalidArgument
from pynode.gradients import Continuous, Discrete, Gradient, SameGrid, ThroughSteps
from pynode.precision import PRECISIONS
from pynode.schemes.base import Scheme
from pynode.solve import NamedScheme, Recipe, Run, Solve
from pynode.steps import Adaptive

ADAPTIVE_SOLVERS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""torchdiffeq's adaptive Runge-Kutta solvers by its own names."""

BY_OPERATORS: dict[type[Gradient], Callable[[Solve], Run]] = {
    Discrete: discrete.run,
    Continuous: continuous.run,
    SameGrid: same_grid.run,
    ThroughSteps: through_steps.run,
}


class Eager(Engine):
    """Runs a solve operator by operator."""

    name: ClassVar[str] = "eager"
    title: ClassVar[str] = "torch"
    automatic: ClassVar[bool] = True
    fallback: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS
    remedy: ClassVar[str] = "use another engine"

    def check(self, recipe: Recipe) -> None:
        scheme, gradient = recipe.scheme, recipe.gradient
        if isinstance(recipe.steps, Adaptive) and type(gradient) in BY_OPERATORS and not _is_known(scheme):
            remedy = f"use one of {', '.join(ADAPTIVE_SOLVERS)}"
            if isinstance(gradient, Continuous):
                remedy += f", or engine {'julia' if isinstance(scheme, NamedScheme) else 'auto'}"
            problem = f"torchdiffeq does not have solver = {solver_of(scheme)}"
            raise InvalidArgument("engine", "'eager'", problem, remedy)
        if isinstance(gradient, Continuous):
            gradient.check_known(self.name, continuous.ADJOINTS)

    def obstacle_on_ranks(self, recipe: Recipe) -> str | None:
        if isinstance(recipe.gradient, ThroughSteps):
            return "each of the ranks would choose its steps by its own samples alone"
        return None

    def obstacle(self, solve: Solve) -> str | None:  # noqa: ARG002
        return None

    def run(self, solve: Solve) -> Run:
        implementation = BY_OPERATORS.get(type(solve.recipe.gradient))
        return solve.recipe.gradient.run(solve) if implementation is None else implementation(solve)


def _is_known(scheme: Scheme | NamedScheme) -> bool:
    """Whether torchdiffeq has a solver for the pair."""
    return isinstance(scheme, Scheme) and solver_of(scheme) in ADAPTIVE_SOLVERS
