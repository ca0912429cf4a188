"""Reverses a fixed-step solve: each step is rebuilt with a graph, from a state that was kept or regained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile
from typing import ClassVar

import torch
from torch import Tensor

from pynode.engines.eager.revolve import Action, Do, actions
from pynode.gradients import Discrete
from pynode.grid import StepSize
from pynode.rebuilding import Rebuilding
from pynode.second_derivatives import linked, with_graph
from pynode.solve import Kept, Pullback, Solve
from pynode.types import State, States


class Reversal(Pullback):
    """The gradient of a fixed-step solve from the state before each step, which a subclass keeps or regains.

    Where a graph of the gradient is wanted (`create_graph=True`), the whole solve is done once more with one, so that
    the gradient has derivatives of any order, and takes the memory of `memory="store"`.
    """

    repeats: ClassVar[bool] = True

    def __init__(self, solve: Solve) -> None:
        gradient = solve.recipe.gradient
        assert isinstance(gradient, Discrete)
        self.name = f"DiscOpt(memory={gradient.memory!r})"
        self.f, self.scheme, self.grid, self.stats = solve.counted(), solve.recipe.formula, solve.grid, solve.stats
        self._ts = solve.ts.detach().clone() if solve.ts.requires_grad else None
        ts, y0 = solve.ts, solve.y0
        self.rebuilding: Rebuilding | None = Rebuilding(self.f, y0, ts[0], solve.params, method=self.name, replays=True)
        self.inputs = (ts, y0, *self.rebuilding.sources)

    def forward(self) -> States:
        """Solves, and keeps what the way back needs; to be called once, without autograd."""
        assert self.rebuilding is not None
        y0 = self.inputs[1]
        output_of = {index: k for k, index in enumerate(self.grid.output_indices)}
        ys = y0.new_empty((len(output_of), *y0.shape))
        y = y0
        for i, y in enumerate(self.rebuilding.recording(self.scheme.walk(self.f, y0, self.grid))):
            if i in output_of:
                ys[output_of[i]] = y
            self.keep(i, y)
        self.rebuilding.settle(self.grid.output_times[-1], y)
        return ys

    @abstractmethod
    def keep(self, i: int, y: State) -> None:
        """Told of the state `y` after each number `i` of steps, in order."""

    @abstractmethod
    def states(self, kept: Kept, rebuilding: Rebuilding) -> Iterator[State]:
        """The state `(..., dim)` before each step, the last step's first; each is let go before the next is asked for.

        To be run without autograd.
        """

    def release(self) -> Kept:
        held, self.rebuilding = self.rebuilding, None
        return Kept((), held)

    def pull(
        self,
        kept: Kept,
        cotangents: States,
        wanted: Sequence[bool],  # noqa: ARG002
    ) -> tuple[Tensor | None, ...]:
        rebuilding: Rebuilding = kept.held
        with torch.no_grad(), self.f.counting_into(self.stats.backward), rebuilding.as_it_was() as leaves:
            return self._reverse_steps(rebuilding, self.states(kept, rebuilding), leaves, cotangents)

    def pull_with_graph(
        self,
        kept: Kept,
        cotangents: States,
        wanted: Sequence[bool],  # noqa: ARG002
    ) -> tuple[Tensor | None, ...]:
        """By the whole solve, done once more with all stages stored."""
        with self.f.counting_into(self.stats.backward):
            return self._with_graph(kept.held, cotangents)

    def _reverse_steps(
        self, rebuilding: Rebuilding, states: Iterator[State], leaves: Sequence[Tensor], cotangents: States
    ) -> tuple[Tensor | None, ...]:
        """The discrete adjoint of all steps, the last step first."""
        grid, c = self.grid, self.scheme.c
        output_of = {index: k for k, index in enumerate(grid.output_indices)}
        schedule = list(grid.schedule(c, cotangents))
        timing = None if self._ts is None else grid.differentiable(c, self._ts, cotangents)
        by_timing = None if timing is None else tuple(torch.zeros_like(x) for x in timing)
        by_leaves: list[Tensor | None] = [None] * len(leaves)
        adjoint = cotangents[-1]
        for i in reversed(range(grid.n_steps)):
            own = () if timing is None else (timing[0][i], timing[1][i])
            # the state stays nameless here, so that the step's own references are the last
            adjoint, *rest = self._reverse_step(rebuilding, i, next(states), schedule[i], own, leaves, adjoint)
            self.stats.backward.n_vjp += self.scheme.n_stages
            if by_timing is not None:
                by_timing[0][i], by_timing[1][i] = rest[:2]
            _accumulate(by_leaves, rest[len(own) :])
            if i in output_of:
                adjoint = adjoint + cotangents[output_of[i]]
        by_ts = None
        if self._ts is not None and by_timing is not None:
            with torch.enable_grad():
                ts = self._ts.detach().requires_grad_()
                timing = grid.differentiable(c, ts, cotangents)
            (by_ts,) = torch.autograd.grad(timing, ts, by_timing)
        return by_ts, adjoint, *by_leaves

    def _reverse_step(
        self,
        rebuilding: Rebuilding,
        i: int,
        state: State,
        row_and_size: tuple[Sequence[Tensor], StepSize],
        timing: Sequence[Tensor],
        leaves: Sequence[Tensor],
        adjoint: State,
    ) -> tuple[Tensor, ...]:
        """Pulls `adjoint` back through step `i` from `state`: to the state, `timing` (stage times, size), `leaves`."""
        row, h = row_and_size
        own = [t.detach().requires_grad_() for t in timing]
        rebuilding.replay(i)
        with torch.enable_grad():
            y = state.detach().requires_grad_()
            if own:
                row, h = own[0].unbind(), own[1]
            y_next = self.scheme.step(self.f, y, row, h)
        rebuilding.check_graph(y_next, y, *own)
        return torch.autograd.grad(y_next, [y, *own, *leaves], adjoint, allow_unused=True, materialize_grads=True)

    def _with_graph(self, rebuilding: Rebuilding, cotangents: States) -> tuple[Tensor | None, ...]:
        """The gradient as a function that can be differentiated again."""
        scheme, grid = self.scheme, self.grid
        with rebuilding.as_it_was(cut=True) as leaves, torch.enable_grad():
            times = [] if self._ts is None else [self._ts.detach().requires_grad_()]
            y0 = rebuilding.y0.detach().requires_grad_()
            y, outputs, at_outputs = y0, [y0], set(grid.output_indices)
            for i, (row, h) in enumerate(grid.schedule(scheme.c, cotangents, times[0] if times else None)):
                rebuilding.replay(i)
                y = scheme.step(self.f, y, row, h)
                if i + 1 in at_outputs:
                    outputs.append(y)
            ys = torch.stack(outputs)
            rebuilding.check_graph(ys, y0, *times)
            own = [*times, y0, *leaves]
            gradients, back = with_graph(ys, own, cotangents)
        self.stats.backward.n_vjp += scheme.n_stages * grid.n_steps
        originals = [*(self.inputs[:1] if times else []), rebuilding.origin, *rebuilding.sources, cotangents]
        results = linked(gradients, [*own, back], originals)
        return results if times else (None, *results)


def _accumulate(total: list[Tensor | None], part: Iterable[Tensor]) -> None:
    for j, g in enumerate(part):
        seen = total[j]
        total[j] = g.clone() if seen is None else seen.add_(g)


class Recomputed(Reversal):
    """Keeps the state before each step."""

    def __init__(self, solve: Solve) -> None:
        super().__init__(solve)
        self._kept: Tensor | None = solve.y0.new_empty((self.grid.n_steps, *solve.y0.shape))

    def keep(self, i: int, y: State) -> None:
        if i < self.grid.n_steps:
            assert self._kept is not None
            self._kept[i] = y

    def release(self) -> Kept:
        kept, self._kept = self._kept, None
        return Kept((kept,), super().release().held)

    def states(self, kept: Kept, rebuilding: Rebuilding) -> Iterator[State]:  # noqa: ARG002
        before: States = kept.tensors[0]
        return (before[i] for i in reversed(range(len(before))))


class Checkpointed(Reversal):
    """Keeps up to `budget` step states at a time, by the schedule of `revolve`.

    Between the solve and its gradient it also keeps the state before the last step, the state in work of the schedule.
    The output states are the caller's, who may change them in place: none of them is kept or read.  The states are not
    in the hands of torch's graph: the way back lets each of them go after its last use.
    """

    def __init__(self, solve: Solve, budget: int) -> None:
        super().__init__(solve)
        self._budget = budget
        self._stored_at = {a.i for a in until_reversed(self.grid.n_steps, budget) if a.do is Do.STORE}
        self._stored: list[State] = []
        self._swept: tuple[list[State], State] | None = None

    def keep(self, i: int, y: State) -> None:
        if i in self._stored_at:
            self._stored.append(y)
        if i == self.grid.n_steps - 1 and i > 0:
            self._swept, self._stored = (self._stored, y), []

    def states(self, kept: Kept, rebuilding: Rebuilding) -> Iterator[State]:  # noqa: ARG002
        swept, self._swept = self._swept, None
        return self._regained(rebuilding, swept)  # alone holds the states now

    def _regained(self, rebuilding: Rebuilding, swept: tuple[list[State], State] | None) -> Iterator[State]:
        """The states before the steps n - 1, ..., 0, by the schedule.

        `swept` holds the stored states of the first sweep and the state in work at its end.  Without it the sweep is
        done once more: a second backward pass through a retained graph finds no states left, as the first has let them
        go.
        """
        grid, y0 = self.grid, rebuilding.y0
        stack, y, here = [y0], y0, 0
        todo = actions(grid.n_steps, self._budget)
        if swept is not None:
            stored, y = swept
            stack += stored
            here = grid.n_steps - 1
            todo = dropwhile(lambda action: action.do is not Do.REVERSE, todo)
            del swept, stored
        schedule = list(grid.schedule(self.scheme.c, y0))
        for do, i in todo:
            if do is Do.ADVANCE:
                for j in range(here, i):
                    rebuilding.replay(j)
                    y = self.scheme.step(self.f, y, *schedule[j])
            elif do is Do.STORE:
                stack.append(y)
            elif do is Do.REVERSE:
                yield y
                y = y0  # another one comes from the stack; until then this one may go
            else:
                y = stack.pop() if do is Do.TAKE else stack[-1]
            here = i


def until_reversed(n: int, budget: int) -> list[Action]:
    """The actions of the first sweep."""
    sweep = []
    for action in actions(n, budget):
        if action.do is Do.REVERSE:
            break
        sweep.append(action)
    return sweep
