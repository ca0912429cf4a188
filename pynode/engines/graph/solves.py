"""Recordings of solves with fixed steps: one launch for the forward solve, and one for its gradient.

A recording belongs to one field, grid, scheme and shape.  It reads the parameters of the field in place.  The initial
state, and the probes of a flow, are copied into static tensors before a replay.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pynode.engines.graph.capture import NotRecordable, Recorder, Recording
from pynode.engines.graph.fields import identity_of, inner_of, is_own, probes_of, reading, with_probes
from pynode.engines.graph.recordings import Kind, Recorded
from pynode.engines.graph.stepwise import states_of
from pynode.errors import FieldChanged, StaleCapture
from pynode.evaluation import parameters_of
from pynode.gradients import Discrete
from pynode.second_derivatives import linked, with_graph
from pynode.solution import Cost, SolveStats
from pynode.solve import Kept, Pullback, Run, Solve
from pynode.types import State, States

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Difference of a recorded slope from that of the module, relative to the largest entry, that is more than rounding."""

CHECKED_EVERY = 64
"""The first slope of a user's own module is compared with the recorded one after at most this many solves."""


def kind_of(solve: Solve) -> Kind:
    """What the recording of a solve with fixed steps depends on; raises `NotRecordable`."""
    if solve.ts.requires_grad:
        raise NotRecordable("its output times want a gradient, but a recording has its times built in")
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
        raise NotRecordable("there are hooks on saved tensors, which a recording does not call")
    field = solve.field
    assert isinstance(field, nn.Module)
    if solve.named is not None:
        own = {id(p) for p in parameters_of(field)}
        if strange := [x for x in solve.params if id(x) not in own]:
            shape = tuple(strange[0].shape)
            raise NotRecordable(f"params has a tensor of shape {shape} that is no parameter of the field")
    probes, module = probes_of(field), inner_of(field)
    key = (
        "fixed steps",
        *identity_of(field),
        *map(_kind_of_tensor, (solve.y0, probes)),
        solve.y0.requires_grad,
        differentiates(solve),
        solve.grid,
        solve.recipe.formula,
        solve.recipe.gradient,
    )
    return Kind(key, (module,), module, partial(RecordedSolve, solve))


def _kind_of_tensor(x: Tensor | None) -> tuple[Any, ...] | None:
    return None if x is None else (x.shape, x.dtype, x.device)


def differentiates(solve: Solve) -> bool:
    """Whether a gradient by the initial state or by a parameter may be asked for."""
    wanted = solve.y0.requires_grad or any(p.requires_grad for p in parameters_of(solve.field))
    return solve.wants_gradient and wanted


class Ticket:
    """The claim of one solve to the recording's tensors; alive as long as its gradient may be asked for.

    `inputs` are copies of the initial state and the probes, made when another solve overwrites the static ones.
    """

    def __init__(self, versions: list[int]) -> None:
        self.versions = versions
        self.inputs: list[Tensor] | None = None


