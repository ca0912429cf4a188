"""Loops over blocks of rows, with operands that may be one row for all samples or one column for all columns.

An operand is a pointer, the distance of its rows (0: one row for all) and whether its first column stands for all.
All rows are `step` numbers, whole vectors.
"""

# ruff: noqa: ARG001 (Numba's code generators have fixed signatures)
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from pynode.engines.fused.compile import intrinsic, loop
from pynode.engines.fused.program.instructions import COLUMN, NUMBER, ROW
from pynode.engines.fused.simd import (
    Vector,
    add_to,
    emit_load,
    emit_splat,
    first_lanes,
    lanes,
    load,
    load_first,
    muladd,
    splat,
    store,
    store_first,
    total,
)


@intrinsic
def one_of(typing: Any, space: Any, tape: Any, gates: Any, packed: Any) -> Any:
    """The pointer of that number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        space, *pointers = args
        first = builder.icmp_signed("==", space, ir.IntType(64)(0))
        second = builder.icmp_signed("==", space, ir.IntType(64)(1))
        return builder.select(first, pointers[0], builder.select(second, pointers[1], pointers[2]))

    return tape(types.int64, tape, tape, tape), generate


@intrinsic
def _spread(typing: Any, p: Any, row: Any, j: Any, is_column: Any) -> Any:
    """The vector from p[row + j] on, or p[row] in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        p, row, j, is_column = args
        element = sig.args[0].dtype
        # a branch, which always goes the same way: there may be no whole vector behind a single column
        column, others, after = (builder.append_basic_block(b) for b in ("column", "others", "after"))
        builder.cbranch(is_column, column, others)
        builder.position_at_end(column)
        number = emit_splat(builder, builder.load(builder.gep(p, [row])), element)
        builder.branch(after)
        builder.position_at_end(others)
        vector = emit_load(builder, p, builder.add(row, j))
        builder.branch(after)
        builder.position_at_end(after)
        result = builder.phi(vector.type)
        result.add_incoming(number, column)
        result.add_incoming(vector, others)
        return result

    return Vector(p.dtype)(p, types.int64, types.int64, types.boolean), generate


