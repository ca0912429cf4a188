"""Reverses a fixed-step solve: each step is rebuilt with a graph, from a state that was kept or regained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import dropwhile
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pynode.checkpointing.revolve import Action, Do, actions
from pynode.evaluation import CountedField
from pynode.grid import StepSize, TimeGrid
from pynode.rebuilding import Rebuilding, save, saved
from pynode.schemes.base import Scheme
from pynode.second_derivatives import linked
from pynode.solution import SolveStats
from pynode.transforms import is_batched, one_by_one
from pynode.types import State, States


class Steps(NamedTuple):
    """A fixed-step solve."""

    f: CountedField
    scheme: Scheme
    grid: TimeGrid
    stats: SolveStats


Timing = tuple["Tensor | None", "Tensor | None"]
"""Stage times `(n_steps, n_stages)` and step sizes `(n_steps,)` where the output times want a gradient, else None."""


def gradient(
    steps: Steps,
    rebuilding: Rebuilding,
    states: Callable[[], Iterator[State]],
    timing: Timing,
    cotangents: States,
) -> tuple[Tensor | None, ...]:
    """The gradients by the two parts of `timing`, by y0, and by `rebuilding.sources`.

    `cotangents` `(time, ..., dim)` belong to the output states.  `states()` yields the state before each step,
    `(..., dim)`, the last step's first; each is let go before the next is asked for.  Where a graph of the gradient is
    wanted (`create_graph=True`), the whole solve is done once more with one, so that the gradient has derivatives of
    any order, and takes the memory of `memory="store"`.

    Evaluations, those of the iterator included, and products are counted into `stats.backward`.
    """
    if is_batched(cotangents):
        return one_by_one(lambda each: gradient(steps, rebuilding, states, timing, each), cotangents)
    with steps.f.counting_into(steps.stats.backward):
        if torch.is_grad_enabled():
            return _with_graph(steps, rebuilding, timing, cotangents)
        with rebuilding.as_it_was() as leaves:
            return _reverse_steps(steps, rebuilding, states(), timing, leaves, cotangents)


def _reverse_steps(
    steps: Steps,
    rebuilding: Rebuilding,
    states: Iterator[State],
    timing: Timing,
    leaves: Sequence[Tensor],
    cotangents: States,
) -> tuple[Tensor | None, ...]:
    """The discrete adjoint of all steps, the last step first."""
    _, scheme, grid, stats = steps
    times, sizes = timing
    output_of = {index: k for k, index in enumerate(grid.output_indices)}
    schedule = list(grid.schedule(scheme.c, cotangents))
    by_leaves: list[Tensor | None] = [None] * len(leaves)
    by_times = None if times is None else torch.zeros_like(times)
    by_sizes = None if sizes is None else torch.zeros_like(sizes)
    adjoint = cotangents[-1]
    for i in reversed(range(grid.n_steps)):
        own = () if times is None or sizes is None else (times[i], sizes[i])
        # the state stays nameless here, so that the step's own references are the last
        adjoint, *rest = _reverse_step(steps, rebuilding, i, next(states), schedule[i], own, leaves, adjoint)
        stats.backward.n_vjp += scheme.n_stages
        if by_times is not None and by_sizes is not None:
            by_times[i], by_sizes[i] = rest[:2]
        _accumulate(by_leaves, rest[len(own) :])
        if i in output_of:
            adjoint = adjoint + cotangents[output_of[i]]
    return by_times, by_sizes, adjoint, *by_leaves


def _reverse_step(
    steps: Steps,
    rebuilding: Rebuilding,
    i: int,
    state: State,
    row_and_size: tuple[Sequence[Tensor], StepSize],
    timing: Sequence[Tensor],
    leaves: Sequence[Tensor],
    adjoint: State,
) -> tuple[Tensor, ...]:
    """Pulls `adjoint` back through step `i` from `state`: to the state, `timing` (stage times, size) and `leaves`."""
    row, h = row_and_size
    own = [t.detach().requires_grad_() for t in timing]
    rebuilding.replay(i)
    with torch.enable_grad():
        y = state.detach().requires_grad_()
        if own:
            row, h = own[0].unbind(), own[1]
        y_next = steps.scheme.step(steps.f, y, row, h)
    rebuilding.check_graph(y_next, y, *own)
    return torch.autograd.grad(y_next, [y, *own, *leaves], adjoint, allow_unused=True, materialize_grads=True)


def _with_graph(steps: Steps, rebuilding: Rebuilding, timing: Timing, cotangents: States) -> tuple[Tensor | None, ...]:
    """The gradient as a function that can be differentiated again."""
    _, scheme, grid, stats = steps
    given = [x for x in timing if x is not None]
    with rebuilding.as_it_was(cut=True) as leaves, torch.enable_grad():
        own = [x.detach().requires_grad_() for x in (*given, rebuilding.y0)]
        back = cotangents.detach().requires_grad_()
        schedule = list(grid.schedule(scheme.c, cotangents))
        if given:
            schedule = [(row.unbind(), h) for row, h in zip(own[0].unbind(), own[1].unbind(), strict=True)]
        y, outputs, wanted = own[-1], [own[-1]], set(grid.output_indices)
        for i, (row, h) in enumerate(schedule):
            rebuilding.replay(i)
            y = scheme.step(steps.f, y, row, h)
            if i + 1 in wanted:
                outputs.append(y)
        ys = torch.stack(outputs)
        rebuilding.check_graph(ys, *own)
        inputs = [*own, *leaves]
        found = torch.autograd.grad(ys, inputs, back, create_graph=True, allow_unused=True, materialize_grads=True)
    stats.backward.n_vjp += scheme.n_stages * grid.n_steps
    gradients = linked(found, [*inputs, back], [*given, rebuilding.origin, *rebuilding.sources, cotangents])
    return (*(gradients if given else (None, None, *gradients)),)


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
        steps: Steps,
        rebuilding: Rebuilding,
        budget: int,
        times: Tensor | None,
        sizes: Tensor | None,
        y0: State,
        *sources: Tensor,  # noqa: ARG004 (inputs of the node, so that they get their gradients)
    ) -> States:
        f, scheme, grid, _ = steps
        sweep = _until_reversed(grid.n_steps, budget)
        stored_at = {action.i for action in sweep if action.do is Do.STORE}
        output_of = {index: k for k, index in enumerate(grid.output_indices)}
        ys = y0.new_empty((len(output_of), *y0.shape))
        stored, work = [], y0
        for i, y in enumerate(rebuilding.recording(scheme.walk(f, y0, grid))):
            if i in output_of:
                ys[output_of[i]] = y
            if i in stored_at:
                stored.append(y)
            if i == grid.n_steps - 1:
                work = y
        ctx.steps, ctx.budget = steps, budget
        # on the node itself, not among its saved tensors: the backward pass lets each of them go after its last use
        ctx.swept = (stored, work) if grid.n_steps > 1 else None
        rebuilding.settle(grid.output_times[-1], y)
        save(ctx, rebuilding, times, sizes)
        return ys

    @staticmethod
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        rebuilding, (times, sizes) = saved(ctx)

        def states() -> Iterator[State]:
            swept, ctx.swept = ctx.swept, None
            return _regained(ctx.steps, rebuilding, ctx.budget, swept)  # alone holds the states now

        return None, None, None, *gradient(ctx.steps, rebuilding, states, (times, sizes), cotangents)


def _until_reversed(n: int, budget: int) -> list[Action]:
    """The actions of the first sweep."""
    sweep = []
    for action in actions(n, budget):
        if action.do is Do.REVERSE:
            break
        sweep.append(action)
    return sweep


def _regained(
    steps: Steps, rebuilding: Rebuilding, budget: int, swept: tuple[list[State], State] | None
) -> Iterator[State]:
    """The states before the steps n - 1, ..., 0, by the schedule; to be run without autograd.

    `swept` holds the stored states of the first sweep and the state in work at its end.  Without it the sweep is done
    once more: a second backward pass through a retained graph finds no states left, as the first has let them go.
    """
    f, scheme, grid, _ = steps
    y0 = rebuilding.y0
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
            for j in range(here, i):
                rebuilding.replay(j)
                y = scheme.step(f, y, *schedule[j])
        elif do is Do.STORE:
            stack.append(y)
        elif do is Do.REVERSE:
            yield y
            y = y0  # another one comes from the stack; until then this one may go
        else:
            y = stack.pop() if do is Do.TAKE else stack[-1]
        here = i
