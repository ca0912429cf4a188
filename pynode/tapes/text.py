"""A tape as text: what it reads, and its operations one a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pynode.tapes.operations import STATE, TIME, UNARY, Operation
from pynode.tapes.tape import T_REGISTER, Y_REGISTER, Tape, TorchCall, ValueOf

MOST_NUMBERS = 8
"""Numbers of a literal that are shown."""


def lines_of(tape: Tape) -> Iterator[str]:
    """The tape, line by line: its layers, and in each its operations with the sizes of their results."""
    yield f"captured as {len(tape.operations)} operations on states (..., {tape.dim})"
    for title, slots in (("parameters", tape.parameters), ("buffers", tape.buffers)):
        if slots:
            yield f"{title}: {', '.join(f'{slot.name} {_shape(slot.shape)}' for slot in slots)}"
    if tape.preparation:
        yield "once a solve, by torch:"
        first = len(tape.slots())
        for i, call in enumerate(tape.preparation):
            yield f"  p{first + i} = {_call(call, tape)}"
    for layer, title in ((TIME, "once a stage, from t:"), (STATE, "for every sample:")):
        own = [(i, operation) for i, operation in enumerate(tape.operations) if operation.layer == layer]
        if own:
            yield title
        for i, operation in own:
            yield f"  v{i + 2} ({operation.columns}) = {_operation(operation, tape)}"
    yield f"dy/dt = {_register(tape.output, tape)}"


def _operation(operation: Operation, tape: Tape) -> str:
    inputs = [_register(i, tape) for i in operation.inputs]
    numbers = [f"{number:g}" for number in operation.numbers]
    name = operation.name
    if name == "add":
        alpha, beta = operation.numbers
        return f"{_scaled(alpha, inputs[0])} + {_scaled(beta, inputs[1])}".replace("+ -", "- ")
    if name == "multiply":
        return " * ".join(inputs)
    if name == "affine":
        scale, offset = operation.numbers
        return _scaled(scale, inputs[0]) + (f" + {offset:g}".replace("+ -", "- ") if offset else "")
    if name == "power":
        return f"{inputs[0]}**{numbers[0]}"
    if name == "move":
        return f"columns of {', '.join(dict.fromkeys(inputs))}"
    return f"{name}({', '.join(inputs + (numbers if name in UNARY else []))})"


def _scaled(factor: float, name: str) -> str:
    return name if factor == 1 else f"-{name}" if factor == -1 else f"{factor:g} {name}"


def _register(register: int, tape: Tape) -> str:
    if register < 0:
        return _value(tape.constants[~register].value, tape)
    return {T_REGISTER: "t", Y_REGISTER: "y"}.get(register, f"v{register}")


def _value(value: int, tape: Tape) -> str:
    slots = tape.slots()
    return slots[value].name if value < len(slots) else f"p{value}"


def _call(call: TorchCall, tape: Tape) -> str:
    if call.target == "literal":
        numbers = call.args[0]
        shown = ", ".join(f"{number:g}" for number in numbers[:MOST_NUMBERS])
        return f"[{shown}{', ...' if len(numbers) > MOST_NUMBERS else ''}]"
    if call.target == "gather":
        return f"entries of {', '.join(_value(i, tape) for i in call.args[0])} as {_shape(tuple(call.args[2]))}"
    arguments = [_argument(argument, tape) for argument in call.args]
    arguments += [f"{name}={_argument(argument, tape)}" for name, argument in call.kwargs]
    part = "" if call.result is None else f"[{call.result}]"
    return f"{call.target.split('.')[1]}({', '.join(arguments)}){part}"


def _argument(argument: Any, tape: Tape) -> str:
    if isinstance(argument, ValueOf):
        return _value(argument.index, tape)
    if isinstance(argument, (list, tuple)):
        return f"[{', '.join(_argument(inner, tape) for inner in argument)}]"
    return f"{argument:g}" if isinstance(argument, float) else str(argument)


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
