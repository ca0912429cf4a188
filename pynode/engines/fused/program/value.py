"""The values of a program's instructions, and their tangents, written block by block."""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import loop, part
from pynode.engines.fused.field.products import dot_product, spread_product
from pynode.engines.fused.program.blocks import (
    choose_rows,
    clear_padding,
    largest_rows,
    move_run,
    one_of,
    product_rows,
    slice_rows,
    sum_rows,
)
from pynode.engines.fused.program.instructions import (
    ADD,
    CHOOSE,
    LINEAR,
    MATRIX,
    MOVE,
    MULTIPLY,
    UNARY,
    Instruction,
    Program,
)
from pynode.engines.fused.program.unary import slope_block, value_block
from pynode.engines.fused.rows import clear_rows
from pynode.engines.fused.simd import shift


@part
def set_times(program: Program, packed: Any, t: float, gates: Any) -> None:
    """Writes all values that depend on time alone, those at time `t`."""
    gates[0] = t
    for k in range(program.n_before):
        _execute(program, program.before[k], gates, gates, packed, gates, 1, 0)


@loop
def run_program(program: Program, packed: Any, gates: Any, tape: Any, scratch: Any, n: int, tangents: int) -> None:
    """Writes all values of `n` samples and their tangents; the tape holds the state and its tangents."""
    for k in range(program.n_instructions):
        _execute(program, program.instructions[k], tape, gates, packed, scratch, n, tangents)


@loop
def _execute(
    program: Program, it: Instruction, own: Any, gates: Any, packed: Any, scratch: Any, n: int, tangents: int
) -> None:
    """One instruction, whose result lies in the memory `own`."""
    code, pushed = it.code, n * tangents
    out = shift(own, it.at)
    first = it.operands[0]
    a = shift(one_of(first.space, own, gates, packed), first.at)
    if code == LINEAR:
        _linear(program, it, out, a, own, gates, packed, n, pushed)
    elif code == UNARY:
        _unary(program, it, out, a, scratch, n, tangents)
    elif code == MOVE:
        _move(it, out, own, gates, packed, n, pushed)
    elif code == MATRIX:
        _matrix(it, own, a)
    elif code == ADD:
        second = it.operands[1]
        b = shift(one_of(second.space, own, gates, packed), second.at)
        _add(program, it, out, a, b, packed, n, pushed)
    elif code == MULTIPLY:
        second = it.operands[1]
        b = shift(one_of(second.space, own, gates, packed), second.at)
        _multiply(it, out, a, b, n, tangents)
    elif code == CHOOSE:
        _choose(program, it, out, a, own, gates, packed, n, tangents)
    else:
        largest_rows(a, first.row, first.columns, out, it.step, it.columns, n)
        clear_rows(shift(out, n * it.step), pushed * it.step)
    if it.clears:
        clear_padding(out, it.columns, it.step, n + pushed)


@part
def _add(program: Program, it: Instruction, out: Any, a: Any, b: Any, packed: Any, n: int, pushed: int) -> None:
    first, second, step = it.operands[0], it.operands[1], it.step
    a_row, a_column, b_row, b_column = first.row, first.is_column, second.row, second.is_column
    if first.has_tangents and second.has_tangents:
        sum_rows(out, step, n + pushed, a, a_row, a_column, it.p, b, b_row, b_column, it.q)
        return
    sum_rows(out, step, n, a, a_row, a_column, it.p, b, b_row, b_column, it.q)
    if pushed > 0:
        # what has no tangents has zeros there
        below, zeros = shift(out, n * step), shift(packed, program.zeros)
        if first.has_tangents:
            sum_rows(below, step, pushed, shift(a, n * a_row), a_row, a_column, it.p, zeros, 0, False, 1.0)
        else:
            sum_rows(below, step, pushed, zeros, 0, False, 1.0, shift(b, n * b_row), b_row, b_column, it.q)


@part
def _multiply(it: Instruction, out: Any, a: Any, b: Any, n: int, tangents: int) -> None:
    """a b, and a' b + a b'."""
    first, second, step = it.operands[0], it.operands[1], it.step
    a_row, a_column, b_row, b_column = first.row, first.is_column, second.row, second.is_column
    product_rows(out, step, n, a, a_row, a_column, b, b_row, b_column, False)
    for m in range(1, tangents + 1):
        below = shift(out, m * n * step)
        if first.has_tangents:
            product_rows(below, step, n, shift(a, m * n * a_row), a_row, a_column, b, b_row, b_column, False)
        if second.has_tangents:
            adds = first.has_tangents
            product_rows(below, step, n, a, a_row, a_column, shift(b, m * n * b_row), b_row, b_column, adds)


