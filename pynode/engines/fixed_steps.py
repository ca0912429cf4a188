"""A fixed-step solve without gradients, by whichever engine is the fastest: for validation and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from pynode.engines.base import Engine
from pynode.engines.choice import AUTO, candidates, choose
from pynode.gradients import Discrete
from pynode.grid import check_times, times_beside
from pynode.schemes.base import Scheme
from pynode.solve import Recipe, Solve
from pynode.steps import Fixed, checked_steps
from pynode.types import State, States, Times, VectorField


@torch.no_grad()
def fixed_steps(scheme: Scheme, field: VectorField, y0: State, ts: Times, steps: int | Sequence[int] = 1) -> States:
    """States `(time, ..., dim)` at `ts` `(time,)`, by `steps` steps of `scheme` in each interval; not differentiable.

    States that blow up are returned as they are, infinite or NaN.
    """
    times = check_times(ts)
    recipe, engines = _recipe(scheme, checked_steps(steps))
    solve = Solve(field, y0, times_beside(ts, times, y0), recipe, wants_gradient=False, times=times)
    return choose(engines, solve).run(solve).states


@lru_cache(maxsize=64)
def _recipe(scheme: Scheme, steps: int | tuple[int, ...]) -> tuple[Recipe, tuple[Engine, ...]]:
    recipe = Recipe(scheme, Fixed(steps), Discrete())
    return recipe, candidates(AUTO, recipe)
