"""The forward solve: adaptive steps of the whole batch with one step size, output times by the pair's interpolant.

`q`, `c` are the tables of the plan, `m` its memory, `a` the addresses, `s` the run, and `k` the present record.
"""

from __future__ import annotations

import math
from typing import Any

from pynode.engines.fused.adaptive import choose, first_step, interpolate_weights, judge, probe, set_weights, start
from pynode.engines.fused.description import COLUMNS, DIM, GATES, STATE, TANGENTS, TAPE_Y
from pynode.engines.fused.field_value import field_value, set_directions, set_gates
from pynode.engines.fused.jit import loop, part
from pynode.engines.fused.norms import add_plain_squares, add_squares
from pynode.engines.fused.opt_disc_tables import (
    AT_BOUNDS,
    AT_DESCRIPTION,
    AT_GROUPS,
    AT_PARTIAL,
    AT_SCRATCH,
    AT_STATE,
    AT_STATES,
    AT_TIMES,
    AT_WEIGHTS,
    BACKSOLVE,
    BATCH,
    C_FIELD,
    C_GATES,
    C_ROWS,
    C_TAPE,
    CAPACITY,
    COUNT,
    DONE,
    END,
    ERROR,
    FULL,
    GROUPS,
    IN_PROBES,
    IN_RECORDS,
    IN_STATE,
    IN_STATES,
    IN_THETA,
    IN_TIMES,
    KEEP,
    LANDING,
    LAST,
    N_C,
    N_F,
    N_GAMMA,
    N_TOLERANCES,
    NEW,
    NON_FINITE,
    OUTPUT,
    OUTPUTS,
    RECORD,
    RUNNING,
    SCRATCH_SIZE,
    SIZE,
    SLOPE_NORM,
    STATUS,
    STEP,
    STEPS,
    SUMS,
    TILES,
    TIME,
    W_A,
    W_E,
    WEIGHTS,
)
from pynode.engines.fused.padded import copy_rows, read_rows, write_rows
from pynode.engines.fused.pairs import STAGES
from pynode.engines.fused.parameters import pack
from pynode.engines.fused.records import (
    add_error,
    advance,
    between_rows,
    stage_rows,
)
from pynode.engines.fused.simd import pointer_at, shift


@part
def begin(q: Any, c: Any, m: Any, a: Any, s: Any) -> None:
    """Packs the parameters, sets the first record and chooses the first step; two evaluations."""
    d = shift(q, q[AT_DESCRIPTION])
    pack(d, c[N_GAMMA], shift(a, IN_THETA), m)
    times = shift(s, q[AT_TIMES])
    start(s, times[0], times[1 if q[LANDING] == 1 else q[OUTPUTS] - 1])
    s[STEPS], s[OUTPUT], s[N_F] = 0.0, 1.0, 2.0
    k, size = pointer_at(m, a[IN_RECORDS]), q[SIZE]
    pointer_at(s, a[IN_TIMES])[0] = times[0]
    read_rows(d, pointer_at(m, a[IN_STATE]), k, q[BATCH])
    write_rows(d, k, pointer_at(m, a[IN_STATES]), q[BATCH])
    if q[BACKSOLVE] == 1:
        copy_rows(k, shift(m, q[AT_STATES]), size)
    atol, rtol = c[N_TOLERANCES], c[N_TOLERANCES + 1]
    s[SUMS], s[SUMS + 1], s[SUMS + 2] = 0.0, 0.0, 0.0
    slopes_of(q, m, a, k, shift(k, size), s[TIME])
    add_squares(s, SUMS, k, k, k, atol, rtol, size)
    add_squares(s, SUMS + 1, shift(k, size), k, k, atol, rtol, size)
    slope = math.sqrt(s[SUMS + 1] / q[COUNT])
    if not slope < math.inf:
        s[STATUS], s[N_F] = NON_FINITE, 1.0
        return
    probe(s, math.sqrt(s[SUMS] / q[COUNT]), slope)
    # the next record lends its room
    other, weights = shift(k, NEW * size), shift(s, q[AT_WEIGHTS])
    weights[0] = s[STEP]
    stage_rows(k, size, 1.0, weights, 1, other, size)
    slopes_of(q, m, a, other, shift(k, LAST * size), s[TIME] + s[STEP])
    weights[0], weights[1] = 1.0, -1.0
    difference(shift(k, size), shift(k, LAST * size), other, size)
    add_squares(s, SUMS + 2, other, k, k, atol, rtol, size)
    first_step(s, slope, math.sqrt(s[SUMS + 2] / q[COUNT]))


