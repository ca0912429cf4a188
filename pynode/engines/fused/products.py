"""Products of small dense matrices in blocks whose sums stay in registers.

Rows are samples and tangents, columns are units padded to whole vectors.  A block of the first form computes
out[r, :] = start[r, :] + sum_k a[r, k] m[k, :] with a number a[r, k] spread over a vector of m; one of the second form
out[r, o] = start[o] + a[r, :] . m[o, :], which wastes less where out has few columns.
"""

# ruff: noqa: ARG001 (Numba's code generators and the formulas have fixed signatures)
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from pynode.engines.fused.jit import intrinsic, loop
from pynode.engines.fused.machine import BLOCK_ROWS, BLOCK_VECTORS
from pynode.engines.fused.simd import (
    Vector,
    emit_load,
    emit_muladd,
    emit_splat,
    emit_store,
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


def _spread_block(rows: int, vectors: int) -> Any:
    """A function for blocks of the first form; `step` arguments are distances in elements."""

    @intrinsic
    def block(
        typing: Any,
        start: Any,
        start_step: Any,
        out: Any,
        out_step: Any,
        a: Any,
        a_row_step: Any,
        a_step: Any,
        m: Any,
        m_step: Any,
        n: Any,
    ) -> Any:
        """Adds `n` terms."""
        element = out.dtype
        width = Vector(element).lanes

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            start, start_step, out, out_step, a, a_row_step, a_step, m, m_step, n = args
            each = [(r, c) for r in range(rows) for c in range(vectors)]

            def place(step: Any, r: int, c: int) -> Any:
                return builder.add(builder.mul(step, INT(r)), INT(c * width))

            sums = {rc: emit_load(builder, start, place(start_step, *rc)) for rc in each}
            lines = [builder.gep(a, [builder.mul(a_row_step, INT(r))]) for r in range(rows)]
            before, loop, after = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k, at_a, at_m = (builder.phi(INT) for _ in range(3))
            running = {rc: builder.phi(sums[rc].type) for rc in each}
            factors = [emit_load(builder, m, builder.add(at_m, INT(c * width))) for c in range(vectors)]
            new = {}
            for r in range(rows):
                number = emit_splat(builder, builder.load(builder.gep(lines[r], [at_a])), element)
                for c in range(vectors):
                    new[r, c] = emit_muladd(builder, number, factors[c], running[r, c])
            following = builder.add(k, INT(1)), builder.add(at_a, a_step), builder.add(at_m, m_step)
            for phi, then in zip((k, at_a, at_m), following, strict=True):
                phi.add_incoming(INT(0), before)
                phi.add_incoming(then, loop)
            for rc in each:
                running[rc].add_incoming(sums[rc], before)
                running[rc].add_incoming(new[rc], loop)
            builder.cbranch(builder.icmp_signed("<", following[0], n), loop, after)
            builder.position_at_end(after)
            for rc in each:
                emit_store(builder, out, place(out_step, *rc), new[rc])
            return context.get_dummy_value()

        step = types.int64
        return types.void(start, step, out, step, a, step, step, m, step, step), generate

    return block


_block_4_4 = _spread_block(BLOCK_ROWS, BLOCK_VECTORS)
_block_4_2 = _spread_block(BLOCK_ROWS, 2)
_block_4_1 = _spread_block(BLOCK_ROWS, 1)
_block_1_4 = _spread_block(1, BLOCK_VECTORS)
_block_1_2 = _spread_block(1, 2)
_block_1_1 = _spread_block(1, 1)


@loop
def spread_product(
    start: Any,
    start_step: int,
    out: Any,
    out_step: int,
    a: Any,
    a_row_step: int,
    a_step: int,
    m: Any,
    m_step: int,
    rows: int,
    terms: int,
    columns: int,
) -> None:
    """out[r, :] = start[r, :] + sum_k a[r, k] m[k, :] for `rows` x `columns` (whole vectors) and at least one term.

    A `start_step` of 0 takes the same row throughout; `a_row_step` and `a_step` swapped take the transpose of a.
    """
    width = lanes(out)
    if terms == 1:
        for r in range(rows):
            factor, to, begin = splat(out, a[r * a_row_step]), r * out_step, r * start_step
            for j in range(0, columns, width):
                store(out, to + j, muladd(factor, load(m, j), load(start, begin + j)))
        return
    c = 0
    while c < columns:
        # all rows take their turn while the columns' part of m is in the nearest cache
        wide = 4 if c + BLOCK_VECTORS * width <= columns else 2 if c + 2 * width <= columns else 1
        f = shift(m, c)
        r = 0
        while r + BLOCK_ROWS <= rows:
            s, o, x = shift(start, r * start_step + c), shift(out, r * out_step + c), shift(a, r * a_row_step)
            if wide == 4:
                _block_4_4(s, start_step, o, out_step, x, a_row_step, a_step, f, m_step, terms)
            elif wide == 2:
                _block_4_2(s, start_step, o, out_step, x, a_row_step, a_step, f, m_step, terms)
            else:
                _block_4_1(s, start_step, o, out_step, x, a_row_step, a_step, f, m_step, terms)
            r += BLOCK_ROWS
        while r < rows:
            s, o, x = shift(start, r * start_step + c), shift(out, r * out_step + c), shift(a, r * a_row_step)
            if wide == 4:
                _block_1_4(s, start_step, o, out_step, x, a_row_step, a_step, f, m_step, terms)
            elif wide == 2:
                _block_1_2(s, start_step, o, out_step, x, a_row_step, a_step, f, m_step, terms)
            else:
                _block_1_1(s, start_step, o, out_step, x, a_row_step, a_step, f, m_step, terms)
            r += 1
        c += (BLOCK_VECTORS if wide == 4 else wide) * width


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
            found = []
            for r in range(rows):
                sums = [new[r, c] for c in range(chains)]
                while len(sums) > 1:
                    sums = [builder.fadd(x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
                found.append(sums[0])
            return context.make_tuple(builder, sig.return_type, found)

        step = types.int64
        return types.UniTuple(begin, rows)(begin, a, step, m, step), generate

    return block


_dots_4 = _dot_block(BLOCK_ROWS, 1)
_dots_1 = _dot_block(1, 1)
_dots_1_4 = _dot_block(1, 4)


@loop
def dot_product(
    start: Any, out: Any, out_step: int, a: Any, a_step: int, m: Any, m_step: int, rows: int, terms: int, columns: int
) -> None:
    """out[r, o] = start[o] + a[r, :] . m[o, :] over `terms` (whole vectors), for `columns` o of whole vectors of out.

    `start` must hold zeros beyond `columns`.
    """
    width = lanes(out)
    zero = splat(out, 0.0)
    even = terms // (4 * width) * (4 * width)
    # vectors are put together in registers: a load that follows stores of parts of it would have to wait for them
    for c in range(0, out_step, width):
        begin = load(start, c)
        count = columns - c if columns - c < width else width
        r = 0
        while r + BLOCK_ROWS <= rows:
            x = shift(a, r * a_step)
            v0, v1, v2, v3 = begin, begin, begin, begin
            for o in range(count):
                s0, s1, s2, s3 = _dots_4(zero, x, a_step, shift(m, (c + o) * m_step), terms)
                v0, v1 = with_lane(v0, o, total(s0)), with_lane(v1, o, total(s1))
                v2, v3 = with_lane(v2, o, total(s2)), with_lane(v3, o, total(s3))
            at = r * out_step + c
            store(out, at, v0)
            store(out, at + out_step, v1)
            store(out, at + 2 * out_step, v2)
            store(out, at + 3 * out_step, v3)
            r += BLOCK_ROWS
        while r < rows:
            x = shift(a, r * a_step)
            v = begin
            for o in range(count):
                y = shift(m, (c + o) * m_step)
                s = zero
                if even > 0:
                    s = _dots_1_4(s, x, a_step, y, even)[0]
                if even < terms:
                    s = _dots_1(s, shift(x, even), a_step, shift(y, even), terms - even)[0]
                v = with_lane(v, o, total(s))
            store(out, r * out_step + c, v)
            r += 1
