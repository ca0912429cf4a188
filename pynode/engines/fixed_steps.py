"""A fixed-step solve without gradients, by whichever engine is the fastest: for validation and evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pynode.engines.choice import fused_system
from pynode.grid import TimeGrid
from pynode.schemes.base import Scheme
from pynode.solution import SolveStats
from pynode.types import State, States, Times, VectorField


@torch.no_grad()
def fixed_steps(scheme: Scheme, field: VectorField, y0: State, ts: Times, steps: int | Sequence[int] = 1) -> States:
    """States `(time, ..., dim)` at `ts` `(time,)`, by `steps` steps of `scheme` in each interval; not differentiable.

    States that blow up are returned as they are, infinite or NaN.
    """
    grid = TimeGrid.between(ts, steps)
    system = fused_system("auto" if type(scheme) is Scheme else "eager", field, y0, ts)
    if system is None:
        return scheme.solve(field, y0, grid)
    from pynode.engines.fused.op import solve  # imports Numba

    return solve(system, scheme, grid, y0, "store", SolveStats())
