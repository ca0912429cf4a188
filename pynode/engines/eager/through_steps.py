"""The derivative along the steps of an adaptive solve, by autograd through torchdiffeq's solver."""

from __future__ import annotations

import torchdiffeq
from torch import Tensor

from pynode.engines.eager.watch import AdaptiveWatch, forward_options
from pynode.engines.solvers import solver_of
from pynode.evaluation import CountedField
from pynode.precision import hold_to_precision
from pynode.solution import Cost
from pynode.solve import Run, Solve
from pynode.steps import Adaptive
from pynode.types import State


def run(solve: Solve) -> Run:
    """Solves; the states hang on torch's own graph."""
    steps, stats = solve.recipe.steps, solve.stats
    assert isinstance(steps, Adaptive)
    solver = solver_of(solve.recipe.scheme)
    f = _CountingProducts(solve.counted(), stats.backward)
    watch = AdaptiveWatch(f, stats, steps.max_steps, end=solve.known_times[-1])
    states = torchdiffeq.odeint(
        watch,
        solve.y0,
        solve.ts.clone(),  # the field is handed parts of it, and must not change the user's
        method=solver,
        rtol=steps.rtol,
        atol=steps.atol,
        options=forward_options(solver, solve.ts, landing=steps.landing),
    )
    hold_to_precision(states)
    return Run(states, None, stats)


class _CountingProducts(CountedField):
    """Counts a product whenever autograd comes back through an evaluation: only accepted steps are in the graph."""

    def __init__(self, f: CountedField, backward: Cost) -> None:
        super().__init__(f.f, f.cost)
        self._backward = backward

    def __call__(self, t: Tensor, y: State) -> State:
        dy = super().__call__(t, y)
        if dy.requires_grad:
            dy.register_hook(self._count)
        return dy

    def _count(self, grad: Tensor) -> None:  # noqa: ARG002
        self._backward.n_vjp += 1
