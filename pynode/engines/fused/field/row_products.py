"""Products of one row with small dense matrices, with an activation or its slope applied while sums are in registers.

The two forms are those of `products`: numbers of the row spread over vectors of the matrix, or dot products.
"""

# ruff: noqa: ARG001 (Numba's code generators and the formulas have fixed signatures)
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from pynode.engines.fused.compile import intrinsic, loop
from pynode.engines.fused.field.activations import hyperbolic
from pynode.engines.fused.simd import (
    BLOCK_ROWS,
    Vector,
    emit_load,
    emit_muladd,
    emit_splat,
    lanes,
    load,
    muladd,
    shift,
    splat,
    store,
    total,
    with_lane,
)

INT = ir.IntType(64)

PLAIN_END, TANH_END, SLOPE_END = range(3)
"""What is done to the sums: nothing, tanh, times the slope of tanh at a point where it has the values given."""


def _spread_row_block(vectors: int) -> Any:
    """A function for `vectors` vectors of a single row of the first form, which it returns."""

    @intrinsic
    def block(typing: Any, start: Any, a: Any, m: Any, m_step: Any, n: Any) -> Any:
        """start[:] + sum_k a[k] m[k, :] over `n` > 0 terms."""
        kind = Vector(start.dtype)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            start, a, m, m_step, n = args
            each = range(vectors)
            sums = [emit_load(builder, start, INT(c * kind.lanes)) for c in each]
            before, loop, after = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k, at_m = builder.phi(INT), builder.phi(INT)
            running = [builder.phi(s.type) for s in sums]
            number = emit_splat(builder, builder.load(builder.gep(a, [k])), kind.element)
            factors = [emit_load(builder, m, builder.add(at_m, INT(c * kind.lanes))) for c in each]
            new = [emit_muladd(builder, number, factors[c], running[c]) for c in each]
            following = builder.add(k, INT(1)), builder.add(at_m, m_step)
            for phi, then in zip((k, at_m), following, strict=True):
                phi.add_incoming(INT(0), before)
                phi.add_incoming(then, loop)
            for c in each:
                running[c].add_incoming(sums[c], before)
                running[c].add_incoming(new[c], loop)
            builder.cbranch(builder.icmp_signed("<", following[0], n), loop, after)
            builder.position_at_end(after)
            return context.make_tuple(builder, sig.return_type, new)

        step = types.int64
        return types.UniTuple(kind, vectors)(start, a, m, step, step), generate

    return block


_spread_4 = _spread_row_block(4)
_spread_1 = _spread_row_block(1)


