"""Evaluating a field again, for its gradient, as it was during the solve.

Methods that keep no graph of the solve make one afterwards, piece by piece.  That gives the right gradient only if the
field is the same function then, draws the same random numbers, and if every tensor that it reads is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Generator, Tensor
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode

from pynode.deferred import active_checks, require
from pynode.errors import FieldChanged, MissingParameters, RandomField
from pynode.evaluation import CountedField
from pynode.field_state import FieldState
from pynode.reads import Reads, default_generator, put_back
from pynode.solution import Cost
from pynode.types import State

ROUNDING = 512
"""Units of rounding by which two evaluations of an unchanged field may differ, relative to the slope's norm."""

Edge = tuple[Any, int]
"""A node of autograd's graph and the number of its output."""


class Rebuilding:
    """Knows what the field `f` reads, from one evaluation at (t0, y0), and keeps what it holds.

    `sources` are the tensors that get a gradient: `params`, and whatever else the field reads and that wants one;
    those of `without` get none.  `y0` is a copy of the initial state, whose original, the `origin`, users may change.
    Neither that evaluation nor any other that only checks something is counted, moves a random state, or changes what
    the field holds.  After the solve, `settle` has to be called.

    With `replays` the random states of all steps are kept (see `recording`); without it a field that draws random
    numbers is refused, with the name of the `method` that can't have it.  Raises `RandomField`, `MissingParameters`.
    """

    def __init__(
        self,
        f: CountedField,
        y0: State,
        t0: Tensor,
        params: Sequence[Tensor],
        *,
        method: str,
        replays: bool = False,
        without: Sequence[Tensor] = (),
    ) -> None:
        self.method, self._replays = method, replays
        self._checks = active_checks()
        self._f = CountedField(f.f, Cost())  # counts for nobody
        self._autocast = _autocast_of(y0.device.type)
        self.origin = y0
        self.y0 = y0.detach().clone()
        self._t0 = t0.detach().to(y0.device, y0.real.dtype).clone()
        self._state = FieldState(f.f)
        self._draws: list[list[Tensor]] = []
        self._versions: list[tuple[Tensor, int]] = []
        reads, slope, y = self._first_evaluation()
        self._slope = slope.detach()
        self._written = [x for x, _ in reads.written]
        self._generators = [generator for generator, _ in reads.drawn]
        self._read = reads.tensors
        declared = list({id(p): p for p in params if p.requires_grad}.values())
        known = {id(p) for p in (*declared, *without)}
        sources = [*declared, *(x for x in reads.tensors if x.requires_grad and id(x) not in known)]
        self.makes_leaves = False
        excluded = frozenset(_edge(x) for x in without if x.requires_grad)
        sources += self._unseen(reads, slope, {_edge(y), *map(_edge, sources), *excluded})
        self.sources = tuple(sources)
        self._excluded = excluded
        self._edges = self._leaf_edges = excluded.union(map(_edge, sources))
        self._copies = _copies_of(sources) if _depend_on_each_other(sources) else {}
        self.leaves = tuple(self._copies.get(id(x), x) for x in sources)
        """What to differentiate by: the sources, or copies where one was computed from another (see `as_it_was`)."""
        self._outer_random = [g.get_state() for g in self._all_generators()]

    # --- the evaluation before the solve -----------------------------------------------------------------------------

    def _first_evaluation(self) -> tuple[Reads, Tensor, Tensor]:
        reads, slope, y = self._traced(self._t0, self.y0)
        changed = [now for _, _, now in self._state.differences()]
        former = self._state.note_own()
        made = [x for x in changed if isinstance(x, Tensor) and x.requires_grad]
        if made:
            again, slope_again, y_again = self._traced(self._t0, self.y0)
            again.undo()
            if any(x is held for x in made for held in again.tensors):
                return again, slope_again, y_again  # the first evaluation has cached something that all others read
        elif reads.written and not reads.drawn:
            slope_again = self._plain(self._t0, self.y0)
            if _differ(slope_again, slope):
                reads.undo()
                raise RandomField(
                    f"the field depends on {self._describe(reads.written[0][0])}, which it changes at every "
                    f"evaluation (spectral norm in training mode does), so that {self.method} can't evaluate it again "
                    "for its gradient; call .eval() on the field, solve inside torch.nn.utils.parametrize.cached(), "
                    'or use DiscOpt(memory="store")'
                )
        reads.undo()
        self._state.go_back_to(former)
        if reads.drawn and not self._replays:
            raise self._random()
        return reads, slope, y

    def _traced(self, t: Tensor, y: State) -> tuple[Reads, Tensor, Tensor]:
        """What the field reads at (t, y), its slope there with a graph, and the state that the graph begins at."""
        with torch.enable_grad():
            # no leaf, which torch would not let the field change in place
            t, y = t.clone(), y.clone().requires_grad_().clone()
        reads = Reads((t, y))
        with torch.enable_grad(), self._same_precision(), reads:
            slope = self._f(t, y)
        return reads, slope, y

    def _plain(self, t: Tensor, y: State) -> Tensor:
        with torch.no_grad(), self._same_precision():
            return self._f(t.clone(), y.clone())

    def _unseen(self, reads: Reads, slope: Tensor, known: Set[Edge]) -> list[Tensor]:
        """Leaves that the graph of the slope has and the dispatcher has not seen, as in a function of the user's own.

        What was computed before the solve can't be told apart there from what it was computed from.
        """
        unseen: list[Tensor] = []
        for leaf, older in _strange_leaves(slope, known, reads):
            if reads.is_inside(leaf):
                self.makes_leaves = True
            elif older:
                raise self._missing(leaf)
            else:
                unseen.append(leaf)
        return unseen

    # --- the solve ---------------------------------------------------------------------------------------------------

    def recording(self, walk: Iterator[State]) -> Iterator[State]:
        """The states of a walk, while the random states before each step are kept where the field draws from them."""
        for y in walk:
            if self._generators:
                self._draws.append([g.get_state() for g in self._generators])
            yield y

    def settle(self, t_end: float, y_end: State) -> None:
        """Takes the field as it is now, after the solve, for what the gradient belongs to.

        `y_end` `(..., dim)` is the state at the last output time.
        """
        self._state.note_own()
        if torch.is_autocast_enabled(self._autocast[0]):
            torch.clear_autocast_cache()  # casts made without a graph must not serve those who want one
        if not self._generators and any(
            not torch.equal(before, g.get_state())
            for before, g in zip(self._outer_random, self._all_generators(), strict=True)
        ):
            reads, _, _ = self._traced(torch.full_like(self._t0, t_end), y_end.detach())
            reads.undo()
            if reads.drawn:
                raise self._random()
        self._outer_random.clear()  # thousands of bytes each, of no use from here on
        exempt = {id(x) for x in self._written}
        watched = {id(x): x for x in (*self._read, *self.sources, *self._state.tensors())}
        self._versions = [(x, x._version) for x in watched.values() if id(x) not in exempt and not x.is_inference()]

    def _all_generators(self) -> list[Generator]:
        return [default_generator(device) for device in dict.fromkeys(("cpu", self.y0.device))]

    # --- the gradient ------------------------------------------------------------------------------------------------

    @contextmanager
    def as_it_was(self, *, cut: bool = False) -> Iterator[tuple[Tensor, ...]]:
        """Inside the block the field is what it was during the solve; gives the tensors to differentiate by.

        These are the `sources`, or copies that stand for them where one was computed from another, so that no path
        leads from the one to the other; with `cut` for all that were computed.  Raises `FieldChanged`.
        """
        for x, version in self._versions:
            if x._version != version:
                raise FieldChanged(
                    f"{self._describe(x)}, which the field reads, has been changed in place since the solve, whose "
                    "gradient needs the values that it had; take the gradient first, or set a new tensor instead"
                )
        leaves = self.sources
        with ExitStack() as stack:
            stack.enter_context(self._state.in_force())
            buffers = [(x, x.detach().clone()) for x in self._written]
            stack.callback(put_back, buffers)
            for generator in self._generators:
                stack.callback(generator.set_state, generator.get_state())
            stack.enter_context(self._same_precision())
            self._check_value()
            copies = _copies_of(leaves) if cut else self._copies
            leaves = tuple(copies.get(id(x), x) for x in leaves)
            if copies:
                stack.enter_context(Replaced(copies))
            self._leaf_edges = self._excluded.union(map(_edge, leaves)) if copies else self._edges
            yield leaves

    def replay(self, step: int) -> None:
        """Gives the generators the states that they had before that step."""
        if self._draws:
            for generator, state in zip(self._generators, self._draws[step], strict=True):
                generator.set_state(state)

    def check_graph(self, output: Tensor, *others: Tensor) -> None:
        """Raises `MissingParameters` where `output` depends on a leaf that is neither a source nor among `others`.

        At ts[0], where the sources were found, the field did not read it.
        """
        for leaf, _ in _strange_leaves(output, self._leaf_edges.union(map(_edge, others)), None):
            if not self.makes_leaves or isinstance(leaf, torch.nn.Parameter) or self._state.name_of(leaf):
                raise self._missing(leaf)

    def _check_value(self) -> None:
        if self._generators:
            return
        with self._state.own_kept():
            slope = self._plain(self._t0, self.y0)
        if slope.is_cpu or _differ_in_kind(slope, self._slope):
            if _differ(slope, self._slope):
                _has_changed(self.method)
        else:
            # the check holds no more than a name: it may outlive the solve
            fine = ~_beyond_rounding(slope, self._slope)
            require(self._checks, fine, partial(_has_changed, self.method))

    # --- small things ------------------------------------------------------------------------------------------------

    def _same_precision(self) -> Any:
        """The autocast setting of the solve, with casts of its own."""
        kind, enabled, dtype = self._autocast
        return torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False)

    def _random(self) -> RandomField:
        return RandomField(
            f"the field draws random numbers (as dropout does), but {self.method} evaluates it again for its gradient, "
            "at other points and with other draws; call .eval() on the field, draw the noise once before each solve, "
            "or use DiscOpt, whose gradient keeps the draws"
        )

    def _missing(self, leaf: Tensor) -> MissingParameters:
        return MissingParameters(
            f"the field reads {self._describe(leaf)}, which wants a gradient that {self.method} would lose: it is none "
            "of the field's parameters, and the field does not read it at ts[0]; pass params=[...] with it, or "
            "register it as a parameter of the field"
        )

    def _describe(self, x: Tensor) -> str:
        name = self._state.name_of(x)
        return f"its `{name}`" if name else f"a tensor of shape {tuple(x.shape)}"


