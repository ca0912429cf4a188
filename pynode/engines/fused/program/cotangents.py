"""The cotangents of a program's operands from those of its results, instruction by instruction, backwards."""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import loop, part
from pynode.engines.fused.field.products import dot_product, spread_product
from pynode.engines.fused.program.blocks import (
    choose_rows,
    clear_padding,
    move_run,
    one_of,
    product_rows,
    reduce_rows,
    scale_rows,
)
from pynode.engines.fused.program.instructions import (
    ADD,
    CHOOSE,
    FULL,
    LINEAR,
    MATRIX,
    MOVE,
    MULTIPLY,
    ROW,
    UNARY,
    Instruction,
    Operand,
    Program,
)
from pynode.engines.fused.program.unary import curvature_block, slope_block
from pynode.engines.fused.rows import clear_rows
from pynode.engines.fused.simd import shift


@loop
def pull_program(
    program: Program, packed: Any, gates: Any, tape: Any, scratch: Any, n: int, tangents: int, grads: Any
) -> None:
    """From the cotangents of value and tangents at `program.value_bar` to that of the state and, added, to `grads`.

    Works from the tape and the gates that hold all values.
    """
    clear_rows(shift(scratch, program.time_bars), program.time_bars_size)
    for k in range(program.n_instructions - 1, -1, -1):
        if program.instructions[k].pulls:
            _pull(program, program.instructions[k], tape, gates, packed, scratch, n, tangents, grads)
    for k in range(program.n_before - 1, -1, -1):
        if program.before[k].pulls:
            _pull(program, program.before[k], gates, gates, packed, scratch, 1, 0, grads)


@loop
def _pull(
    program: Program,
    it: Instruction,
    own: Any,
    gates: Any,
    packed: Any,
    scratch: Any,
    n: int,
    tangents: int,
    grads: Any,
) -> None:
    """One instruction, whose result lies in the memory `own`; its operands in reverse order."""
    code, pushed, bar = it.code, n * tangents, shift(scratch, it.bar)
    if code == LINEAR:
        _pull_linear(program, it, bar, own, gates, packed, scratch, n, pushed, grads)
    elif code == UNARY:
        _pull_unary(program, it, bar, own, gates, packed, scratch, n, tangents, grads)
    elif code == MOVE:
        _pull_move(it, bar, scratch, n, pushed, grads)
    elif code == MATRIX:
        _pull_matrix(it, scratch, grads)
    elif code == ADD:
        if it.operands[1].wanted:
            _pull_scaled(it, it.operands[1], it.q, bar, scratch, n, pushed, grads)
        if it.operands[0].wanted:
            _pull_scaled(it, it.operands[0], it.p, bar, scratch, n, pushed, grads)
    elif code == MULTIPLY:
        for k in range(1, -1, -1):
            if it.operands[k].wanted:
                other = it.operands[1 - k]
                b = shift(one_of(other.space, own, gates, packed), other.at)
                _pull_product(program, it, it.operands[k], other, b, bar, scratch, n, tangents, grads)
    elif code == CHOOSE:
        first = it.operands[0]
        mask = shift(one_of(first.space, own, gates, packed), first.at)
        for k in range(2, 0, -1):
            if it.operands[k].wanted:
                _pull_chosen(program, it, k, mask, bar, packed, scratch, n, tangents, grads)


@part
def _pull_scaled(
    it: Instruction, operand: Operand, scale: float, bar: Any, scratch: Any, n: int, pushed: int, grads: Any
) -> None:
    """`scale` times the result's cotangent."""
    target, step, rows = shift(grads if operand.in_grads else scratch, operand.bar), it.step, n
    if operand.pulls_tangents:
        rows += pushed
    if operand.kind != FULL:
        reduce_rows(operand.kind, bar, step, rows, scale, target, operand.row, operand.adds)
    elif operand.adds or scale != 1.0 or operand.in_grads or operand.bar != it.bar:
        scale_rows(target, rows * step, scale, bar, operand.adds)