@intrinsic
def _chosen(typing: Any, mask: Any, v: Any, w: Any) -> Any:
    """`v` where the mask is not 0, else `w`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        mask, v, w = args
        return builder.select(builder.fcmp_unordered("!=", mask, ir.Constant(mask.type, None)), v, w)

    return v(v, v, v), generate


@loop
def sum_rows(
    out: Any,
    step: int,
    rows: int,
    a: Any,
    a_row: int,
    a_column: bool,
    alpha: float,
    b: Any,
    b_row: int,
    b_column: bool,
    beta: float,
) -> None:
    """out = alpha a + beta b."""
    width, first, second = lanes(out), splat(out, alpha), splat(out, beta)
    if a_row == step and b_row == step and not a_column and not b_column:
        for at in range(0, rows * step, width):
            store(out, at, muladd(first, load(a, at), second * load(b, at)))
        return
    if a_row == step and b_row == 0 and not a_column:
        for j in range(0, step, width):
            y = second * _spread(b, 0, j, b_column)
            for r in range(rows):
                store(out, r * step + j, muladd(first, load(a, r * step + j), y))
        return
    for r in range(rows):
        for j in range(0, step, width):
            x, y = _spread(a, r * a_row, j, a_column), _spread(b, r * b_row, j, b_column)
            store(out, r * step + j, muladd(first, x, second * y))


@loop
def scale_rows(out: Any, size: int, alpha: float, a: Any, adds: bool) -> None:
    """out = alpha a for whole blocks, or added to it."""
    scale = splat(out, alpha)
    if adds:
        for at in range(0, size, lanes(out)):
            store(out, at, muladd(scale, load(a, at), load(out, at)))
    else:
        for at in range(0, size, lanes(out)):
            store(out, at, scale * load(a, at))


@loop
def product_rows(
    out: Any,
    step: int,
    rows: int,
    a: Any,
    a_row: int,
    a_column: bool,
    b: Any,
    b_row: int,
    b_column: bool,
    adds: bool,
) -> None:
    """out = a b, or added to it."""
    width = lanes(out)
    if a_row == 0:
        a, b, a_row, b_row, a_column, b_column = b, a, b_row, a_row, b_column, a_column
    if a_row == step and b_row == step and not a_column and not b_column:
        if adds:
            for at in range(0, rows * step, width):
                store(out, at, muladd(load(a, at), load(b, at), load(out, at)))
        else:
            for at in range(0, rows * step, width):
                store(out, at, load(a, at) * load(b, at))
        return
    if a_row == step and b_row == 0 and not a_column and not adds:
        for j in range(0, step, width):
            factor = _spread(b, 0, j, b_column)
            for r in range(rows):
                store(out, r * step + j, load(a, r * step + j) * factor)
        return
    for r in range(rows):
        for j in range(0, step, width):
            product = _spread(a, r * a_row, j, a_column) * _spread(b, r * b_row, j, b_column)
            if adds:
                product = product + load(out, r * step + j)
            store(out, r * step + j, product)


@loop
def choose_rows(
    out: Any,
    step: int,
    rows: int,
    mask: Any,
    mask_row: int,
    mask_column: bool,
    a: Any,
    a_row: int,
    a_column: bool,
    b: Any,
    b_row: int,
    b_column: bool,
    adds: bool,
) -> None:
    """out = a where the mask is not 0, else b; or added to it."""
    for r in range(rows):
        for j in range(0, step, lanes(out)):
            x, y = _spread(a, r * a_row, j, a_column), _spread(b, r * b_row, j, b_column)
            chosen = _chosen(_spread(mask, r * mask_row, j, mask_column), x, y)
            if adds:
                chosen = chosen + load(out, r * step + j)
            store(out, r * step + j, chosen)


@loop
def reduce_rows(
    kind: int, source: Any, step: int, rows: int, scale: float, out: Any, out_step: int, adds: bool
) -> None:
    """out = the scaled sums over rows, columns or both of a block (`kind` is not FULL), or added to it."""
    width = lanes(out)
    if not adds:
        for at in range(0, out_step * (rows if kind == COLUMN else 1), width):
            store(out, at, splat(out, 0.0))
    if kind == ROW:
        fours = rows // 4 * 4
        for j in range(0, step, width):
            # several sums at a time: one would wait for each addition
            s0, s1, s2, s3 = splat(out, 0.0), splat(out, 0.0), splat(out, 0.0), splat(out, 0.0)
            for r in range(0, fours, 4):
                at = r * step + j
                s0, s1 = s0 + load(source, at), s1 + load(source, at + step)
                s2, s3 = s2 + load(source, at + 2 * step), s3 + load(source, at + 3 * step)
            for r in range(fours, rows):
                s0 = s0 + load(source, r * step + j)
            add_to(out, j, scale * ((s0 + s1) + (s2 + s3)))
        return
    everything = splat(out, 0.0)
    for r in range(rows):
        sum_of_columns = splat(out, 0.0)
        for j in range(0, step, width):
            sum_of_columns = sum_of_columns + load(source, r * step + j)
        if kind == COLUMN:
            out[r * out_step] += scale * total(sum_of_columns)
        else:
            everything = everything + sum_of_columns
    if kind == NUMBER:
        out[0] += scale * total(everything)


@loop
def clear_padding(rows: Any, columns: int, step: int, n: int) -> None:
    """Writes zeros behind the `columns` of each row."""
    width = lanes(rows)
    for r in range(n):
        for j in range(columns // width * width, step, width):
            store(rows, r * step + j, first_lanes(load(rows, r * step + j), columns - j))


@loop
def slice_rows(source: Any, source_row: int, columns: int, out: Any, step: int, rows: int) -> None:
    """Copies the first `columns` of each row, with zeros behind them."""
    width = lanes(out)
    for j in range(0, step, width):
        for r in range(rows):
            store(out, r * step + j, load_first(source, r * source_row + j, columns - j))


@loop
def move_run(
    source: Any,
    source_row: int,
    source_step: int,
    out: Any,
    out_row: int,
    out_step: int,
    count: int,
    rows: int,
    adds: bool,
) -> None:
    """Writes `count` columns of each row of a source into columns of the rows of `out`, or adds them.

    Columns that meet in one are added in any case.
    """
    width = lanes(out)
    if source_step == 1 and out_step == 1:
        for k in range(0, count, width):
            for r in range(rows):
                moved, at = load_first(source, r * source_row + k, count - k), r * out_row + k
                if adds:
                    moved = moved + load_first(out, at, count - k)
                store_first(out, at, moved, count - k)
    elif source_step == 1 and out_step == 0:
        for r in range(rows):
            columns = load_first(source, r * source_row, count)
            for k in range(width, count, width):
                columns = columns + load_first(source, r * source_row + k, count - k)
            moved_sum = total(columns)
            if adds:
                moved_sum = moved_sum + out[r * out_row]
            out[r * out_row] = moved_sum
    elif source_step == 0 and out_step == 1:
        for r in range(rows):
            for k in range(0, count, width):
                moved, at = splat(out, source[r * source_row]), r * out_row + k
                if adds:
                    moved = moved + load_first(out, at, count - k)
                store_first(out, at, moved, count - k)
    elif adds or out_step == 0:
        if not adds:
            for r in range(rows):
                out[r * out_row] = 0.0
        for k in range(count):
            for r in range(rows):
                out[r * out_row + k * out_step] += source[r * source_row + k * source_step]
    else:
        for k in range(count):
            for r in range(rows):
                out[r * out_row + k * out_step] = source[r * source_row + k * source_step]


@loop
def largest_rows(source: Any, source_row: int, columns: int, out: Any, step: int, groups: int, rows: int) -> None:
    """The largest of each group of adjoining columns; NaN where there is one."""
    size = columns // groups
    for r in range(rows):
        for group in range(groups):
            at = r * source_row + group * size
            largest = source[at]
            for k in range(1, size):
                x = source[at + k]
                if x > largest or x != x:
                    largest = x
            out[r * step + group] = largest
