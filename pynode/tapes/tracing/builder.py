"""Writes a tape: registers, constants and the preparation, each made once for what has been asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pynode.layers import Slot
from pynode.tapes.operations import STATE, TIME, Layer, Operation, Run
from pynode.tapes.tape import T_REGISTER, Y_REGISTER, Constant, Tape, TorchCall, ValueOf
from pynode.tapes.tracing.labels import LITERALS, columns, sources

FIRST_REGISTER = 2


class Builder:
    """A tape that is being written for states of `dim` columns.

    Values of the preparation are numbered as they come, `n_slots` tensors first; `numbers` are the entries of each.
    Sources of labels are registers, `-1 - value` for values of the preparation, and `LITERALS`.
    """

    def __init__(self, dim: int, slots: list[Slot]) -> None:
        self.dim, self.slots = dim, slots
        self.operations: list[Operation] = []
        self.constants: list[Constant] = []
        self.calls: list[TorchCall] = []
        self.shapes: list[tuple[int, ...]] = [slot.shape for slot in slots]
        self.literals: list[float] = []
        self._places: dict[float, int] = {}
        self._known: dict[Any, int] = {}

    # --- values of the preparation ---

    def call(self, call: TorchCall, shape: tuple[int, ...]) -> int:
        """The number of the value that `call` gives."""

        def make() -> int:
            self.calls.append(call)
            self.shapes.append(shape)
            return len(self.shapes) - 1

        return self._once(("call", call), make)

    def literal(self, number: float) -> int:
        """The place of a literal number in the pool."""
        key = float(number)
        if key != key:
            key = float("nan")
        if key not in self._places or (key == 0.0 and str(key) != str(self.literals[self._places[key]])):
            self._places[key] = len(self.literals)
            self.literals.append(key)
        return self._places[key]

    def value_of(self, labels: Tensor, shape: tuple[int, ...]) -> int:
        """The value of the preparation with these labels, all of values and literals."""
        flat = labels.reshape(-1)
        kinds = sources(flat)
        first = int(kinds[0]) if len(flat) else LITERALS
        if first != LITERALS and bool((kinds == first).all()):
            value = -1 - first
            size = _size(self.shapes[value])
            if self.shapes[value] == shape and bool((columns(flat) == torch.arange(size)).all()):
                return value
            if len(shape) == 2 and self.shapes[value] == shape[::-1]:
                order = torch.arange(size).reshape(shape[::-1]).t().reshape(-1)
                if bool((columns(flat) == order).all()):
                    return self.call(TorchCall("aten.t.default", (ValueOf(value),)), shape)
        if bool((kinds == LITERALS).all()):
            numbers = tuple(self.literals[i] for i in columns(flat).tolist())
            row = self.call(TorchCall("literal", (numbers,)), (len(numbers),))
            return row if shape == (len(numbers),) else self._gathered((row,), tuple(range(len(numbers))), shape)
        used = torch.unique(kinds).tolist()
        values, offset = [], 0
        places = torch.zeros_like(flat)
        for source in used:
            here = kinds == source
            if source == LITERALS:
                own = columns(flat[here])
                pool = torch.unique(own)
                numbers = tuple(self.literals[i] for i in pool.tolist())
                value = self.call(TorchCall("literal", (numbers,)), (len(numbers),))
                places[here] = offset + torch.searchsorted(pool, own)
            else:
                value = -1 - source
                places[here] = offset + columns(flat[here])
            values.append(value)
            offset += _size(self.shapes[value])
        return self._gathered(tuple(values), tuple(places.tolist()), shape)

    def _gathered(self, values: tuple[int, ...], places: tuple[int, ...], shape: tuple[int, ...]) -> int:
        return self.call(TorchCall("gather", (values, places, shape)), shape)

    # --- constants ---

    def row(self, labels: Tensor) -> int:
        """The constant row with these labels `(columns,)`, as an input of operations."""
        source = int(sources(labels[:1]))
        value = -1 - source
        whole = (
            source != LITERALS
            and len(labels) == _size(self.shapes[value])
            and bool((sources(labels) == source).all())
            and bool((columns(labels) == torch.arange(len(labels))).all())
        )
        if not whole:
            value = self.value_of(labels, (len(labels),))
        return self._constant(Constant(value, (len(labels),)))

    def matrix(self, labels: Tensor) -> int:
        """The constant matrix with these labels `(out, in)`."""
        n_out, n_in = labels.shape
        source = int(sources(labels.reshape(-1)[:1]))
        value = -1 - source
        if source != LITERALS and bool((sources(labels) == source).all()) and _size(self.shapes[value]) == n_out * n_in:
            order = torch.arange(n_out * n_in)
            if bool((columns(labels) == order.reshape(n_out, n_in)).all()):
                return self._constant(Constant(value, (n_out, n_in)))
            if bool((columns(labels) == order.reshape(n_in, n_out).t()).all()):
                return self._constant(Constant(value, (n_out, n_in), transposed=True))
        return self._constant(Constant(self.value_of(labels, (n_out, n_in)), (n_out, n_in)))

    def _constant(self, constant: Constant) -> int:
        def make() -> int:
            self.constants.append(constant)
            return ~(len(self.constants) - 1)

        return self._once(("constant", constant), make)

    # --- registers ---

    def operation(
        self,
        name: str,
        inputs: tuple[int, ...],
        width: int,
        numbers: tuple[float, ...] = (),
        runs: tuple[Run, ...] = (),
    ) -> int:
        """The register that holds the result of an operation, in the layer that its inputs ask for."""
        layer: Layer = STATE if any(i >= 0 and self.layer_of(i) == STATE for i in inputs) else TIME
        operation = Operation(name, inputs, width, layer, tuple(float(x) for x in numbers), runs)

        def make() -> int:
            self.operations.append(operation)
            return FIRST_REGISTER + len(self.operations) - 1

        return self._once(("operation", operation), make)

    def layer_of(self, register: int) -> Layer:
        """The layer of a register."""
        if register in (T_REGISTER, Y_REGISTER):
            return TIME if register == T_REGISTER else STATE
        return self.operations[register - FIRST_REGISTER].layer

    def affine_at(self, register: int) -> tuple[int, float, float] | None:
        """(x, scale, offset) of a register that is scale x + offset with as many columns as x; None of others."""
        if register < FIRST_REGISTER:
            return None
        operation = self.operations[register - FIRST_REGISTER]
        if operation.name != "affine" or self.width_of(operation.inputs[0]) != operation.columns:
            return None
        scale, offset = operation.numbers
        return operation.inputs[0], scale, offset

    def width_of(self, operand: int) -> int:
        """Columns of a register or of a constant row."""
        if operand < 0:
            return _size(self.constants[~operand].shape)
        if operand in (T_REGISTER, Y_REGISTER):
            return 1 if operand == T_REGISTER else self.dim
        return self.operations[operand - FIRST_REGISTER].columns

    def _once(self, key: Any, make: Any) -> int:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    # --- the tape ---

    def tape(self, output: int, n_parameters: int) -> Tape:
        """The tape with that output, without what it does not need; the first `n_parameters` slots are parameters."""
        needed = {output}
        for register in range(len(self.operations) + 1, FIRST_REGISTER - 1, -1):
            if register in needed:
                needed.update(self.operations[register - FIRST_REGISTER].inputs)
        kept = [i for i in range(len(self.operations)) if FIRST_REGISTER + i in needed]
        rows = [i for i in range(len(self.constants)) if ~i in needed]
        values = {self.constants[i].value for i in rows}
        n_slots = len(self.slots)
        for value in range(len(self.shapes) - 1, n_slots - 1, -1):
            if value in values:
                values.update(_values_in(self.calls[value - n_slots]))
        slots = [i for i in range(n_slots) if i in values]
        calls = [i for i in range(n_slots, len(self.shapes)) if i in values]
        new_value = {old: new for new, old in enumerate([*slots, *calls])}
        new_input = {0: 0, 1: 1} | {FIRST_REGISTER + old: FIRST_REGISTER + new for new, old in enumerate(kept)}
        new_input |= {~old: ~new for new, old in enumerate(rows)}
        constants = [self.constants[i] for i in rows]
        operations = [self.operations[i] for i in kept]
        return Tape(
            dim=self.dim,
            parameters=tuple(self.slots[i] for i in slots if i < n_parameters),
            buffers=tuple(self.slots[i] for i in slots if i >= n_parameters),
            preparation=tuple(_renumbered(self.calls[i - n_slots], new_value) for i in calls),
            constants=tuple(Constant(new_value[c.value], c.shape, c.transposed) for c in constants),
            operations=tuple(
                Operation(o.name, tuple(new_input[i] for i in o.inputs), o.columns, o.layer, o.numbers, o.runs)
                for o in operations
            ),
            output=new_input[output],
        )


def _size(shape: tuple[int, ...]) -> int:
    n = 1
    for k in shape:
        n *= k
    return n


def _values_in(call: TorchCall) -> set[int]:
    if call.target == "gather":
        return set(call.args[0])
    return set(_references((call.args, tuple(value for _, value in call.kwargs))))


def _references(argument: Any) -> list[int]:
    if isinstance(argument, ValueOf):
        return [argument.index]
    if isinstance(argument, tuple):
        return [i for a in argument for i in _references(a)]
    return []


def _renumbered(call: TorchCall, new: dict[int, int]) -> TorchCall:
    if call.target == "gather":
        used, places, shape = call.args
        return TorchCall("gather", (tuple(new[i] for i in used), places, shape))
    args = _with_new(call.args, new)
    return TorchCall(call.target, args, tuple((k, _with_new(v, new)) for k, v in call.kwargs), call.result)


def _with_new(argument: Any, new: dict[int, int]) -> Any:
    if isinstance(argument, ValueOf):
        return ValueOf(new[argument.index])
    if isinstance(argument, tuple):
        return tuple(_with_new(a, new) for a in argument)
    return argument
