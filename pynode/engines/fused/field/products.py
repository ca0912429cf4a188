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

from pynode.engines.fused.compile import intrinsic, loop
from pynode.engines.fused.field.row_products import PLAIN_END, dot_row, dots_4_1
from pynode.engines.fused.simd import (
    BLOCK_ROWS,
    BLOCK_VECTORS,
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


@loop
def dot_product(
    start: Any, out: Any, out_step: int, a: Any, a_step: int, m: Any, m_step: int, rows: int, terms: int, columns: int
) -> None:
    """out[r, o] = start[o] + a[r, :] . m[o, :] over `terms` (whole vectors), for `columns` o of whole vectors of out.

    `start` must hold zeros beyond `columns`.
    """
    width = lanes(out)
    zero = splat(out, 0.0)
    blocks = rows // BLOCK_ROWS * BLOCK_ROWS
    # vectors are put together in registers: a load that follows stores of parts of it would have to wait for them
    for c in range(0, out_step, width):
        begin = load(start, c)
        count = columns - c if columns - c < width else width
        for r in range(0, blocks, BLOCK_ROWS):
            x = shift(a, r * a_step)
            v0, v1, v2, v3 = begin, begin, begin, begin
            for o in range(count):
                s0, s1, s2, s3 = dots_4_1(zero, x, a_step, shift(m, (c + o) * m_step), terms)
                v0, v1 = with_lane(v0, o, total(s0)), with_lane(v1, o, total(s1))
                v2, v3 = with_lane(v2, o, total(s2)), with_lane(v3, o, total(s3))
            at = r * out_step + c
            store(out, at, v0)
            store(out, at + out_step, v1)
            store(out, at + 2 * out_step, v2)
            store(out, at + 3 * out_step, v3)
    for r in range(blocks, rows):
        to = shift(out, r * out_step)
        dot_row(start, shift(a, r * a_step), m, m_step, terms, columns, out_step, to, PLAIN_END, to)