def save(ctx: Any, rebuilding: Rebuilding | None, *tensors: Tensor | None) -> None:
    """Saves `rebuilding` and `tensors` for the backward pass of a node; see `saved`.

    It hangs on one of the tensors, so that torch lets it go together with them.
    """
    token = torch.empty(0)
    token.rebuilding = rebuilding  # type: ignore[attr-defined]
    # hooks (as of `save_on_cpu`) would give back another tensor
    ctx.rebuilding = rebuilding if torch._C._autograd._top_saved_tensors_default_hooks(True) else None
    ctx.save_for_backward(*tensors, token)


def saved(ctx: Any) -> tuple[Rebuilding, list[Any]]:
    """What `save` has saved."""
    *tensors, token = ctx.saved_tensors
    rebuilding: Rebuilding = ctx.rebuilding or token.rebuilding
    return rebuilding, tensors


class Replaced(TorchFunctionMode):
    """Puts copies in the place of some tensors, whoever passes them to an operator."""

    def __init__(self, copies: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._copies = copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*map(self._put, args), **{k: self._put(v) for k, v in (kwargs or {}).items()})

    def _put(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._copies.get(id(value), value)
        if type(value) in (tuple, list):
            return type(value)(map(self._put, value))
        return value


_ACCUMULATES: Any = type(get_gradient_edge(torch.zeros((), requires_grad=True)).node)


def _edge(x: Tensor) -> Edge:
    """Where the gradient by `x` arrives; the node lives as long as the result is held."""
    edge = get_gradient_edge(x)
    return edge.node, edge.output_nr


def _strange_leaves(output: Tensor, known: Set[Edge], reads: Reads | None) -> list[tuple[Tensor, bool]]:
    """Leaves in the graph of `output` that no known edge leads to, and whether a node from before `reads` does."""
    if output.grad_fn is None or (output.grad_fn, output.output_nr) in known:
        return []
    strange = []
    seen = {output.grad_fn}
    todo: list[tuple[Any, bool]] = [(output.grad_fn, False)]
    while todo:
        node, older = todo.pop()
        if type(node) is _ACCUMULATES:
            strange.append((node.variable, older))
            continue
        older = older or (reads is not None and reads.is_older(node))
        for edge in node.next_functions:
            if edge[0] is not None and edge[0] not in seen and edge not in known:
                seen.add(edge[0])
                todo.append((edge[0], older))
    return strange


def _depend_on_each_other(sources: Sequence[Tensor]) -> bool:
    """Whether one of the tensors was computed from another."""
    edges = {_edge(x) for x in sources}
    seen: set[Any] = set()
    todo = [x.grad_fn for x in sources if x.grad_fn is not None]
    while todo:
        node = todo.pop()
        for edge in node.next_functions:
            if edge in edges:
                return True
            if edge[0] is not None and edge[0] not in seen:
                seen.add(edge[0])
                todo.append(edge[0])
    return False


def _copies_of(sources: Sequence[Tensor]) -> dict[int, Tensor]:
    """Leaves with the values of those that were computed, by identity."""
    return {id(x): x.detach().requires_grad_() for x in sources if not x.is_leaf}


def _has_changed(method: str) -> NoReturn:
    raise FieldChanged(
        "the field has changed since the solve: at the initial state it has another value now, so that its "
        f"gradient by {method} would be that of another solve; take the gradient before changing what "
        'the field reads, or use DiscOpt(memory="store")'
    )


def _differ(a: Tensor, b: Tensor) -> bool:
    """Whether two slopes differ by more than rounding."""
    return _differ_in_kind(a, b) or bool(_beyond_rounding(a, b))


def _differ_in_kind(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or a.dtype != b.dtype


def _beyond_rounding(a: Tensor, b: Tensor) -> Tensor:
    error = (a.detach() - b.detach()).norm()
    return error > ROUNDING * torch.finfo(a.dtype).eps * b.detach().norm()


def _autocast_of(kind: str) -> tuple[str, bool, torch.dtype]:
    if not torch.amp.is_autocast_available(kind):
        kind = "cpu"  # devices without autocast leave the setting of the CPU as it is
    return kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