@part
def difference(x: Any, y: Any, out: Any, size: int) -> None:
    """out = y - x."""
    for i in range(size):
        out[i] = y[i] - x[i]


@loop
def slopes_of(q: Any, m: Any, a: Any, y: Any, slopes: Any, t: float) -> None:
    """The slopes of all samples at one time, by one worker."""
    d, scratch = shift(q, q[AT_DESCRIPTION]), shift(m, q[AT_SCRATCH])
    gates, tape = shift(scratch, q[C_GATES]), shift(scratch, q[C_TAPE])
    set_gates(d, m, t, gates)
    for tile in range(q[TILES]):
        first, n = q[q[AT_BOUNDS] + tile], q[q[AT_BOUNDS] + tile + 1] - q[q[AT_BOUNDS] + tile]
        start_tile(d, m, a, shift(scratch, q[C_FIELD]), first, n)
        copy_rows(shift(y, first * d[STATE]), shift(tape, d[TAPE_Y]), n * d[STATE])
        field_value(d, m, gates, tape, shift(scratch, q[C_FIELD]), n, shift(slopes, first * d[STATE]))


@part
def start_tile(d: Any, m: Any, a: Any, field: Any, first: int, n: int) -> None:
    """Sets the directions of the tile's tangents."""
    if d[TANGENTS] > 0:
        set_directions(d, field, shift(pointer_at(m, a[IN_PROBES]), first * d[DIM]), n)


@part
def set_stage_gates(q: Any, c: Any, m: Any, s: Any, scratch: Any) -> None:
    """The gates of all stages of the step."""
    d = shift(q, q[AT_DESCRIPTION])
    for i in range(STAGES):
        set_gates(d, m, s[TIME] + c[N_C + i] * s[STEP], shift(scratch, q[C_GATES] + i * d[GATES]))


@part
def attempt(q: Any, c: Any, m: Any, a: Any, s: Any, worker: int, workers: int) -> None:
    """Tries the step with one worker's part of the tiles; leaves each tile's sum of squared errors."""
    scratch, w = shift(m, q[AT_SCRATCH] + worker * q[SCRATCH_SIZE]), shift(s, q[AT_WEIGHTS] + worker * WEIGHTS)
    set_weights(c, s[STEP], False, w)
    set_stage_gates(q, c, m, s, scratch)
    for group in range(worker, q[GROUPS], workers):
        for tile in range(q[q[AT_GROUPS] + group], q[q[AT_GROUPS] + group + 1]):
            _attempt_tile(q, c, m, a, s, w, scratch, tile)


@part
def _attempt_tile(q: Any, c: Any, m: Any, a: Any, s: Any, w: Any, scratch: Any, tile: int) -> None:
    d, field, tape = shift(q, q[AT_DESCRIPTION]), shift(scratch, q[C_FIELD]), shift(scratch, q[C_TAPE])
    first, n = q[q[AT_BOUNDS] + tile], q[q[AT_BOUNDS] + tile + 1] - q[q[AT_BOUNDS] + tile]
    k = shift(pointer_at(m, a[IN_RECORDS]), int(s[STEPS]) * q[KEEP] * RECORD * q[SIZE] + first * d[STATE])
    size, rows = q[SIZE], n * d[STATE]
    start_tile(d, m, a, field, first, n)
    for i in range(1, STAGES):
        y = shift(tape, d[TAPE_Y])
        stage_rows(k, size, 1.0, shift(w, W_A + i * STAGES), i, y, rows)
        if i == STAGES - 1:
            copy_rows(y, shift(k, NEW * size), rows)
        slope = shift(k, (LAST if i == STAGES - 1 else i + 1) * size)
        field_value(d, m, shift(scratch, q[C_GATES] + i * d[GATES]), tape, field, n, slope)
    s[q[AT_PARTIAL] + tile] = 0.0
    atol, rtol = c[N_TOLERANCES], c[N_TOLERANCES + 1]
    add_error(k, size, shift(w, W_E), atol, rtol, rows, shift(scratch, q[C_ROWS]), s, q[AT_PARTIAL] + tile)


