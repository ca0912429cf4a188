"""The tensors that a field reads, copied to static memory for recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pynode.engines.graph.capture import NotRecordable
from pynode.reads import Reads
from pynode.rebuilding import Replaced
from pynode.solve import Solve
from pynode.types import State, VectorField


class Trace(Reads):
    """Watches one evaluation of a field: the tensors that it reads, and each operator with its arguments as text.

    Two fields with equal `operators` compute the same function of t, y and the tensors that they read, unless their
    control flow depends on values of tensors.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__(given)
        self.operators: list[str] = []
        self._numbers: dict[int, int] = {}
        self._alive: list[Tensor] = []
        for x in given:
            self._number_of(x)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        words = [str(func), *map(self._word, args), *(f"{k}={self._word(v)}" for k, v in (kwargs or {}).items())]
        if "lift_fresh" in words[0]:
            words.append(str(args[0].tolist()))
        result = super().__torch_dispatch__(func, types, args, kwargs)
        self.operators.append(" ".join([*words, "->", self._word(result)]))
        return result

    def _word(self, value: Any) -> str:
        if isinstance(value, Tensor):
            return f"#{self._number_of(value)}{tuple(value.shape)}"
        if isinstance(value, (tuple, list)):
            return f"[{','.join(map(self._word, value))}]"
        return repr(value)

    def _number_of(self, x: Tensor) -> int:
        if id(x) not in self._numbers:
            self._numbers[id(x)] = len(self._alive)
            self._alive.append(x)  # so that no other tensor gets its id
        return self._numbers[id(x)]


class Inputs:
    """The tensors that the field of `solve` reads, those that get a gradient first, and what its recordings depend on.

    Raises `NotRecordable` for a field that draws random numbers, writes to tensors that it reads, or reads tensors on
    another device.
    """

    def __init__(self, solve: Solve) -> None:
        y0 = solve.y0
        with torch.enable_grad():
            t = solve.ts[0].detach().to(y0.dtype).clone()
            y = y0.detach().clone().requires_grad_().clone()
        trace = Trace((t, y))
        with torch.enable_grad(), trace:
            solve.field(t, y)
        trace.undo()
        if trace.drawn:
            raise NotRecordable("the field draws random numbers")
        if trace.written:
            raise NotRecordable("the field changes tensors that it reads")
        if any(x.device != y0.device for x in trace.tensors):
            raise NotRecordable("the field reads a tensor of another device than that of the state")
        sources = [*solve.params, *(x for x in trace.tensors if x.requires_grad)]
        by_identity = {id(x): x for x in (*sources, *trace.tensors)}
        self.tensors = list(by_identity.values())
        self.sources = tuple(x for x in self.tensors if x.requires_grad)
        self.key = ("\n".join(trace.operators), tuple(map(_place_of, self.tensors)))


def _place_of(x: Tensor) -> tuple[Any, ...]:
    """What a recording depends on: the address of a parameter, and shape, strides and dtype of every other tensor."""
    address = (id(x), x.data_ptr()) if _stays(x) else None
    return (tuple(x.shape), x.stride(), x.dtype, x.requires_grad, address)


def _stays(x: Tensor) -> bool:
    """Whether recordings read `x` where it is, instead of a copy."""
    return isinstance(x, nn.Parameter)


class StaticField:
    """A field f(t, y) for recordings, which reads static tensors instead of those of the current solve.

    Parameters are read where they are; everything else is copied by `bind`.
    """

    def __init__(self, inputs: Inputs) -> None:
        with torch.no_grad():
            self._static = [x.detach() if _stays(x) else x.detach().clone() for x in inputs.tensors]
        self._copied = [not _stays(x) for x in inputs.tensors]
        self._wants = [x.requires_grad for x in inputs.tensors]
        self._field: VectorField | None = None
        self._tensors: Sequence[Tensor] = ()

    @contextmanager
    def bind(self, field: VectorField, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Inside the block recordings may be made and replayed; they compute with the values of `tensors`."""
        with torch.no_grad():
            for static, x, copied in zip(self._static, tensors, self._copied, strict=True):
                if copied:
                    static.copy_(x)
        self._field, self._tensors = field, tensors
        try:
            yield
        finally:
            self._field, self._tensors = None, ()  # a recording must not keep them alive

    def __call__(self, t: Tensor, y: State) -> State:
        """The slope, without a graph."""
        return self._value(t, y, self._static)

    def with_leaves(self, t: Tensor, y: State) -> tuple[State, list[Tensor]]:
        """The slope with a graph, and the leaves in it that stand for the sources."""
        static = [
            x.detach().requires_grad_() if wants else x for x, wants in zip(self._static, self._wants, strict=True)
        ]
        with torch.enable_grad():
            slope = self._value(t, y, static)
        return slope, [x for x, wants in zip(static, self._wants, strict=True) if wants]

    def _value(self, t: Tensor, y: State, static: Sequence[Tensor]) -> State:
        assert self._field is not None
        replaced: Mapping[int, Tensor] = {id(x): s for x, s in zip(self._tensors, static, strict=True)}
        with Replaced(replaced):
            slope = self._field(t, y)
        return slope.to(y.dtype)