class RecordedSolve(Recorded):
    """A forward solve and its gradient as two recordings on static tensors; raises `NotRecordable`."""

    def __init__(self, solve: Solve, recorder: Recorder) -> None:
        assert isinstance(solve.field, nn.Module)
        self.recorder = recorder
        self._lock = threading.RLock()
        y0, probes = solve.y0.detach(), probes_of(solve.field)
        with torch.inference_mode(False):
            self._given = [
                x.detach().clone(memory_format=torch.contiguous_format) for x in (y0, probes) if x is not None
            ]
        self._module = weakref.ref(inner_of(solve.field))
        self._tensors = [*inner_of(solve.field).parameters(), *inner_of(solve.field).buffers()]
        self._own = is_own(solve.field)
        self._solves, self._next_check = 0, 1
        self._current: weakref.ref[Ticket] | None = None
        self.backward: Recording | None = None
        work = _Work(solve, self._given)
        self.forward = recorder.record(work.forward)
        self.states, self.slope = work.states, work.slope
        self.forward.replay()  # recording the gradient reads the results, and indices among them must be valid
        if work.differentiates:
            self._cotangents = work.cotangents = torch.zeros_like(work.states)
            self.backward = recorder.record(work.backward)
            self._flat, self._layout = work.flat, work.layout
        self.stats = work.stats

    def run(self, solve: Solve) -> Run:
        assert isinstance(solve.field, nn.Module)
        probes = probes_of(solve.field)
        with self._lock, torch.no_grad():
            self.recorder.enter()
            self._save_the_other()
            self._current = None  # until this solve has succeeded
            for static, x in zip(self._given, (solve.y0, probes), strict=False):
                assert x is not None
                static.copy_(x.detach())
            self.forward.replay()
            states = self.states.clone()
            if self._own:
                self._compare(solve)
            ticket = Ticket(self.versions())
            self._current = weakref.ref(ticket)
        stats = solve.stats
        stats.forward.n_accepted = self.stats.forward.n_accepted
        stats.forward.n_f += self.stats.forward.n_f
        if self.backward is None:
            return Run(states, None, stats)
        return Run(states, GraphPullback(solve, self, ticket), stats)

    def pull(self, ticket: Ticket, cotangents: States) -> list[Tensor | None]:
        """The gradients by y0 and by the parameters; None for those that the states do not depend on."""
        assert self.backward is not None
        if ticket.versions != self.versions():
            raise RuntimeError(
                "a parameter or a buffer of the field has been modified by an inplace operation since the solve, so "
                "that its gradient would be that of another solve; call backward before changing it"
            )
        with self._lock, torch.no_grad():
            self.recorder.enter()
            if self._current is None or self._current() is not ticket:
                assert ticket.inputs is not None
                self._save_the_other()
                for static, x in zip(self._given, ticket.inputs, strict=True):
                    static.copy_(x)
                self.forward.replay()
                self._current = weakref.ref(ticket)
            self._cotangents.copy_(cotangents.detach())
            self.backward.replay()
            parts = {dtype: iter(flat.clone().split(self._layout.sizes[dtype])) for dtype, flat in self._flat.items()}
        return [None if x is None else next(parts[x[0]]).view(x[1]) for x in self._layout.kinds]

    def inputs_of(self, ticket: Ticket) -> list[Tensor]:
        """The initial state and the probes of that solve, in memory that no other solve overwrites."""
        with self._lock, torch.no_grad():
            self.recorder.enter()
            if ticket.inputs is None:
                ticket.inputs = [x.clone() for x in self._given]
            return ticket.inputs

    def versions(self) -> list[int]:
        """How often each parameter and buffer has been changed in place."""
        return [0 if x.is_inference() else x._version for x in self._tensors]

    def _save_the_other(self) -> None:
        """Copies the inputs of the latest solve before they are overwritten, if its gradient may still be asked for."""
        ticket = None if self._current is None or self.backward is None else self._current()
        if ticket is not None and ticket.inputs is None:
            ticket.inputs = [x.clone() for x in self._given]

    def _compare(self, solve: Solve) -> None:
        """Raises `StaleCapture` if the module's first slope is not the recorded one, in solves 1, 2, 4, 8, ..."""
        self._solves += 1
        if self._solves < self._next_check:
            return
        self._next_check = min(2 * self._solves, self._solves + CHECKED_EVERY)
        grid, y0 = solve.grid, self._given[0]
        (t, *_), _ = next(iter(grid.schedule(solve.recipe.formula.c, y0)))
        with torch.inference_mode(False):
            slope = solve.field(t, y0.clone()).detach()
        fine = torch.isfinite(slope)
        same = torch.equal(fine, torch.isfinite(self.slope))
        error = torch.where(fine, slope - self.slope, 0).abs().max()
        if not same or bool(error > TOLERANCE.get(slope.dtype, 1e-2) * torch.where(fine, slope, 0).abs().max()):
            raise StaleCapture(type(self._module()).__name__, "state outside the module")