@part
def _pull_product(
    program: Program,
    it: Instruction,
    operand: Operand,
    other: Operand,
    b: Any,
    bar: Any,
    scratch: Any,
    n: int,
    tangents: int,
    grads: Any,
) -> None:
    """The result's cotangent times the other operand."""
    step, size, b_row, b_column, adds = it.step, n * it.step, other.row, other.is_column, operand.adds
    target, rows = shift(grads if operand.in_grads else scratch, operand.bar), n
    if operand.kind != FULL:
        target, adds = shift(scratch, program.block), False
    product_rows(target, step, n, bar, step, False, b, b_row, b_column, adds)
    if other.has_tangents:
        for m in range(1, tangents + 1):
            pushed = shift(b, m * n * b_row)
            product_rows(target, step, n, shift(bar, m * size), step, False, pushed, b_row, b_column, True)
    if operand.pulls_tangents:
        rows += n * tangents
        for m in range(1, tangents + 1):
            below, pushed_bar = shift(target, m * size), shift(bar, m * size)
            product_rows(below, step, n, pushed_bar, step, False, b, b_row, b_column, adds)
    if operand.kind != FULL:
        out = shift(grads if operand.in_grads else scratch, operand.bar)
        reduce_rows(operand.kind, target, step, rows, 1.0, out, operand.row, operand.adds)


@part
def _pull_chosen(
    program: Program,
    it: Instruction,
    k: int,
    mask: Any,
    bar: Any,
    packed: Any,
    scratch: Any,
    n: int,
    tangents: int,
    grads: Any,
) -> None:
    """The result's cotangent where the mask has chosen operand k, else 0."""
    first, operand, step, zeros = it.operands[0], it.operands[k], it.step, shift(packed, program.zeros)
    adds, mask_row, mask_column, pulled = operand.adds, first.row, first.is_column, 1
    target = shift(grads if operand.in_grads else scratch, operand.bar)
    if operand.kind != FULL:
        target, adds = shift(scratch, program.block), False
    if operand.pulls_tangents:
        pulled += tangents
    for m in range(pulled):
        at = m * n * step
        out, here = shift(target, at), shift(bar, at)
        if k == 1:
            choose_rows(out, step, n, mask, mask_row, mask_column, here, step, False, zeros, 0, False, adds)
        else:
            choose_rows(out, step, n, mask, mask_row, mask_column, zeros, 0, False, here, step, False, adds)
    if operand.kind != FULL:
        out = shift(grads if operand.in_grads else scratch, operand.bar)
        reduce_rows(operand.kind, target, step, n * pulled, 1.0, out, operand.row, operand.adds)


@part
def _pull_unary(
    program: Program,
    it: Instruction,
    bar: Any,
    own: Any,
    gates: Any,
    packed: Any,
    scratch: Any,
    n: int,
    tangents: int,
    grads: Any,
) -> None:
    """f'(x) times the result's cotangent; f''(x) x' times those of the tangents."""
    operand, step, size, adds = it.operands[0], it.step, n * it.step, it.operands[0].adds
    x, a = shift(one_of(operand.space, own, gates, packed), operand.at), shift(own, it.at)
    target, slope = shift(grads if operand.in_grads else scratch, operand.bar), shift(scratch, program.block)
    slope_block(it.function, it.p, it.q, x, a, slope, size)
    if tangents > 0:
        pulled, curvature = shift(scratch, program.second_block), shift(scratch, program.third_block)
        for m in range(1, tangents + 1):
            pushed, pushed_bar = shift(x, m * size), shift(bar, m * size)
            product_rows(pulled, step, n, pushed, step, False, pushed_bar, step, False, m > 1)
        curvature_block(it.function, it.p, it.q, x, a, curvature, size)
        product_rows(target, step, n, slope, step, False, bar, step, False, adds)
        product_rows(target, step, n, curvature, step, False, pulled, step, False, True)
        if operand.pulls_tangents:
            for m in range(1, tangents + 1):
                below, pushed_bar = shift(target, m * size), shift(bar, m * size)
                product_rows(below, step, n, slope, step, False, pushed_bar, step, False, adds)
    else:
        product_rows(target, step, n, slope, step, False, bar, step, False, adds)
    if it.clears:
        clear_padding(target, it.columns, step, n + n * tangents if operand.pulls_tangents else n)