def _dot_block(rows: int, chains: int) -> Any:
    """A function for the dot products of `rows` rows with one row of m, each as `chains` independent sums.

    A single row would wait for one multiply-add after the other, so it takes several sums at a time.
    """

    @intrinsic
    def block(typing: Any, begin: Any, a: Any, a_step: Any, m: Any, n: Any) -> Any:
        """Vectors whose lanes sum up to a[r, :] . m[:] for each r, and to begin's, over `n` > 0 entries.

        `n` is a multiple of `chains` vectors.
        """
        width = begin.lanes

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            begin, a, a_step, m, n = args
            each = [(r, c) for r in range(rows) for c in range(chains)]
            lines = [builder.gep(a, [builder.mul(a_step, INT(r))]) for r in range(rows)]
            zero = ir.Constant(begin.type, None)
            before, loop, after = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(INT)
            running = {rc: builder.phi(zero.type) for rc in each}
            places = [builder.add(k, INT(c * width)) for c in range(chains)]
            factors = [emit_load(builder, m, place) for place in places]
            new = {
                (r, c): emit_muladd(builder, emit_load(builder, lines[r], places[c]), factors[c], running[r, c])
                for r, c in each
            }
            following = builder.add(k, INT(chains * width))
            k.add_incoming(INT(0), before)
            k.add_incoming(following, loop)
            for r, c in each:
                running[r, c].add_incoming(begin if c == 0 else zero, before)
                running[r, c].add_incoming(new[r, c], loop)
            builder.cbranch(builder.icmp_signed("<", following, n), loop, after)
            builder.position_at_end(after)
            results = []
            for r in range(rows):
                sums = [new[r, c] for c in range(chains)]
                while len(sums) > 1:
                    sums = [builder.fadd(x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
                results.append(sums[0])
            return context.make_tuple(builder, sig.return_type, results)

        step = types.int64
        return types.UniTuple(begin, rows)(begin, a, step, m, step), generate

    return block


dots_4_1 = _dot_block(BLOCK_ROWS, 1)
_dots_2_2 = _dot_block(2, 2)


@loop
def spread_row(
    start: Any, a: Any, m: Any, m_step: int, terms: int, columns: int, out: Any, end: int, values: Any
) -> None:
    """out = end(start + sum_k a[k] m[k, :]) for `columns` of whole vectors."""
    width = lanes(out)
    # a last block of less than four vectors does some of them again if the sums are long, since one vector alone would
    # wait for each term
    again = columns >= 4 * width and terms > 4
    c = 0
    while c < columns:
        if c + 4 * width <= columns or again:
            c = min(c, columns - 4 * width)
            v0, v1, v2, v3 = _spread_4(shift(start, c), a, shift(m, c), m_step, terms)
            if end == TANH_END:
                v0, v1, v2, v3 = hyperbolic(v0), hyperbolic(v1), hyperbolic(v2), hyperbolic(v3)
            elif end == SLOPE_END:
                x0, x1 = load(values, c), load(values, c + width)
                x2, x3 = load(values, c + 2 * width), load(values, c + 3 * width)
                v0, v1 = v0 * (1.0 - x0 * x0), v1 * (1.0 - x1 * x1)
                v2, v3 = v2 * (1.0 - x2 * x2), v3 * (1.0 - x3 * x3)
            store(out, c, v0)
            store(out, c + width, v1)
            store(out, c + 2 * width, v2)
            store(out, c + 3 * width, v3)
            c += 4 * width
        else:
            v = _spread_1(shift(start, c), a, shift(m, c), m_step, terms)[0]
            if end == TANH_END:
                v = hyperbolic(v)
            elif end == SLOPE_END:
                x = load(values, c)
                v = v * (1.0 - x * x)
            store(out, c, v)
            c += width


@loop
def dot_row(
    start: Any,
    a: Any,
    m: Any,
    m_step: int,
    terms: int,
    rows: int,
    columns: int,
    out: Any,
    end: int,
    values: Any,
) -> None:
    """out[o] = end(start[o] + a . m[o, :]) over `terms` (whole vectors) for `rows` o, padded to `columns`.

    `start` must hold zeros beyond `rows`.
    """
    width = lanes(out)
    zero = splat(out, 0.0)
    even = terms // (2 * width) * (2 * width)
    for c in range(0, columns, width):
        v = load(start, c)
        count = rows - c if rows - c < width else width
        o = 0
        while o + 4 <= count:
            s0, s1, s2, s3 = dots_4_1(zero, shift(m, (c + o) * m_step), m_step, a, terms)
            v = with_lane(with_lane(v, o, total(s0)), o + 1, total(s1))
            v = with_lane(with_lane(v, o + 2, total(s2)), o + 3, total(s3))
            o += 4
        while o < count:
            # the last of an odd number goes with itself
            step = m_step if o + 1 < count else 0
            y = shift(m, (c + o) * m_step)
            s0, s1 = zero, zero
            if even > 0:
                s0, s1 = _dots_2_2(zero, y, step, a, even)
            if even < terms:
                x = load(a, even)
                s0, s1 = muladd(x, load(y, even), s0), muladd(x, load(y, step + even), s1)
            v = with_lane(v, o, total(s0))
            if step > 0:
                v = with_lane(v, o + 1, total(s1))
            o += 2
        if end == TANH_END:
            v = hyperbolic(v)
        elif end == SLOPE_END:
            x = load(values, c)
            v = v * (1.0 - x * x)
        store(out, c, v)