@part
def _unary(program: Program, it: Instruction, out: Any, x: Any, scratch: Any, n: int, tangents: int) -> None:
    """f(x), and f'(x) x'."""
    size, step = n * it.step, it.step
    value_block(it.function, it.p, it.q, x, x, out, size)
    if tangents > 0:
        slope = shift(scratch, program.block)
        slope_block(it.function, it.p, it.q, x, out, slope, size)
        for m in range(1, tangents + 1):
            product_rows(shift(out, m * size), step, n, slope, step, False, shift(x, m * size), step, False, False)


@part
def _choose(
    program: Program, it: Instruction, out: Any, mask: Any, own: Any, gates: Any, packed: Any, n: int, tangents: int
) -> None:
    """Tangents go the way of their sample."""
    first, second, third, step = it.operands[0], it.operands[1], it.operands[2], it.step
    a = shift(one_of(second.space, own, gates, packed), second.at)
    b = shift(one_of(third.space, own, gates, packed), third.at)
    a_row, b_row, a_column, b_column = second.row, third.row, second.is_column, third.is_column
    for m in range(tangents + 1):
        if m > 0:
            if second.has_tangents:
                a = shift(a, n * a_row)
            else:
                a, a_row, a_column = shift(packed, program.zeros), 0, False
            if third.has_tangents:
                b = shift(b, n * b_row)
            else:
                b, b_row, b_column = shift(packed, program.zeros), 0, False
        choose_rows(
            shift(out, m * n * step),
            step,
            n,
            mask,
            first.row,
            first.is_column,
            a,
            a_row,
            a_column,
            b,
            b_row,
            b_column,
            False,
        )


@part
def _move(it: Instruction, out: Any, own: Any, gates: Any, packed: Any, n: int, pushed: int) -> None:
    """What has no tangents has zeros there."""
    first, run = it.operands[0], it.runs[0]
    if it.is_slice and (pushed == 0 or first.has_tangents):
        source = shift(one_of(first.space, own, gates, packed), first.at + run.first)
        slice_rows(source, first.row, it.columns, out, it.step, n + pushed)
        return
    if not it.covers:
        clear_rows(out, (n + pushed) * it.step)
    for k in range(it.n_runs):
        run = it.runs[k]
        operand = it.operands[run.source]
        source, target = shift(one_of(operand.space, own, gates, packed), operand.at + run.first), shift(out, run.to)
        rows = n + pushed if operand.has_tangents else n
        move_run(source, operand.row, run.step, target, it.step, run.to_step, run.count, rows, not it.covers)


@part
def _linear(
    program: Program, it: Instruction, out: Any, x: Any, own: Any, gates: Any, packed: Any, n: int, pushed: int
) -> None:
    """W x + bias, and W x'."""
    matrix, operand = it.matrix, it.operands[0]
    M, zeros = one_of(matrix.space, own, gates, packed), shift(packed, program.zeros)
    start = zeros
    if it.n_operands > 1:
        bias = it.operands[1]
        start = shift(one_of(bias.space, own, gates, packed), bias.at)
    out_step, in_step, n_in, x_row = matrix.out_step, matrix.in_step, matrix.n_in, operand.row
    if matrix.spreads_forward:
        W = shift(M, matrix.forward)
        spread_product(start, 0, out, out_step, x, x_row, 1, W, out_step, n, n_in, out_step)
        if pushed > 0:
            x, out = shift(x, n * x_row), shift(out, n * out_step)
            spread_product(zeros, 0, out, out_step, x, x_row, 1, W, out_step, pushed, n_in, out_step)
    else:
        W = shift(M, matrix.backward)
        dot_product(start, out, out_step, x, x_row, W, in_step, n, in_step, matrix.n_out)
        if pushed > 0:
            x, out = shift(x, n * x_row), shift(out, n * out_step)
            dot_product(zeros, out, out_step, x, x_row, W, in_step, pushed, in_step, matrix.n_out)


@part
def _matrix(it: Instruction, gates: Any, row: Any) -> None:
    """A matrix in both forms from a row."""
    matrix = it.matrix
    forward, backward = shift(gates, matrix.forward), shift(gates, matrix.backward)
    for o in range(matrix.n_out):
        for i in range(matrix.n_in):
            x = row[o * matrix.n_in + i]
            forward[i * matrix.out_step + o] = x
            backward[o * matrix.in_step + i] = x
