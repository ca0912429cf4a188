"""Fixed steps and their discrete adjoint by torch operators that can be recorded: the host reads no values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pynode.engines.eager.reversal import until_reversed
from pynode.engines.eager.revolve import Do, actions, smallest_budget
from pynode.engines.node import attach
from pynode.evaluation import CountedField
from pynode.gradients import Discrete
from pynode.grid import TimeGrid
from pynode.schemes.base import Scheme
from pynode.solution import SolveStats
from pynode.solve import Kept, Pullback, Run
from pynode.types import State, States, VectorField


def states_of(
    field: VectorField,
    y0: State,
    grid: TimeGrid,
    scheme: Scheme,
    gradient: Discrete,
    params: Sequence[Tensor],
    stats: SolveStats,
) -> States:
    """The states `(time, ..., dim)`, as a function of `y0` and of the leaves `params` that the field reads.

    Counts its work into `stats`; with `memory="store"` the caller counts the products of the gradient.
    """
    f = CountedField(field, stats.forward)
    stats.forward.n_accepted = grid.n_steps
    if gradient.memory == "store" or not torch.is_grad_enabled():
        return scheme.solve(f, y0, grid)
    budget = None if gradient.memory == "recompute" else gradient.budget or smallest_budget(grid.n_steps, 2)
    pullback = Stepwise(f, y0, grid, scheme, params, stats, budget)
    with torch.no_grad():
        states = pullback.forward()
    return attach(Run(states, pullback, stats))


class Stepwise(Pullback):
    """The discrete adjoint, which builds the graph of one step at a time from the state before that step.

    The forward solve keeps the states before all steps; with a `budget` it keeps that many, and the others are
    recomputed by the schedule of `revolve`.  `pull` leaves the kept states in place, since recording the gradient calls
    it several times.
    """

    name = "a recorded solve"

    def __init__(
        self,
        f: CountedField,
        y0: State,
        grid: TimeGrid,
        scheme: Scheme,
        params: Sequence[Tensor],
        stats: SolveStats,
        budget: int | None,
    ) -> None:
        self._f, self._grid, self._scheme, self._stats, self._budget = f, grid, scheme, stats, budget
        self._y0, self._params = y0.detach(), tuple(params)
        self.inputs = (y0, *self._params)
        self._kept: list[State] = []

    def forward(self) -> States:
        """Solves and keeps the states that `pull` needs; to be called with gradients disabled."""
        n, wanted, outputs = self._grid.n_steps, set(self._grid.output_indices), []
        stored_at = set(range(n))
        if self._budget is not None:
            stored_at = {a.i for a in until_reversed(n, self._budget) if a.do is Do.STORE} | {n - 1}
        for i, y in enumerate(self._scheme.walk(self._f, self._y0, self._grid)):
            if i in wanted:
                outputs.append(y)
            if i in stored_at:
                self._kept.append(y)
        return torch.stack(outputs)

    def pull(
        self,
        kept: Kept,  # noqa: ARG002 (this object keeps the states)
        cotangents: States,
        wanted: Sequence[bool],  # noqa: ARG002
    ) -> tuple[Tensor | None, ...]:
        grid, scheme, backward = self._grid, self._scheme, self._stats.backward
        output_of = {index: k for k, index in enumerate(grid.output_indices)}
        totals: list[Tensor | None] = [None] * len(self._params)
        adjoint = cotangents[-1]
        with torch.no_grad(), self._f.counting_into(backward):
            schedule = list(grid.schedule(scheme.c, self._y0))
            for i, state in zip(reversed(range(grid.n_steps)), self._states(schedule), strict=True):
                with torch.enable_grad():
                    y = state.detach().requires_grad_()
                    y_next = scheme.step(self._f, y, *schedule[i])
                by_y, *parts = torch.autograd.grad(y_next, [y, *self._params], adjoint, allow_unused=True)
                backward.n_vjp += scheme.n_stages
                adjoint = by_y
                for j, (total, part) in enumerate(zip(totals, parts, strict=True)):
                    if part is not None:
                        totals[j] = part.clone() if total is None else total.add_(part)
                if i in output_of:
                    adjoint = adjoint + cotangents[output_of[i]]
        return adjoint, *totals

    def _states(self, schedule: Sequence[tuple[Sequence[Tensor], float | Tensor]]) -> Iterator[State]:
        """The state before each step, in reversed order."""
        if self._budget is None:
            yield from reversed(self._kept)
            return
        *stored, y = self._kept
        stack, here, swept = [self._y0, *stored], self._grid.n_steps - 1, False
        for do, i in actions(self._grid.n_steps, self._budget):
            swept = swept or do is Do.REVERSE
            if not swept:  # the forward solve has done these actions
                continue
            if do is Do.ADVANCE:
                for j in range(here, i):
                    y = self._scheme.step(self._f, y, *schedule[j])
            elif do is Do.STORE:
                stack.append(y)
            elif do is Do.REVERSE:
                yield y
            else:
                y = stack.pop() if do is Do.TAKE else stack[-1]
            here = i