class _Layout:
    """Where gradients lie in flat tensors, one for each dtype; `kinds` has dtype and shape of each, or None."""

    def __init__(self, gradients: Sequence[Tensor | None]) -> None:
        self.kinds = [None if g is None else (g.dtype, g.shape) for g in gradients]
        self.sizes: dict[torch.dtype, list[int]] = {}
        for g in gradients:
            if g is not None:
                self.sizes.setdefault(g.dtype, []).append(g.numel())


class _Work:
    """The functions that are recorded; needed only until both recordings have been made."""

    states: States
    slope: Tensor
    cotangents: States
    flat: dict[torch.dtype, Tensor]
    layout: _Layout

    def __init__(self, solve: Solve, given: Sequence[Tensor]) -> None:
        gradient = solve.recipe.gradient
        assert isinstance(gradient, Discrete)
        assert isinstance(solve.field, nn.Module)
        y0, *probes = given
        self._y0, self._field = y0, with_probes(solve.field, probes[0] if probes else None)
        self._grid, self._scheme, self._gradient = solve.grid, solve.recipe.formula, gradient
        self.differentiates, self._by_y0 = differentiates(solve), solve.y0.requires_grad
        self._params = {name: p for name, p in self._field.named_parameters() if p.requires_grad}
        self._settings = _Settings(y0.device.type, gradients=self.differentiates)
        self.stats = SolveStats()
        self._made: tuple[States, list[Tensor], dict[str, Tensor]] | None = None
        if self.differentiates:
            self._check_leaves()

    def forward(self) -> None:
        """Sets `states` and the first `slope`, and keeps the graph of the states if a gradient is wanted."""
        self.stats = SolveStats()
        leaves = self._leaves()
        with self._settings.applied(), reading(self._field, leaves):
            y0 = self._y0.detach().requires_grad_(self.differentiates and self._by_y0)
            first = _First(self._field)
            params = tuple(leaves.values())
            states = states_of(first, y0, self._grid, self._scheme, self._gradient, params, self.stats)
        self.states, self.slope = states.detach(), first.slope
        if self.differentiates:
            self._made = (states, [y0] if self._by_y0 else [], leaves)

    def backward(self) -> None:
        """Writes the gradients into `flat`."""
        assert self._made is not None
        states, start, leaves = self._made
        self.stats.backward = Cost()
        sources = (*start, *leaves.values())
        with self._settings.applied(), reading(self._field, leaves):
            gradients: Sequence[Tensor | None] = torch.autograd.grad(
                states, sources, self.cotangents, retain_graph=True, allow_unused=True
            )
        if self._gradient.memory == "store":
            self.stats.backward.n_vjp = self.stats.forward.n_f
        every = [*([] if self._by_y0 else [None]), *gradients]
        self.layout = _Layout(every)
        present = [g for g in every if g is not None]
        self.flat = {
            dtype: torch.cat([g.detach().reshape(-1) for g in present if g.dtype is dtype])
            for dtype in self.layout.sizes
        }

    def _leaves(self) -> dict[str, Tensor]:
        """New leaves that share the memory of the parameters.

        Autograd accumulates the gradient of a leaf on the stream where the leaf was first used, which for
        a parameter may be the default stream; that one can't take part in a capture.
        """
        return {name: p.detach().requires_grad_() for name, p in self._params.items()} if self.differentiates else {}

    def _check_leaves(self) -> None:
        """Raises `NotRecordable` if the field reads a tensor that wants a gradient and is none of its parameters."""
        leaves = self._leaves()
        with self._settings.applied(), reading(self._field, leaves):
            y = self._y0.detach().clone().requires_grad_()
            (t, *_), _ = next(iter(self._grid.schedule(self._scheme.c, y)))
            slope = self._field(t, y)
        if not isinstance(slope, Tensor):
            return
        known = {id(x) for x in (y, t, *leaves.values())}
        seen, todo = set(), [slope.grad_fn]
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            leaf = getattr(node, "variable", None)
            if leaf is not None and id(leaf) not in known:
                raise NotRecordable(
                    f"the field reads a tensor of shape {tuple(leaf.shape)}, which wants a gradient and is none of its "
                    "parameters"
                )
            todo += [n for n, _ in node.next_functions]