@part
def conclude(q: Any, c: Any, m: Any, a: Any, s: Any) -> None:
    """What follows an attempt: the verdict, outputs, the next record, and the next step."""
    squares = 0.0
    for tile in range(q[TILES]):
        squares += s[q[AT_PARTIAL] + tile]
    s[ERROR] = math.sqrt(squares / q[COUNT])
    s[N_F] += STAGES - 1
    before = s[TIME]
    judge(c, s)
    if s[ERROR] <= 1.0:
        steps, size = int(s[STEPS]), q[SIZE]
        times = pointer_at(s, a[IN_TIMES])
        k = shift(pointer_at(m, a[IN_RECORDS]), steps * q[KEEP] * RECORD * size)
        _write_outputs(q, c, m, a, s, k, before)
        times[2 * steps * q[KEEP] + 1], times[2 * steps * q[KEEP] + 2] = s[STEP], s[TIME]
        if q[KEEP] == 0:
            advance(k, size)
        s[STEPS] = steps + 1
        if s[OUTPUT] == q[OUTPUTS]:
            s[STATUS] = DONE
        elif q[LANDING] == 1:
            s[END] = s[q[AT_TIMES] + int(s[OUTPUT])]


@part
def _write_outputs(q: Any, c: Any, m: Any, a: Any, s: Any, k: Any, before: float) -> None:
    """States at the output times in the step that has just been accepted."""
    d, outputs, weights = shift(q, q[AT_DESCRIPTION]), shift(s, q[AT_TIMES]), shift(s, q[AT_WEIGHTS])
    rows = shift(m, q[AT_STATE])
    while s[OUTPUT] < q[OUTPUTS]:
        output = int(s[OUTPUT])
        t = outputs[output]
        if t != s[TIME] and (t > s[TIME]) == (s[STEP] > 0.0):
            return
        y = shift(k, NEW * q[SIZE])
        if t != s[TIME]:
            interpolate_weights(c, (t - before) / s[STEP], s[STEP], weights)
            between_rows(k, q[SIZE], weights, rows, q[SIZE])
            y = rows
        write_rows(d, y, shift(pointer_at(m, a[IN_STATES]), output * q[BATCH] * d[COLUMNS]), q[BATCH])
        if q[BACKSOLVE] == 1:
            copy_rows(y, shift(m, q[AT_STATES] + output * q[SIZE]), q[SIZE])
        s[OUTPUT] = output + 1


@part
def prepare(q: Any, s: Any) -> None:
    """Before an attempt: the step's size, and room for its record."""
    choose(q, s)
    if s[STATUS] == RUNNING and s[STEPS] * q[KEEP] >= s[CAPACITY]:
        s[STATUS] = FULL


@part
def slope_norm(q: Any, m: Any, a: Any, s: Any) -> None:
    """The 2-norm of the slope where the solve stopped."""
    size = q[SIZE]
    k = shift(pointer_at(m, a[IN_RECORDS]), int(s[STEPS]) * q[KEEP] * RECORD * size)
    s[SLOPE_NORM] = 0.0
    add_plain_squares(s, SLOPE_NORM, shift(k, size), size)
    s[SLOPE_NORM] = math.sqrt(s[SLOPE_NORM])
