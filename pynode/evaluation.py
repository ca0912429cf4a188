"""Counting and checking the calls of a user's vector field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pynode.errors import MissingParameters, StateMismatch
from pynode.solution import Cost
from pynode.types import State, Times, VectorField


class CountedField:
    """A vector field whose calls are counted into `cost`, which `counting_into` redirects (forward, then backward).

    The first call checks that f(t, y) fits y and raises `StateMismatch` if not: broadcasting would hide the mistake.
    """

    def __init__(self, f: VectorField, cost: Cost) -> None:
        self.f, self.cost = f, cost
        self._checked = False

    def __call__(self, t: Tensor, y: State) -> State:
        self.cost.n_f += 1
        dy = self.f(t, y)
        if not self._checked:
            check_derivative(dy, y)
            self._checked = True
        return dy

    @contextmanager
    def counting_into(self, cost: Cost) -> Iterator[None]:
        """Calls inside the block count into `cost`."""
        before, self.cost = self.cost, cost
        try:
            yield
        finally:
            self.cost = before


def check_derivative(dy: object, y: State) -> None:
    """Raises `StateMismatch` unless `dy` has the shape, dtype and device of the state `y`."""
    if not isinstance(dy, Tensor):
        raise StateMismatch(
            f"f(t, y) returned {type(dy).__name__}, not a tensor; return dy/dt of shape {tuple(y.shape)}"
        )
    for what, got, want in (
        ("shape", tuple(dy.shape), tuple(y.shape)),
        ("dtype", dy.dtype, y.dtype),
        ("device", dy.device, y.device),
    ):
        if got != want:
            raise StateMismatch(
                f"f(t, y) has {what} {got}, but the state y0 has {what} {want}; make both the same "
                "(a field's value is dy/dt, one number for each entry of y)"
            )


def parameters_of(f: VectorField) -> tuple[Tensor, ...]:
    """The parameters of `f` that want a gradient, where it is a torch module; else none."""
    return tuple(p for p in f.parameters() if p.requires_grad) if isinstance(f, nn.Module) else ()


def check_closure(f: CountedField, y0: State, ts: Times, params: Sequence[Tensor]) -> None:
    """Raises `MissingParameters` where f uses tensors whose gradient a rebuilt graph would lose.

    Costs one evaluation, not counted; a module is trusted to hold its parameters.
    """
    if _is_module(f.f) or not torch.is_grad_enabled():
        return
    with torch.enable_grad():
        y = y0.detach().requires_grad_()
        slope = f.f(ts[0].detach().to(y0.dtype), y)
    if isinstance(slope, Tensor):
        check_sources(slope, [y, *params])


def _is_module(f: VectorField) -> bool:
    """Whether f is a module all the way down: one that only wraps a plain callable is none."""
    return isinstance(f, nn.Module) and not getattr(f, "wraps_callable", False)


def check_sources(output: Tensor, sources: Sequence[Any]) -> None:
    """Raises `MissingParameters` if `output` depends on a leaf that wants a gradient and is not among `sources`."""
    known = {id(s) for s in sources}
    # what a source that is no leaf was made from is the caller's affair
    seen = {s.grad_fn for s in sources if s.grad_fn is not None}
    todo = [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in known:
            raise MissingParameters(
                f"the field uses a tensor of shape {tuple(leaf.shape)} that wants a gradient but is not among its "
                "parameters, so its gradient would be lost; make the field an nn.Module or pass params=[...]"
            )
        todo += [n for n, _ in node.next_functions]