class _First:
    """Calls a field and keeps its first value."""

    slope: Tensor

    def __init__(self, field: nn.Module) -> None:
        self._field, self._is_first = field, True

    def __call__(self, t: Tensor, y: State) -> State:
        slope: Tensor = self._field(t, y)
        if self._is_first and isinstance(slope, Tensor):
            self.slope, self._is_first = slope.detach().to(y.dtype), False
        return slope


class _Settings:
    """Torch's settings for a field's evaluations: gradients on or off, and autocast as it is when this is made."""

    def __init__(self, kind: str, *, gradients: bool) -> None:
        self._kind, self._gradients = kind, gradients
        self._autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None

    def applied(self) -> ExitStack:
        """A context with these settings; casts of parameters are not cached, since a replay has to do them again."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.set_grad_enabled(self._gradients))  # takes effect here, not on entering
            stack.enter_context(
                torch.autocast(
                    self._kind, dtype=self._autocast, enabled=self._autocast is not None, cache_enabled=False
                )
            )
            return stack.pop_all()


class GraphPullback(Pullback):
    """The gradient of one recorded solve.

    A gradient that has to be differentiated again is computed by torch operators, with the memory that this takes.
    """

    name = "a recorded solve"
    repeats = True

    def __init__(self, solve: Solve, recorded: RecordedSolve, ticket: Ticket) -> None:
        self._recorded, self._solve = recorded, solve
        self._ticket: Ticket | None = ticket
        self._params = parameters_of(solve.field)
        self._settings = _Settings(solve.y0.device.type, gradients=True)
        self.inputs = (solve.ts, solve.y0, *self._params)

    def release(self) -> Kept:
        ticket, self._ticket = self._ticket, None
        return Kept((), ticket)

    def pull(
        self,
        kept: Kept,
        cotangents: States,
        wanted: Sequence[bool],  # noqa: ARG002
    ) -> tuple[Tensor | None, ...]:
        gradients = self._recorded.pull(kept.held, cotangents)
        backward, recorded = self._solve.stats.backward, self._recorded.stats.backward
        backward.n_f += recorded.n_f
        backward.n_vjp += recorded.n_vjp
        return None, *gradients

    def pull_with_graph(
        self,
        kept: Kept,
        cotangents: States,
        wanted: Sequence[bool],  # noqa: ARG002
    ) -> tuple[Tensor | None, ...]:
        """By torch operators: the solve is done once more, under the settings of the first time."""
        solve, field = self._solve, self._solve.field
        ticket: Ticket = kept.held
        if ticket.versions != self._recorded.versions():
            raise FieldChanged(
                "the parameters have been changed in place since the solve, so that its gradient can't be "
                "differentiated; change copies of them"
            )
        assert isinstance(field, nn.Module)
        names = [name for name, p in field.named_parameters() if p.requires_grad]
        leaves = [p.detach().requires_grad_() for p in self._params]
        start, *probes = self._recorded.inputs_of(ticket)
        again = with_probes(field, probes[0] if probes else None)
        with self._settings.applied(), reading(again, dict(zip(names, leaves, strict=True))):
            y0 = start.detach().requires_grad_()
            ys = solve.recipe.formula.solve(again, y0, solve.grid)
            gradients, back = with_graph(ys, [y0, *leaves], cotangents)
        solve.stats.backward.n_vjp += self._recorded.stats.forward.n_f
        return None, *linked(gradients, [y0, *leaves, back], [solve.y0, *self._params, cotangents])
