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
    muladd,
    shift,
    splat,
    store,
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
    if a_row == step and b_row == step and not a_column and not b_column:
        if adds:
            for at in range(0, rows * step, width):
                store(out, at, muladd(load(a, at), load(b, at), load(out, at)))
        else:
            for at in range(0, rows * step, width):
                store(out, at, load(a, at) * load(b, at))
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
        for j in range(0, step, width):
            sum_of_rows = splat(out, 0.0)
            for r in range(rows):
                sum_of_rows = sum_of_rows + load(source, r * step + j)
            add_to(out, j, scale * sum_of_rows)
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
def move_run(
    source: Any,
    source_row: int,
    first: int,
    first_step: int,
    out: Any,
    out_row: int,
    to: int,
    to_step: int,
    count: int,
    rows: int,
) -> None:
    """Adds `count` columns of each row of a source to columns of the rows of `out`."""
    width = lanes(out)
    for r in range(rows):
        x, y = shift(source, r * source_row + first), shift(out, r * out_row + to)
        k = 0
        if first_step == 1 and to_step == 1:
            while k + width <= count:
                add_to(y, k, load(x, k))
                k += width
        elif first_step == 1 and to_step == 0:
            columns = splat(out, 0.0)
            while k + width <= count:
                columns = columns + load(x, k)
                k += width
            if k > 0:
                y[0] += total(columns)
        elif first_step == 0 and to_step == 1:
            while k + width <= count:
                add_to(y, k, splat(out, x[0]))
                k += width
        while k < count:
            y[k * to_step] += x[k * first_step]
            k += 1


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
