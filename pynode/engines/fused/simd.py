"""Vectors of a fixed number of lanes for Numba, and what loads, stores and combines them.

Numba leaves vectorisation to LLVM's loop vectoriser, which guards each short loop by overlap checks and a remainder.
Here rows are padded to whole vectors, so a loop over them is a loop over vectors, and LLVM maps a vector to whatever
registers the machine has.  Pointers rather than arrays go from function to function: they cost one argument each.
"""

# ruff: noqa: ARG001 (Numba's code generators and the formulas have fixed signatures)
from __future__ import annotations

import operator
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from pynode.engines.fused.compile import intrinsic

_HAS_AVX512 = bool(binding.get_host_cpu_features().get("avx512f"))

VECTOR_BYTES = 64 if _HAS_AVX512 else 32
"""Size of a vector.  Where registers are smaller (SSE, NEON), LLVM splits a vector into several."""

BLOCK_ROWS, BLOCK_VECTORS = 4, 4 if _HAS_AVX512 else 2
"""Rows of a block of a product, and vectors side by side in it; all its sums must fit into the registers."""


class Vector(types.Type):
    """`VECTOR_BYTES` of one floating-point type, held in registers."""

    def __init__(self, element: Any) -> None:
        self.element = element
        self.lanes = VECTOR_BYTES // (element.bitwidth // 8)
        super().__init__(name=f"vector({element} x {self.lanes})")


def llvm_element(element: Any) -> Any:
    """The LLVM type of a Numba float type."""
    return ir.DoubleType() if element.bitwidth == 64 else ir.FloatType()


def llvm_vector(element: Any) -> Any:
    """The LLVM type of a vector of a Numba float type."""
    return ir.VectorType(llvm_element(element), Vector(element).lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, llvm_vector(kind.element))


# --- building blocks for code generators -----------------------------------------------------------------------------


def emit_splat(builder: Any, scalar: Any, element: Any) -> Any:
    """A vector with `scalar` (of LLVM type `element`'s) in every lane."""
    vector = llvm_vector(element)
    index = ir.IntType(32)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, index(0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count)
    )


def emit_at(builder: Any, pointer: Any, index: Any) -> Any:
    """Address of the vector that starts at `pointer[index]`."""
    element = builder.gep(pointer, [index])
    kind = pointer.type.pointee
    lanes = VECTOR_BYTES // (8 if isinstance(kind, ir.DoubleType) else 4)
    return builder.bitcast(element, ir.VectorType(kind, lanes).as_pointer())


def emit_load(builder: Any, pointer: Any, index: Any) -> Any:
    """The vector that starts at `pointer[index]`, whose address may be that of any element."""
    size = 8 if isinstance(pointer.type.pointee, ir.DoubleType) else 4
    return builder.load(emit_at(builder, pointer, index), align=size)


def emit_store(builder: Any, pointer: Any, index: Any, value: Any) -> None:
    """Writes a vector from `pointer[index]` on."""
    size = 8 if isinstance(pointer.type.pointee, ir.DoubleType) else 4
    builder.store(value, emit_at(builder, pointer, index), align=size)