@part
def _pull_move(it: Instruction, bar: Any, scratch: Any, n: int, pushed: int, grads: Any) -> None:
    """Columns of the result's cotangent to where they came from."""
    for k in range(it.n_operands):
        operand = it.operands[k]
        if operand.wanted and not operand.adds:
            rows = n + pushed if operand.pulls_tangents else n
            clear_rows(shift(scratch, operand.bar), rows * operand.row)
    for k in range(it.n_runs):
        run = it.runs[k]
        operand = it.operands[run.source]
        if operand.wanted:
            target = shift(grads if operand.in_grads else scratch, operand.bar + run.first)
            source, rows = shift(bar, run.to), n + pushed if operand.pulls_tangents else n
            move_run(source, it.step, run.to_step, target, operand.row, run.step, run.count, rows, True)


@part
def _pull_linear(
    program: Program,
    it: Instruction,
    bar: Any,
    own: Any,
    gates: Any,
    packed: Any,
    scratch: Any,
    n: int,
    pushed: int,
    grads: Any,
) -> None:
    """The cotangents of bias, matrix and argument."""
    matrix, operand = it.matrix, it.operands[0]
    M, x = one_of(matrix.space, own, gates, packed), shift(one_of(operand.space, own, gates, packed), operand.at)
    n_in, n_out, in_step, out_step, x_row = matrix.n_in, matrix.n_out, matrix.in_step, matrix.out_step, operand.row
    if it.n_operands > 1 and it.operands[1].wanted:
        bias = it.operands[1]
        out = shift(grads if bias.in_grads else scratch, bias.bar)
        reduce_rows(ROW, bar, out_step, n, 1.0, out, 0, True)
    if matrix.wanted:
        W_bar, rows = shift(grads if matrix.in_grads else scratch, matrix.bar), n + pushed
        if matrix.by_input:
            spread_product(W_bar, in_step, W_bar, in_step, bar, 1, out_step, x, x_row, n_out, rows, in_step)
        else:
            spread_product(W_bar, out_step, W_bar, out_step, x, 1, x_row, bar, out_step, n_in, rows, out_step)
    if operand.wanted:
        target, rows = shift(grads if operand.in_grads else scratch, operand.bar), n
        if operand.pulls_tangents:
            rows += pushed
        zeros, W = shift(packed, program.zeros), shift(M, matrix.backward)
        if operand.adds:
            spread_product(target, in_step, target, in_step, bar, out_step, 1, W, in_step, rows, n_out, in_step)
        elif matrix.spreads_back:
            spread_product(zeros, 0, target, in_step, bar, out_step, 1, W, in_step, rows, n_out, in_step)
        else:
            W = shift(M, matrix.forward)
            dot_product(zeros, target, in_step, bar, out_step, W, out_step, rows, out_step, n_in)


@part
def _pull_matrix(it: Instruction, scratch: Any, grads: Any) -> None:
    """From the cotangent of a matrix to that of the row that fills it."""
    matrix, operand = it.matrix, it.operands[0]
    row_bar, W_bar = shift(grads if operand.in_grads else scratch, operand.bar), shift(scratch, matrix.bar)
    by_out, by_in = 1, matrix.out_step
    if matrix.by_input:
        by_out, by_in = matrix.in_step, 1
    for o in range(matrix.n_out):
        for i in range(matrix.n_in):
            row_bar[o * matrix.n_in + i] += W_bar[o * by_out + i * by_in]
