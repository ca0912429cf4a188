"""All that a program does as one compiled function, which kernels call by its address.

So a kernel for chains of layers takes no longer to compile because there are programs, and both kinds of steps, which
have a kernel each, share what runs programs.
"""

# ruff: noqa: ARG001 (Numba's code generators have fixed signatures)
from __future__ import annotations

from functools import lru_cache
from typing import Any

from llvmlite import ir
from numba.core import types

from pynode.engines.fused.compile import address_of, intrinsic
from pynode.engines.fused.program.cotangents import pull_program
from pynode.engines.fused.program.instructions import Program
from pynode.engines.fused.program.parameters import pack_constants, unpack_constants
from pynode.engines.fused.program.value import run_program, set_times
from pynode.engines.fused.records import reader

TIMES, VALUE, PULL, PACK, UNPACK = range(5)
"""What the function is asked for."""

_program_at = reader(Program)


@lru_cache(maxsize=2)
def entry_address(itemsize: int) -> int:
    """Where the function for numbers of that size is; compiles it, or loads it from disk."""
    numbers = types.CPointer(types.float64 if itemsize == 8 else types.float32)
    size = types.int64
    pointers = (numbers,) * 5
    return address_of(_do, size(size, size, types.float64, *pointers, types.CPointer(size), size, size))


def _do(
    task: int,
    address: int,
    t: float,
    packed: Any,
    gates: Any,
    tape: Any,
    scratch: Any,
    grads: Any,
    addresses: Any,
    n: int,
    tangents: int,
) -> int:
    """Does one of the tasks above for the `Program` at `address`; what a task has no use for may be anything."""
    program = _program_at(packed, address)
    if task == TIMES:
        set_times(program, packed, t, gates)
    elif task == VALUE:
        run_program(program, packed, gates, tape, scratch, n, tangents)
    elif task == PULL:
        pull_program(program, packed, gates, tape, scratch, n, tangents, grads)
    elif task == PACK:
        pack_constants(program, addresses, packed)
    else:
        unpack_constants(program, grads, addresses)
    return 0


@intrinsic
def call_program(
    typing: Any,
    program: Any,
    task: Any,
    t: Any,
    packed: Any,
    gates: Any,
    tape: Any,
    scratch: Any,
    grads: Any,
    addresses: Any,
    n: Any,
    tangents: Any,
) -> Any:
    """Calls the function of `program`, which knows its address."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        program, task, t, *pointers, addresses, n, tangents = args
        integer = ir.IntType(64)
        entry = builder.load(builder.gep(program, [integer(list(Program.__dataclass_fields__).index("entry"))]))
        operands = [task, builder.ptrtoint(program, integer), t, *pointers]
        operands += [builder.bitcast(addresses, integer.as_pointer()), n, tangents]
        kind = ir.FunctionType(integer, [x.type for x in operands])
        builder.call(builder.inttoptr(entry, kind.as_pointer()), operands)
        return context.get_dummy_value()

    pointers = packed, gates, tape, scratch, grads, addresses
    return types.void(program, types.int64, types.float64, *pointers, types.int64, types.int64), generate