def emit_call(builder: Any, name: str, result: Any, *operands: Any) -> Any:
    """Calls the LLVM intrinsic `name` (with its type suffix)."""
    kind = ir.FunctionType(result, [o.type for o in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def suffix(vector: Any) -> str:
    """How LLVM names the vector type in intrinsics: v8f64."""
    return f"v{vector.count}f{64 if isinstance(vector.element, ir.DoubleType) else 32}"


def emit_muladd(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, with one rounding where the machine can."""
    return emit_call(builder, f"llvm.fmuladd.{suffix(a.type)}", a.type, a, b, c)


def emit_sum(builder: Any, vector: Any) -> Any:
    """The sum of all lanes, in the order that is fastest."""
    zero = ir.Constant(vector.type.element, -0.0)
    kind = ir.FunctionType(vector.type.element, [zero.type, vector.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.{suffix(vector.type)}")
    return builder.call(function, [zero, vector], fastmath=("reassoc",))


def emit_lane_numbers(builder: Any, count: int, i: Any) -> tuple[Any, Any]:
    """0, 1, ... and `i` in every lane, to be compared."""
    kind = ir.VectorType(ir.IntType(32), count)
    index = ir.IntType(32)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), builder.trunc(i, index), index(0))
    zeros = ir.Constant(kind, [0] * count)
    return ir.Constant(kind, list(range(count))), builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


# --- functions for kernels -------------------------------------------------------------------------------------------


@intrinsic
def pointer(typing: Any, array: Any) -> Any:
    """Pointer to the first entry of a contiguous array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def pointer_at(typing: Any, like: Any, address: Any) -> Any:
    """Pointer of the type of `like` to the memory at an integer address."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[1], context.get_value_type(sig.return_type))

    return like(like, types.int64), generate


@intrinsic
def exists(typing: Any, p: Any) -> Any:
    """Whether the pointer is not 0."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned("!=", args[0], ir.Constant(args[0].type, None))

    return types.boolean(p), generate


@intrinsic
def shift(typing: Any, p: Any, i: Any) -> Any:
    """Pointer to p[i]."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return p(p, types.int64), generate


@intrinsic
def lanes(typing: Any, like: Any) -> Any:
    """Number of lanes of a vector of the type that the pointer `like` points to."""
    count = Vector(like.dtype).lanes

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.int64, count)

    return types.int64(like), generate


@intrinsic
def load(typing: Any, p: Any, i: Any) -> Any:
    """The vector p[i], p[i + 1], ..."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit_load(builder, args[0], args[1])

    return Vector(p.dtype)(p, types.int64), generate


@intrinsic
def store(typing: Any, p: Any, i: Any, v: Any) -> Any:
    """Writes the vector `v` to p[i], p[i + 1], ..."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        emit_store(builder, args[0], args[1], args[2])
        return context.get_dummy_value()

    return types.void(p, types.int64, v), generate


@intrinsic
def add_to(typing: Any, p: Any, i: Any, v: Any) -> Any:
    """Adds the vector `v` to p[i], p[i + 1], ..."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        p, i, v = args
        emit_store(builder, p, i, builder.fadd(emit_load(builder, p, i), v))
        return context.get_dummy_value()

    return types.void(p, types.int64, v), generate


@intrinsic
def splat(typing: Any, like: Any, x: Any) -> Any:
    """A vector with `x` in every lane, of the type that the pointer `like` points to."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalar = context.cast(builder, args[1], sig.args[1], sig.args[0].dtype)
        return emit_splat(builder, scalar, sig.args[0].dtype)

    return Vector(like.dtype)(like, x), generate


@intrinsic
def muladd(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c for vectors; `a` and `c` may be numbers."""
    kind = next(x for x in (a, b, c) if isinstance(x, Vector))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit_muladd(builder, *_vectors(context, builder, sig.args, args, kind))

    return kind(a, b, c), generate


@intrinsic
def first_lanes(typing: Any, v: Any, count: Any) -> Any:
    """`v` with zeros from lane `count` on."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        v, count = args
        kept = builder.icmp_signed("<", *emit_lane_numbers(builder, v.type.count, count))
        return builder.select(kept, v, ir.Constant(v.type, None))

    return v(v, types.int64), generate


def _emit_mask(builder: Any, count: Any, lanes: int) -> Any:
    # more lanes than there are fit into 32 bits in any case
    return builder.icmp_signed("<", *emit_lane_numbers(builder, lanes, count))


@intrinsic
def load_first(typing: Any, p: Any, i: Any, count: Any) -> Any:
    """The first `count` lanes of the vector p[i], p[i + 1], ..., zeros behind them; reads no more than these."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        p, i, count = args
        place = emit_at(builder, p, i)
        kind = place.type.pointee
        size = ir.IntType(32)(8 if isinstance(kind.element, ir.DoubleType) else 4)
        mask = _emit_mask(builder, count, kind.count)
        name = f"llvm.masked.load.{suffix(kind)}.p0{suffix(kind)}"
        return emit_call(builder, name, kind, place, size, mask, ir.Constant(kind, None))

    return Vector(p.dtype)(p, types.int64, types.int64), generate


@intrinsic
def store_first(typing: Any, p: Any, i: Any, v: Any, count: Any) -> Any:
    """Writes the first `count` lanes of `v`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        p, i, v, count = args
        place = emit_at(builder, p, i)
        kind = place.type.pointee
        size = ir.IntType(32)(8 if isinstance(kind.element, ir.DoubleType) else 4)
        mask = _emit_mask(builder, count, kind.count)
        name = f"llvm.masked.store.{suffix(kind)}.p0{suffix(kind)}"
        emit_call(builder, name, ir.VoidType(), v, place, size, mask)
        return context.get_dummy_value()

    return types.void(p, types.int64, v, types.int64), generate


@intrinsic
def with_lane(typing: Any, v: Any, i: Any, x: Any) -> Any:
    """`v` with `x` added to lane `i`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        v, i, x = args
        scalar = context.cast(builder, x, sig.args[2], sig.args[0].element)
        chosen = builder.icmp_signed("==", *emit_lane_numbers(builder, v.type.count, i))
        other = emit_splat(builder, scalar, sig.args[0].element)
        return builder.fadd(v, builder.select(chosen, other, ir.Constant(v.type, None)))

    return v(v, types.int64, x), generate


@intrinsic
def magnitude(typing: Any, v: Any) -> Any:
    """|v| for vectors."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        return emit_call(builder, f"llvm.fabs.{suffix(kind)}", kind, args[0])

    return v(v), generate


@intrinsic
def larger(typing: Any, v: Any, w: Any) -> Any:
    """The larger of each two lanes; the other one where one is NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        return emit_call(builder, f"llvm.maxnum.{suffix(kind)}", kind, *args)

    return v(v, v), generate


@intrinsic
def total(typing: Any, v: Any) -> Any:
    """The sum of the lanes of `v`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit_sum(builder, args[0])

    return v.element(v), generate


# --- operators -------------------------------------------------------------------------------------------------------


def _vectors(context: Any, builder: Any, kinds: Any, values: Any, kind: Vector) -> list[Any]:
    """The operands as vectors: numbers go into every lane."""
    operands = []
    for k, value in zip(kinds, values, strict=True):
        if isinstance(k, Vector):
            operands.append(value)
        else:
            scalar = context.cast(builder, value, k, kind.element)
            operands.append(emit_splat(builder, scalar, kind.element))
    return operands


class _Arithmetic(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:  # noqa: ARG002
        vectors = [a for a in args if isinstance(a, Vector)]
        if vectors and all(isinstance(a, (Vector, types.Number)) for a in args):
            return signature(vectors[0], *args)
        return None


def _define(symbol: Any, instruction: str) -> None:
    infer_global(symbol)(type(f"_{instruction}", (_Arithmetic,), {}))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operands = _vectors(context, builder, sig.args, args, sig.return_type)
        # contraction to a fused multiply-add only takes roundings away
        return getattr(builder, instruction)(*operands, flags=("contract",))

    for kinds in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(symbol, *kinds)(generate)


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
_define(operator.truediv, "fdiv")
