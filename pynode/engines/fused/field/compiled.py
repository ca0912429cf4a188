"""All that a field can be asked for as one compiled function: one for chains of layers, one for programs.

Steppers call it by its address (see `interface`), so each of them takes little time to compile, and so does a second
kind of steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba.core import types

from pynode.engines.fused.compile import address_of
from pynode.engines.fused.field.cotangents import cotangents
from pynode.engines.fused.field.interface import (
    COTANGENTS,
    COTANGENTS_OF_ONE,
    DIRECTIONS,
    GATES,
    PACK,
    PRODUCTS,
    VALUE,
)
from pynode.engines.fused.field.layout import Field
from pynode.engines.fused.field.parameters import add_groups, pack, unpack
from pynode.engines.fused.field.programs import cotangents_of_program, value_of_program
from pynode.engines.fused.field.single import add_products, cotangents_of_one
from pynode.engines.fused.field.value import set_directions, set_gates, value
from pynode.engines.fused.program.parameters import pack_constants, unpack_constants
from pynode.engines.fused.program.value import set_times
from pynode.engines.fused.records import reader

_field_at = reader(Field)


@lru_cache(maxsize=4)
def entry_address(is_program: bool, itemsize: int) -> int:
    """Where the function is, for numbers of that size; compiles it, or loads it from disk."""
    numbers = types.CPointer(types.float64 if itemsize == 8 else types.float32)
    size = types.int64
    pointers = (numbers,) * 7
    return address_of(
        _program if is_program else _chain, size(size, size, types.float64, *pointers, types.CPointer(size), size)
    )


def _chain(
    task: int,
    address: int,
    t: float,
    p0: Any,
    p1: Any,
    p2: Any,
    p3: Any,
    p4: Any,
    p5: Any,
    p6: Any,
    addresses: Any,
    n: int,
) -> int:
    """Does one task of `interface` for the `Field` at `address`, a chain of layers."""
    field = _field_at(p0, address)
    if task == VALUE:
        value(field, p0, p1, p2, p3, n, p4)
    elif task == COTANGENTS:
        cotangents(field, p0, p1, t, p2, p3, n, p4, p5, p6)
    elif task == COTANGENTS_OF_ONE:
        cotangents_of_one(field, p0, p1, p2, p3, p4)
    elif task == PRODUCTS:
        add_products(field, p0, p1, n, p2)
    elif task == GATES:
        set_gates(field, p0, t, p1)
    elif task == DIRECTIONS:
        set_directions(field, p0, p1, n)
    elif task == PACK:
        pack(field, addresses, p0)
    else:
        unpack(field, p0, n, addresses)
    return 0


def _program(
    task: int,
    address: int,
    t: float,
    p0: Any,
    p1: Any,
    p2: Any,
    p3: Any,
    p4: Any,
    p5: Any,
    p6: Any,
    addresses: Any,
    n: int,
) -> int:
    """The same for a `Field` that is a program."""
    field = _field_at(p0, address)
    if task == VALUE:
        value_of_program(field, p0, p1, p2, p3, n, p4)
    elif task == COTANGENTS:
        cotangents_of_program(field, p0, p1, p2, p3, n, p4, p5, p6)
    elif task == GATES:
        set_times(field.program, p0, t, p1)
    elif task == DIRECTIONS:
        set_directions(field, p0, p1, n)
    elif task == PACK:
        pack_constants(field.program, addresses, p0)
    else:
        add_groups(p0, field.grads_size, n)
        unpack_constants(field.program, p0, addresses)
    return 0
