"""What adaptive solves and their adjoints share: records, stages of an embedded pair, its error and its interpolant.

A *step* takes STAGES parts of memory, each `plan.size` numbers: its state, then six slopes.  Behind it lies the next
step, whose state and first slope (NEW and LAST) are this step's last stage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pynode.engines.fused.compile import loop, part
from pynode.engines.fused.controller import Progress
from pynode.engines.fused.field.interface import set_directions, set_gates, value
from pynode.engines.fused.field.layout import Field
from pynode.engines.fused.records import Floats, Ints, Numbers, Record, Tableau, Tensors, Tiles
from pynode.engines.fused.rows import HELD, add_plain_squares, add_squares, copy_rows
from pynode.engines.fused.simd import lanes, load, muladd, shift, splat, store

STAGES, DEGREE = 7, 4
"""Stages of the pairs, whose last is the next step's first; degree of the interpolant."""

NEW, LAST, PARTS = STAGES, STAGES + 1, STAGES + 2
"""Behind a step: the next one's state and first slope; and the number of parts with these."""

MIXED, SEMINORM, RMS = range(3)
"""`AdaptivePlan.norm`."""


@dataclass(eq=False)
class AdaptivePlan(Record):
    """A solve, whatever its times and tensors are."""

    field: Field
    tiles: Tiles
    tableau: Tableau
    exponent: float  # of the controller, for this step's error and for that of the step before
    exponent_before: float
    atol: float
    rtol: float
    back_atol: float
    back_rtol: float
    max_drift: float  # that is accepted, and its absolute and relative unit
    drift_atol: float
    drift_rtol: float
    max_steps: int
    n_outputs: int
    lands: bool  # the forward solve steps onto output times
    backsolves: bool
    keeps: bool  # the forward solve's steps stay, for their interpolant
    norm: int  # what controls the adjoint's steps
    size: int  # of a part
    n_entries: int  # of the whole state
    n_slots: int
    slot_sizes: Ints  # of theta's tensors
    padded_sizes: Ints
    theta_size: int  # of one vector of all of them, padded
    # a worker's scratch memory: the field's own, then the gates of all stages, a tape, and rows of a tile
    scratch_size: int
    gates: int
    tape: int
    rows: int
    slopes: int


@dataclass(eq=False)
class Weights(Record):
    """One worker's weights for an attempt of a step."""

    stages: Floats  # (STAGES, STAGES), of the slopes in the states of all stages
    error: Floats
    scale: Floats  # what the slope of each stage is kept times
    places: Ints  # for each stage, the step of the forward solve that its time lies in
    between: Floats  # (STAGES, STAGES), the interpolant's there


@dataclass(eq=False)
class AdaptiveSolve(Record):
    """One solve: its plan, its times and tensors, where it is, and its memory."""

    plan: AdaptivePlan
    now: Progress
    tensors: Tensors
    outputs: Floats  # the output times
    weights: list[Weights]
    state_weights: list[Weights]  # of the state, where that is solved backwards as well
    squares: Floats  # a few sums of them
    errors: Floats  # two a tile: sums of squares, of state or adjoint, and of the state that is solved backwards
    theta_change: Ints  # the addresses of a vector like theta's tensors: what a step adds to the gradient
    theta_error: Ints  # and its error
    steps: Numbers  # of the forward solve: all, or the present one
    times: Floats  # 2 k: when step k begins; 2 k + 1: its size
    packed: Numbers  # parameters
    scratch: Numbers  # of all workers
    adjoint: Numbers  # a step
    state: Numbers  # a step of the state that is solved backwards; else two parts, for interpolated states
    states: Numbers  # those at the output times, from where the state is solved backwards
    grads: Numbers  # each group's STAGES cotangents of the packed parameters, see `adjoint_gradient`
    grads_sum: Numbers
    theta: Numbers  # three vectors like theta's tensors: the gradient, what a step adds, and its error


@loop
def set_weights(tableau: Tableau, h: float, scaled: bool, weights: Weights) -> None:
    """Writes the weights of all stages of a step `h`, and those of its error.

    Where `scaled`, the slope of a stage is kept times its weight in the solution, where that is not zero: what it adds
    to a quadrature alongside then has that weight already.  The first and the last stage, which two steps share, are
    kept as they are.
    """
    # pointers are read once: the compiler can't know that what is written here is none of them
    a, b, of_error = tableau.a, tableau.b, tableau.error
    stages, error, scale = weights.stages, weights.error, weights.scale
    for i in range(STAGES):
        scale[i] = 1.0
        if scaled and 0 < i < STAGES - 1 and b[i] != 0.0:
            scale[i] = h * b[i]
    for j in range(STAGES):
        of_slope = h / scale[j]
        error[j] = of_slope * of_error[j]
        for i in range(j + 1, STAGES):
            stages[i * STAGES + j] = scale[i] * of_slope * a[i * STAGES + j]


