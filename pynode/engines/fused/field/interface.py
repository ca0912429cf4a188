"""What steppers ask of a field, whichever it is: calls of its compiled function, whose address the field knows."""

# ruff: noqa: ARG001 (Numba's code generators have fixed signatures)
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from pynode.engines.fused.compile import intrinsic, part
from pynode.engines.fused.field.layout import Field
from pynode.engines.fused.records import hints_of

GATES, DIRECTIONS, VALUE, COTANGENTS, COTANGENTS_OF_ONE, PRODUCTS, PACK, UNPACK = range(8)
"""What the function can be asked for, by the functions below in this order."""


@intrinsic
def _call(
    typing: Any,
    field: Any,
    task: Any,
    t: Any,
    p0: Any,
    p1: Any,
    p2: Any,
    p3: Any,
    p4: Any,
    p5: Any,
    p6: Any,
    addresses: Any,
    n: Any,
) -> Any:
    """Asks the field; what a task has no use for may be anything."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        field, task, t, *pointers, addresses, n = args
        integer = ir.IntType(64)
        entry = builder.load(builder.gep(field, [integer(list(hints_of(Field)).index("entry"))]))
        operands = [task, builder.ptrtoint(field, integer), t, *pointers]
        operands += [builder.bitcast(addresses, integer.as_pointer()), n]
        kind = ir.FunctionType(integer, [x.type for x in operands])
        builder.call(builder.inttoptr(entry, kind.as_pointer()), operands)
        return context.get_dummy_value()

    size = types.int64
    return types.void(field, size, types.float64, p0, p1, p2, p3, p4, p5, p6, addresses, size), generate


@part
def set_gates(field: Field, packed: Any, t: float, gates: Any) -> None:
    """Writes what depends on time `t` alone, `field.gates_size` numbers."""
    if field.gates_size > 0:
        _call(field, GATES, t, packed, gates, gates, gates, gates, gates, gates, gates, 0)


@part
def set_directions(field: Field, scratch: Any, probes: Any, n: int) -> None:
    """Writes the directions of all tangents of a tile, from the `probes` (n, dim) where there are any."""
    _call(field, DIRECTIONS, 0.0, scratch, probes, probes, probes, probes, probes, probes, probes, n)


@part
def value(field: Field, packed: Any, gates: Any, tape: Any, scratch: Any, n: int, slope: Any) -> None:
    """Writes the slope of `n` samples, `field.state_step` numbers apart; fills `tape`, which holds their state."""
    _call(field, VALUE, 0.0, packed, gates, tape, scratch, slope, slope, slope, slope, n)


@part
def cotangents(
    field: Field,
    packed: Any,
    gates: Any,
    t: float,
    tape: Any,
    scratch: Any,
    n: int,
    slope_bar: Any,
    y_bar: Any,
    grads: Any,
) -> None:
    """From the cotangent of the slope to those of the state, written, and of the packed parameters, added to."""
    _call(field, COTANGENTS, t, packed, gates, tape, scratch, slope_bar, y_bar, grads, grads, n)


@part
def cotangents_of_one(field: Field, packed: Any, tape: Any, slope_bar: Any, bars: Any, y_bar: Any) -> None:
    """The same for one sample where `field.is_single`, with the products put off, see `single`."""
    _call(field, COTANGENTS_OF_ONE, 0.0, packed, tape, slope_bar, bars, y_bar, y_bar, y_bar, y_bar, 1)


@part
def add_products(field: Field, tapes: Any, bars: Any, stages: int, grads: Any) -> None:
    """Adds what `stages` such evaluations contribute to the parameters' cotangent."""
    _call(field, PRODUCTS, 0.0, tapes, bars, grads, grads, grads, grads, grads, grads, stages)


@part
def pack(field: Field, addresses: Any, packed: Any) -> None:
    """Fills the packed parameters, whose padding must be zero, from theta's tensors at `addresses`."""
    _call(field, PACK, 0.0, packed, packed, packed, packed, packed, packed, packed, addresses, 0)


@part
def unpack(field: Field, grads: Any, groups: int, addresses: Any) -> None:
    """Adds up the cotangents `grads` of all groups, in their order, into the tensors at `addresses` (0: not wanted)."""
    _call(field, UNPACK, 0.0, grads, grads, grads, grads, grads, grads, grads, addresses, groups)
