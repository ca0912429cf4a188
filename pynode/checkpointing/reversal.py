"""Reverses a fixed-step solve: each step is rebuilt with a graph, from a state that was kept or regained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pynode.checkpointing.revolve import Action, Do, actions
from pynode.evaluation import CountedField
from pynode.grid import StepSize, TimeGrid
from pynode.schemes.base import Scheme
from pynode.solution import SolveStats
from pynode.types import State, States


class Gradients(NamedTuple):
    """By stage times `(n_steps, n_stages)` and step sizes `(n_steps,)`, where given; by y0; by parameters."""

    by_times: Tensor | None
    by_sizes: Tensor | None
    by_y0: State
    by_params: list[Tensor | None]


def reverse_steps(
    f: CountedField,
    scheme: Scheme,
    grid: TimeGrid,
    stats: SolveStats,
    states: Iterator[State],
    times: Tensor | None,
    sizes: Tensor | None,
    params: Sequence[Tensor],
    cotangents: States,
) -> Gradients:
    """The discrete adjoint of all steps, the last step first, for `cotangents` `(time, ..., dim)` of the output states.

    `states` yields the state before each step, `(..., dim)`, the last step's first; each is let go before the next is
    asked for.  `times` and `sizes` are stage times and step sizes where the output times want a gradient, else None.
    Evaluations, those of the iterator included, and products are counted into `stats.backward`.
    """
    output_of = {index: k for k, index in enumerate(grid.output_indices)}
    schedule = list(grid.schedule(scheme.c, cotangents))
    by_params: list[Tensor | None] = [None] * len(params)
    by_times = None if times is None else torch.zeros_like(times)
    by_sizes = None if sizes is None else torch.zeros_like(sizes)
    adjoint = cotangents[-1]
    with f.counting_into(stats.backward):
        for i in reversed(range(grid.n_steps)):
            timing = () if times is None or sizes is None else (times[i], sizes[i])
            # the state stays nameless here, so that the step's own references are the last
            adjoint, *rest = _reverse_step(f, scheme, next(states), schedule[i], timing, params, adjoint)
            stats.backward.n_vjp += scheme.n_stages
            if by_times is not None and by_sizes is not None:
                by_times[i], by_sizes[i] = rest[:2]
            _accumulate(by_params, rest[len(timing) :])
            if i in output_of:
                adjoint = adjoint + cotangents[output_of[i]]
    return Gradients(by_times, by_sizes, adjoint, by_params)


def _reverse_step(
    f: CountedField,
    scheme: Scheme,
    state: State,
    row_and_size: tuple[Sequence[Tensor], StepSize],
    timing: Sequence[Tensor],
    params: Sequence[Tensor],
    adjoint: State,
) -> tuple[Tensor, ...]:
    """Pulls `adjoint` back through one step from `state`: to the state, `timing` (stage times, size) and `params`."""
    row, h = row_and_size
    own = [t.detach().requires_grad_() for t in timing]
    with torch.enable_grad():
        y = state.detach().requires_grad_()
        if own:
            row, h = own[0].unbind(), own[1]
        y_next = scheme.step(f, y, row, h)
    return torch.autograd.grad(y_next, [y, *own, *params], adjoint, allow_unused=True, materialize_grads=True)


def _accumulate(total: list[Tensor | None], part: Iterable[Tensor]) -> None:
    for j, g in enumerate(part):
        seen = total[j]
        total[j] = g.clone() if seen is None else seen.add_(g)


class Checkpointed(torch.autograd.Function):
    """The whole solve as one node that keeps up to `budget` step states at a time, by the schedule of `revolve`.

    Between the solve and its gradient it also keeps the state before the last step, the state in work of the schedule.
    The output states are the caller's, who may change them in place: none of them is kept or read.
    """

    @staticmethod
    def forward(
        ctx: Any,
        f: CountedField,
        scheme: Scheme,
        grid: TimeGrid,
        stats: SolveStats,
        budget: int,
        times: Tensor | None,
        sizes: Tensor | None,
        y0: State,
        *params: Tensor,
    ) -> States:
        sweep = _until_reversed(grid.n_steps, budget)
        stored_at = {action.i for action in sweep if action.do is Do.STORE}
        output_of = {index: k for k, index in enumerate(grid.output_indices)}
        ys = y0.new_empty((len(output_of), *y0.shape))
        stored, work = [], y0
        for i, y in enumerate(scheme.walk(f, y0, grid)):
            if i in output_of:
                ys[output_of[i]] = y
            if i in stored_at:
                stored.append(y)
            if i == grid.n_steps - 1:
                work = y
        ctx.f, ctx.scheme, ctx.grid, ctx.stats, ctx.budget = f, scheme, grid, stats, budget
        # on the node itself, not among its saved tensors: the backward pass lets each of them go after its last use
        ctx.swept = (stored, work) if grid.n_steps > 1 else None
        ctx.save_for_backward(times, sizes, y0, *params)
        return ys

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        times, sizes, y0, *params = ctx.saved_tensors
        swept, ctx.swept = ctx.swept, None
        states = _regained(ctx.f, ctx.scheme, ctx.grid, ctx.budget, y0, swept)
        del swept  # the iterator alone holds the states now
        found = reverse_steps(ctx.f, ctx.scheme, ctx.grid, ctx.stats, states, times, sizes, params, cotangents)
        return (None, None, None, None, None, found.by_times, found.by_sizes, found.by_y0, *found.by_params)


def _until_reversed(n: int, budget: int) -> list[Action]:
    """The actions of the first sweep."""
    found = []
    for action in actions(n, budget):
        if action.do is Do.REVERSE:
            break
        found.append(action)
    return found


def _regained(
    f: CountedField, scheme: Scheme, grid: TimeGrid, budget: int, y0: State, swept: tuple[list[State], State] | None
) -> Iterator[State]:
    """The states before the steps n - 1, ..., 0, by the schedule; to be run without autograd.

    `swept` holds the stored states of the first sweep and the state in work at its end.  Without it the sweep is done
    once more: a second backward pass through a retained graph finds no states left, as the first has let them go.
    """
    stack, y, here = [y0], y0, 0
    todo = actions(grid.n_steps, budget)
    if swept is not None:
        stored, y = swept
        stack += stored
        here = grid.n_steps - 1
        todo = dropwhile(lambda action: action.do is not Do.REVERSE, todo)
        del swept, stored
    schedule = list(grid.schedule(scheme.c, y0))
    for do, i in todo:
        if do is Do.ADVANCE:
            for times, h in schedule[here:i]:
                y = scheme.step(f, y, times, h)
        elif do is Do.STORE:
            stack.append(y)
        elif do is Do.REVERSE:
            yield y
            y = y0  # another one comes from the stack; until then this one may go
        else:
            y = stack.pop() if do is Do.TAKE else stack[-1]
        here = i