@loop
def find_between(solve: AdaptiveSolve, t: float, h: float, weights: Weights) -> None:
    """For each stage of a step `h` from `t`: which forward step its time lies in, and the interpolant's weights."""
    tableau, times, place, last = solve.plan.tableau, solve.times, solve.now.hint, solve.now.n_steps - 1
    c, places, between = tableau.c, weights.places, weights.between
    for i in range(STAGES):
        at = t + c[i] * h
        forward = times[1] > 0.0
        while place > 0 and (at < times[2 * place]) == forward and at != times[2 * place]:
            place -= 1
        while place < last and (at > times[2 * place + 2]) == forward and at != times[2 * place + 2]:
            place += 1
        places[i] = place
        size = times[2 * place + 1]
        interpolate_weights(tableau, (at - times[2 * place]) / size, size, shift(between, i * STAGES))


@loop
def interpolate_weights(tableau: Tableau, x: float, h: float, weights: Any) -> None:
    """The weights of a step's slopes at the part `x` of its size `h`."""
    coefficients = tableau.interpolant
    for j in range(STAGES):
        weight = 0.0
        for k in range(DEGREE - 1, -1, -1):
            weight = x * (weight + coefficients[j * DEGREE + k])
        weights[j] = h * weight


@loop
def interpolate(step: Any, size: int, weights: Any, out: Any, rows: int) -> None:
    """The interpolant between a step's state and the next one's, by the weights of `interpolate_weights`."""
    for i in range(0, rows, lanes(out)):
        between = load(step, i)
        for j in range(STAGES - 1):
            between = muladd(load(step, (j + 1) * size + i), splat(out, weights[j]), between)
        store(out, i, muladd(load(step, LAST * size + i), splat(out, weights[STAGES - 1]), between))


@loop
def add_error(
    step: Any, size: int, weights: Any, atol: float, rtol: float, rows: int, held: Any, sums: Any, at: int
) -> None:
    """Adds to sums[at] the squares of a step's scaled error; `held` is for `HELD` numbers."""
    i = 0
    while i < rows:
        n = min(HELD, rows - i)
        for k in range(0, n, lanes(held)):
            error = load(step, LAST * size + i + k) * weights[STAGES - 1]
            for j in range(STAGES - 1):
                error = muladd(load(step, (j + 1) * size + i + k), splat(held, weights[j]), error)
            store(held, k, error)
        add_squares(held, shift(step, i), shift(step, NEW * size + i), atol, rtol, n, sums, at)
        i += n


@part
def advance(step: Any, size: int) -> None:
    """The next step takes this one's place."""
    copy_rows(shift(step, NEW * size), step, 2 * size)


@part
def difference(x: Any, y: Any, out: Any, size: int) -> None:
    """out = y - x."""
    for i in range(size):
        out[i] = y[i] - x[i]


@part
def set_slope_norm(solve: AdaptiveSolve, slopes: Any) -> None:
    """The 2-norm of the slope where the solve stopped."""
    solve.squares[0] = 0.0
    add_plain_squares(slopes, solve.plan.size, solve.squares, 0)
    solve.now.slope_norm = math.sqrt(solve.squares[0])


@part
def start_tile(solve: AdaptiveSolve, scratch: Any, first: int, n: int) -> None:
    """Sets the directions of the tile's tangents."""
    field = solve.plan.field
    if field.n_tangents > 0:
        set_directions(field, scratch, shift(solve.tensors.probes, first * field.dim), n)


@part
def set_stage_gates(solve: AdaptiveSolve, scratch: Any) -> None:
    """The gates of all stages of the step."""
    field, now, gates = solve.plan.field, solve.now, shift(scratch, solve.plan.gates)
    for i in range(STAGES):
        t = now.time + solve.plan.tableau.c[i] * now.step
        set_gates(field, solve.packed, t, shift(gates, i * field.gates_size))


@loop
def slopes_of(solve: AdaptiveSolve, y: Any, slopes: Any, t: float) -> None:
    """The slopes of all samples at one time, by one worker."""
    plan, field, tiles, scratch = solve.plan, solve.plan.field, solve.plan.tiles, solve.scratch
    gates, tape = shift(scratch, plan.gates), shift(scratch, plan.tape)
    set_gates(field, solve.packed, t, gates)
    for tile in range(tiles.n_tiles):
        first, n = tiles.starts[tile], tiles.starts[tile + 1] - tiles.starts[tile]
        at = first * field.state_step
        start_tile(solve, scratch, first, n)
        copy_rows(shift(y, at), shift(tape, field.state), n * field.state_step)
        value(field, solve.packed, gates, tape, scratch, n, shift(slopes, at))
