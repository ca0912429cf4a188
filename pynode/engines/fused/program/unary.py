"""Functions of one number on whole blocks, with their derivatives: one loop for each function, chosen outside of it."""

# ruff: noqa: ARG001 (Numba's code generators have fixed signatures)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from pynode.engines.fused.compile import intrinsic
from pynode.engines.fused.field.functions import FORMULAS
from pynode.engines.fused.field.lanes import operand
from pynode.engines.fused.simd import Vector, emit_load, emit_store, llvm_vector, suffix

INT = ir.IntType(64)


def _block(which: int, name: str) -> Callable[..., Any]:
    """What calls a function of the kernel's module that evaluates one of the three formulas on a block."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = sig.args[3].dtype
        full, module = f"pynode.{name}.{suffix(llvm_vector(element))}", builder.module
        if full not in module.globals:
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in args])
            function = ir.Function(module, kind, full)
            function.linkage = "linkonce_odr"
            function.attributes.add("noinline")
            _write(function, which, element)
        builder.call(module.globals[full], args)
        return context.get_dummy_value()

    return generate


def _write(function: Any, which: int, element: Any) -> None:
    """The body of that function: a loop over vectors for every code."""
    builder, kind, width = ir.IRBuilder(function.append_basic_block()), llvm_vector(element), Vector(element).lanes
    code, p, q, x, a, out, size = function.args
    done = function.append_basic_block("done")
    choice = builder.switch(code, done)
    start = builder.block
    for number, formulas in enumerate(FORMULAS.values()):
        loop = function.append_basic_block("loop")
        choice.add_case(INT(number), loop)
        builder.position_at_end(loop)
        at = builder.phi(INT)
        formula: Any = formulas[which]
        values = [emit_load(builder, x, at), emit_load(builder, a, at), p, q]
        result = formula(*(operand(builder, value, kind) for value in values)).value
        emit_store(builder, out, at, result)
        following = builder.add(at, INT(width))
        at.add_incoming(INT(0), start)
        at.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, size), loop, done)
    builder.position_at_end(done)
    builder.ret_void()


@intrinsic
def value_block(typing: Any, code: Any, p: Any, q: Any, x: Any, a: Any, out: Any, size: Any) -> Any:
    """out = f(x) for the function with that code and the numbers p and q, on `size` > 0 numbers; `a` is not read."""
    return types.void(types.int64, types.float64, types.float64, x, x, x, types.int64), _block(0, "values")


@intrinsic
def slope_block(typing: Any, code: Any, p: Any, q: Any, x: Any, a: Any, out: Any, size: Any) -> Any:
    """out = f'(x), given a = f(x)."""
    return types.void(types.int64, types.float64, types.float64, x, x, x, types.int64), _block(1, "slopes")


@intrinsic
def curvature_block(typing: Any, code: Any, p: Any, q: Any, x: Any, a: Any, out: Any, size: Any) -> Any:
    """out = f''(x), given a = f(x)."""
    return types.void(types.int64, types.float64, types.float64, x, x, x, types.int64), _block(2, "curvatures")
