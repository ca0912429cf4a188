"""The gradient of fixed steps by torch operators: with all stages stored, or rebuilt step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pynode.engines.eager.reversal import Checkpointed, Recomputed
from pynode.engines.eager.revolve import smallest_budget
from pynode.gradients import Discrete
from pynode.precision import hold_to_precision
from pynode.solution import SolveStats
from pynode.solve import Run, Solve
from pynode.transforms import is_transformed


def run(solve: Solve) -> Run:
    """Solves; inside a transform of torch.func the graph is the transform's own, and keeps every stage."""
    gradient, stats, grid = solve.recipe.gradient, solve.stats, solve.grid
    assert isinstance(gradient, Discrete)
    stats.forward.n_accepted = grid.n_steps
    if gradient.memory == "store" or not solve.wants_gradient or is_transformed():
        states = solve.recipe.formula.solve(solve.counted(), solve.y0, grid, solve.ts)
        if states.requires_grad:
            states.register_hook(_count_products(stats))
        hold_to_precision(states)
        return Run(states, None, stats)
    if gradient.memory == "recompute":
        pullback: Recomputed | Checkpointed = Recomputed(solve)
    else:
        pullback = Checkpointed(solve, gradient.budget or smallest_budget(grid.n_steps, 2))
    with torch.no_grad():
        return Run(pullback.forward(), pullback, stats)


def _count_products(stats: SolveStats) -> Any:
    def hook(grad: Tensor) -> None:  # autograd passes each evaluation once on its way back  # noqa: ARG001
        stats.backward.n_vjp += stats.forward.n_f

    return hook
