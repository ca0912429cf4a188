"""A vector field as a tape: what a captured module computes, as plain data.

It has three layers.  The preparation depends on parameters alone and runs once a solve, by torch operators under
autograd (weight norm, W - W^T, softplus of a coefficient); its results are the constants of the operations.  These
depend on time (once a stage) or on the state (every sample by itself).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pynode.fields.base import FieldSpec, Slot
from pynode.tapes.operations import TIME, Operation, evaluate
from pynode.types import State

T_REGISTER, Y_REGISTER = 0, 1
"""Registers of time `(1,)` and of the state; operation i writes register 2 + i."""


@dataclass(frozen=True)
class TorchCall:
    """One step of the preparation: an operator of torch, e.g. "aten.sub.Tensor", on values of the preparation.

    `args` and `kwargs` hold plain values; `{"value": i}` stands for value i.  Of an operator with several results,
    `result` is the one that is taken.  Two steps are no operators: "literal" (args: a list of numbers) is a row of
    them, and "gather" (args: values, indices, shape) takes entries of all its values, each flattened, one after the
    other.
    """

    target: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()
    result: int | None = None


@dataclass(frozen=True)
class Constant:
    """A value of the preparation that operations use: a row, or a matrix (out, in), `transposed` if kept (in, out)."""

    value: int
    shape: tuple[int, ...]
    transposed: bool = False

    @property
    def is_matrix(self) -> bool:
        """Whether it is a matrix."""
        return len(self.shape) == 2


@dataclass(frozen=True)
class Tape(FieldSpec):
    """A captured vector field of states `(..., dim)`.

    `parameters` and `buffers` are the tensors that it reads, by the names that the module has for them; theta holds
    them in this order.  Values of the preparation are numbered: those tensors, then the results of `preparation`.
    """

    architecture: ClassVar[str] = "tape"

    dim: int
    parameters: tuple[Slot, ...]
    buffers: tuple[Slot, ...]
    preparation: tuple[TorchCall, ...]
    constants: tuple[Constant, ...]
    operations: tuple[Operation, ...]
    output: int

    @property
    def state_dim(self) -> int:
        return self.dim

    def slots(self) -> tuple[Slot, ...]:
        return self.parameters + self.buffers

    def evaluate(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> State:
        return self.evaluate_prepared(self.prepare([p[slot.name] for slot in self.slots()]), t, y)

    def prepare(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The constants, differentiable functions of `tensors`, which are those of `slots()`.

        A constant that is one of the tensors is that very object, in its own shape: rows may have any shape, and a
        `transposed` matrix is (in, out).
        """
        values = list(tensors)
        for call in self.preparation:
            values.append(_call(call, values))
        return [values[constant.value] for constant in self.constants]

    def evaluate_prepared(self, constants: Sequence[Tensor], t: Tensor, y: State) -> State:
        """f(t, y) `(..., dim)` with what `prepare` gave, by torch operators."""
        rows = [
            (value.t() if constant.transposed else value) if constant.is_matrix else value.reshape(-1)
            for constant, value in zip(self.constants, constants, strict=True)
        ]
        registers = [t.reshape(1), y]
        for operation in self.operations:
            inputs = [rows[~i] if i < 0 else registers[i] for i in operation.inputs]
            registers.append(evaluate(operation, inputs))
        return registers[self.output].expand(y.shape)

    def layer_of(self, register: int) -> str:
        """Whether a register depends on time alone, or on the state."""
        return TIME if register == T_REGISTER else "state" if register == Y_REGISTER else self._operation(register).layer

    def columns_of(self, register: int) -> int:
        """Columns of a register."""
        if register == T_REGISTER:
            return 1
        return self.dim if register == Y_REGISTER else self._operation(register).columns

    def _operation(self, register: int) -> Operation:
        return self.operations[register - 2]


def _call(call: TorchCall, values: Sequence[Tensor]) -> Tensor:
    if call.target == "literal":
        like = values[0] if values else torch.zeros((), dtype=torch.float64)
        return torch.tensor(call.args[0], dtype=like.dtype, device=like.device)
    if call.target == "gather":
        sources, indices, shape = call.args
        flat = torch.cat([values[i].reshape(-1) for i in sources])
        return flat[torch.tensor(indices, device=flat.device)].reshape(shape)
    packet, name, overload = call.target.split(".")
    operator = getattr(getattr(getattr(torch.ops, packet), name), overload)
    args = [_value(a, values) for a in call.args]
    result = operator(*args, **{name: _value(a, values) for name, a in call.kwargs})
    tensor: Tensor = result if call.result is None else result[call.result]
    return tensor


def _value(argument: Any, values: Sequence[Tensor]) -> Any:
    if isinstance(argument, Mapping):
        return values[argument["value"]]
    if isinstance(argument, (list, tuple)):
        return [_value(a, values) for a in argument]
    return argument
