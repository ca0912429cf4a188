"""Slope and cotangents of a system whose field is a program: around its instructions, what a flow adds."""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import part
from pynode.engines.fused.field.cotangents import set_output_bar
from pynode.engines.fused.field.layout import Field
from pynode.engines.fused.field.value import write_slope
from pynode.engines.fused.program.cotangents import pull_program
from pynode.engines.fused.program.value import run_program
from pynode.engines.fused.rows import clear_rows
from pynode.engines.fused.simd import first_lanes, lanes, load, shift, store


@part
def value_of_program(field: Field, packed: Any, gates: Any, tape: Any, scratch: Any, n: int, slope: Any) -> None:
    """What `value` does for a chain."""
    _set_argument(field, tape, scratch, n)
    run_program(field.program, packed, gates, tape, scratch, n, field.n_tangents)
    write_slope(field, tape, scratch, n, slope)


@part
def cotangents_of_program(
    field: Field,
    packed: Any,
    gates: Any,
    tape: Any,
    scratch: Any,
    n: int,
    slope_bar: Any,
    y_bar: Any,
    grads: Any,
) -> None:
    """What `cotangents` does for a chain."""
    set_output_bar(field, tape, scratch, n, slope_bar, shift(scratch, field.program.value_bar))
    pull_program(field.program, packed, gates, tape, scratch, n, field.n_tangents, grads)
    _set_argument_bar(field, scratch, n, y_bar)


@part
def _set_argument(field: Field, tape: Any, scratch: Any, n: int) -> None:
    """The argument of a program and its tangents, where there are any."""
    program, state_step, width = field.program, field.state_step, lanes(tape)
    y, x, v = shift(tape, field.state), shift(tape, program.state), shift(scratch, field.directions)
    if field.n_tangents > 0:
        for r in range(n * (1 + field.n_tangents)):
            source = shift(y, r * state_step)
            if r >= n:
                source = shift(v, (r - n) * state_step)
            for j in range(0, program.state_step, width):
                store(x, r * program.state_step + j, first_lanes(load(source, j), field.dim - j))


@part
def _set_argument_bar(field: Field, scratch: Any, n: int, y_bar: Any) -> None:
    """From the cotangent of a program's argument to that of the state; the running costs have none."""
    program, step = field.program, field.state_step
    x_bar = shift(scratch, program.state_bar)
    clear_rows(y_bar, n * step)
    if program.has_state_bar:
        for s in range(n):
            for j in range(0, program.state_step, lanes(y_bar)):
                store(y_bar, s * step + j, load(x_bar, s * program.state_step + j))
