"""Recipes with adaptive steps that can be recorded."""

from __future__ import annotations

from pynode.engines.solvers import solver_of
from pynode.errors import InvalidArgument
from pynode.gradients import Continuous
from pynode.schemes.base import Scheme
from pynode.solve import Recipe

SOLVERS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""Solvers of torchdiffeq that the recordings reproduce step by step."""

ADJOINTS = ("interpolating", "backsolve")
"""The adjoints of `Continuous` that can be recorded."""


def check(recipe: Recipe, engine: str) -> None:
    """Raises `InvalidArgument` for a recipe with adaptive steps that is never recorded."""
    gradient, scheme = recipe.gradient, recipe.scheme
    if type(gradient) is not Continuous:
        problem = f"CUDA graphs do not have gradient = {type(gradient).__name__}"
        raise InvalidArgument("engine", repr(engine), problem, "use engine eager")
    if not isinstance(scheme, Scheme) or solver_of(scheme) not in SOLVERS:
        problem = f"CUDA graphs do not have solver = {solver_of(scheme)}"
        raise InvalidArgument("engine", repr(engine), problem, f"use one of {', '.join(SOLVERS)}")
    gradient.check_known(engine, ADJOINTS)
    if gradient.adjoint == "interpolating" and solver_of(scheme) == "dopri8":
        problem = "its interpolant solves again inside of steps, which CUDA graphs can't"
        raise InvalidArgument("solver", "'dopri8'", problem, "use adjoint = 'backsolve', dopri5, or engine eager")
