"""The continuous adjoint: adaptive steps back in time from output time to output time, where cotangents join.

With J = df/dy the adjoint obeys l' = -J^T l; its record holds J^T l as slopes, so it is advanced by minus the step.
Part 0 of the state's record is the state at the present time, part 1 its slope; the rest is there where the state is
solved backwards as well.
"""

from __future__ import annotations

import math
from typing import Any

from pynode.engines.fused.adaptive import find_between, first_step, judge, probe, set_weights, start
from pynode.engines.fused.description import COLUMNS, GATES, GRADS, STATE, TAPE_Y
from pynode.engines.fused.field_cotangents import field_cotangents
from pynode.engines.fused.field_value import field_value, set_gates
from pynode.engines.fused.jit import loop, part
from pynode.engines.fused.norms import add_plain_squares, add_squares
from pynode.engines.fused.opt_disc_forward import difference, set_stage_gates, slopes_of, start_tile
from pynode.engines.fused.opt_disc_gradient import (
    accept_sums,
    add_gradient_error,
    begin_sums,
    clear_first,
    clear_gradient,
    hand_over,
)
from pynode.engines.fused.opt_disc_tables import (
    AT_ADJOINT,
    AT_BOUNDS,
    AT_DESCRIPTION,
    AT_GRADS,
    AT_GROUPS,
    AT_PARTIAL,
    AT_SCRATCH,
    AT_SIZES,
    AT_STATE,
    AT_STATES,
    AT_TIMES,
    AT_WEIGHTS,
    BACKSOLVE,
    BATCH,
    C_FIELD,
    C_GATES,
    C_ROWS,
    C_SLOPE,
    C_TAPE,
    COUNT,
    DONE,
    DRIFT,
    DRIFT_OUTPUT,
    DRIFT_ROW,
    DRIFTED,
    END,
    ERROR,
    FIRST,
    GROUPS,
    HINT,
    IN_COTANGENT,
    IN_RECORDS,
    IN_STATE_BAR,
    IN_THETA,
    IN_TIMES,
    LAST,
    N_A,
    N_C,
    N_DRIFT,
    N_F,
    N_TOLERANCES,
    N_VJP,
    NEW,
    NON_FINITE,
    NORM,
    OUTPUT,
    OUTPUTS,
    RECORD,
    RMS,
    RUNNING,
    SCRATCH_SIZE,
    SEMINORM,
    SIZE,
    SLOPE_NORM,
    SLOTS,
    STATUS,
    STEP,
    STEPS,
    SUMS,
    TAPE_READY,
    TILES,
    TIME,
    TRIED,
    UNWANTED,
    W_A,
    W_BETWEEN,
    W_E,
    W_PLACE,
    W_SCALE,
    W_STATE_A,
    W_STATE_E,
    WEIGHTS,
)
from pynode.engines.fused.padded import add_rows, copy_rows, read_rows, write_rows
from pynode.engines.fused.pairs import STAGES
from pynode.engines.fused.records import (
    add_error,
    advance,
    between_rows,
    stage_rows,
)
from pynode.engines.fused.simd import pointer_at, shift


@part
def begin_back(q: Any, c: Any, m: Any, a: Any, s: Any) -> None:
    """At the last output time: the adjoint is the cotangent; chooses the first step."""
    d, times, last = shift(q, q[AT_DESCRIPTION]), shift(s, q[AT_TIMES]), q[OUTPUTS] - 1
    start(s, times[last], times[last - 1])
    s[OUTPUT], s[N_F], s[N_VJP], s[TAPE_READY], s[HINT] = last - 1, 0.0, 0.0, 0.0, s[STEPS] - 1.0
    s[DRIFT], s[DRIFT_OUTPUT], s[DRIFT_ROW] = 0.0, last, 0.0
    k, size = shift(m, q[AT_ADJOINT]), q[SIZE]
    read_rows(d, shift(pointer_at(m, a[IN_COTANGENT]), last * q[BATCH] * d[COLUMNS]), k, q[BATCH])
    clear_gradient(q, m)
    restart(q, c, m, a, s, last)
    if s[STATUS] != RUNNING:
        return
    atol, rtol = c[N_TOLERANCES + 2], c[N_TOLERANCES + 3]
    s[SUMS], s[SUMS + 1], s[SUMS + 2] = 0.0, 0.0, 0.0
    add_squares(s, SUMS, k, k, k, atol, rtol, size)
    add_squares(s, SUMS + 1, shift(k, size), k, k, atol, rtol, size)
    slope = math.sqrt(s[SUMS + 1] / q[COUNT])
    if not slope < math.inf:
        s[STATUS] = NON_FINITE
        return
    probe(s, math.sqrt(s[SUMS] / q[COUNT]), slope)
    # one step of Euler's method, whose part of theta's gradient nobody wants, in the room of the next record
    state, w = shift(m, q[AT_STATE]), shift(s, q[AT_WEIGHTS])
    y = state
    w[0] = -s[STEP]
    stage_rows(k, size, 1.0, w, 1, shift(k, NEW * size), size)
    t = s[TIME] + s[STEP]
    if q[BACKSOLVE] == 1:
        y = shift(state, NEW * size)
        w[0] = s[STEP]
        stage_rows(state, size, 1.0, w, 1, y, size)
    else:
        state_at(q, c, m, a, s, t)
    slope_of_state = shift(state, (LAST if q[BACKSOLVE] == 1 else 1) * size)
    slopes_back(q, m, a, s, t, y, slope_of_state, shift(k, NEW * size), shift(k, LAST * size), STAGES - 1)
    s[TAPE_READY] = 0.0
    difference(shift(k, size), shift(k, LAST * size), shift(k, NEW * size), size)
    add_squares(s, SUMS + 2, shift(k, NEW * size), k, k, atol, rtol, size)
    first_step(s, slope, math.sqrt(s[SUMS + 2] / q[COUNT]))


@part
def restart(q: Any, c: Any, m: Any, a: Any, s: Any, output: int) -> None:
    """The slopes at an output time, where state and adjoint have changed."""
    k, state, size = shift(m, q[AT_ADJOINT]), shift(m, q[AT_STATE]), q[SIZE]
    s[SUMS] = 0.0
    add_plain_squares(s, SUMS, k, size)
    if not s[SUMS] < math.inf:
        s[STATUS] = NON_FINITE
        return
    clear_first(q, m)
    if q[BACKSOLVE] == 1:
        copy_rows(shift(m, q[AT_STATES] + output * size), state, size)
    elif s[TAPE_READY] == 0.0:
        state_at(q, c, m, a, s, s[TIME])
    slopes_back(q, m, a, s, s[TIME], state, shift(state, size), k, shift(k, size), FIRST)


@part
def state_at(q: Any, c: Any, m: Any, a: Any, s: Any, t: float) -> None:
    """The state of all samples at one time, from the forward solve, into part 0 of its record."""
    w = shift(s, q[AT_WEIGHTS])
    find_between(c, pointer_at(s, a[IN_TIMES]), int(s[STEPS]), t, 0.0, int(s[HINT]), w)
    k = shift(pointer_at(m, a[IN_RECORDS]), int(w[W_PLACE]) * RECORD * q[SIZE])
    between_rows(k, q[SIZE], shift(w, W_BETWEEN), shift(m, q[AT_STATE]), q[SIZE])


@part
def slopes_back(
    q: Any, m: Any, a: Any, s: Any, t: float, y: Any, slopes: Any, adjoint: Any, adjoint_slopes: Any, total: int
) -> None:
    """The slopes of state and adjoint of all samples at one time, by one worker; theta's into the sum `total`."""
    d, scratch = shift(q, q[AT_DESCRIPTION]), shift(m, q[AT_SCRATCH])
    field, tape, gates = shift(scratch, q[C_FIELD]), shift(scratch, q[C_TAPE]), shift(scratch, q[C_GATES])
    s[N_VJP] += 1.0
    if s[TAPE_READY] == 0.0:
        s[N_F] += 1.0
    set_gates(d, m, t, gates)
    for group in range(q[GROUPS]):
        g = shift(m, q[AT_GRADS] + (group * STAGES + total) * d[GRADS])
        for tile in range(q[q[AT_GROUPS] + group], q[q[AT_GROUPS] + group + 1]):
            first, n = q[q[AT_BOUNDS] + tile], q[q[AT_BOUNDS] + tile + 1] - q[q[AT_BOUNDS] + tile]
            at = first * d[STATE]
            start_tile(d, m, a, field, first, n)
            if s[TAPE_READY] == 0.0:
                copy_rows(shift(y, at), shift(tape, d[TAPE_Y]), n * d[STATE])
                field_value(d, m, gates, tape, field, n, shift(slopes, at))
            field_cotangents(d, m, gates, t, tape, field, n, shift(adjoint, at), shift(adjoint_slopes, at), g)


@part
def attempt_back(q: Any, c: Any, m: Any, a: Any, s: Any, worker: int, workers: int) -> None:
    """Tries the step with one worker's part of the tiles; leaves each tile's sums of squared errors."""
    scratch, w = shift(m, q[AT_SCRATCH] + worker * q[SCRATCH_SIZE]), shift(s, q[AT_WEIGHTS] + worker * WEIGHTS)
    if q[BACKSOLVE] == 1:
        set_weights(c, s[STEP], False, w)
        for i in range(STAGES * STAGES):
            w[W_STATE_A + i] = w[W_A + i]
        for i in range(STAGES):
            w[W_STATE_E + i] = w[W_E + i]
    else:
        find_between(c, pointer_at(s, a[IN_TIMES]), int(s[STEPS]), s[TIME], s[STEP], int(s[HINT]), w)
    set_weights(c, -s[STEP], q[NORM] == SEMINORM, w)
    set_stage_gates(q, c, m, s, scratch)
    for group in range(worker, q[GROUPS], workers):
        begin_sums(q, c, m, s, group)
        for tile in range(q[q[AT_GROUPS] + group], q[q[AT_GROUPS] + group + 1]):
            _attempt_tile(q, c, m, a, s, w, scratch, group, tile)


@part
def _attempt_tile(q: Any, c: Any, m: Any, a: Any, s: Any, w: Any, scratch: Any, group: int, tile: int) -> None:
    d, field, tape = shift(q, q[AT_DESCRIPTION]), shift(scratch, q[C_FIELD]), shift(scratch, q[C_TAPE])
    first, n = q[q[AT_BOUNDS] + tile], q[q[AT_BOUNDS] + tile + 1] - q[q[AT_BOUNDS] + tile]
    size, at, rows = q[SIZE], first * d[STATE], n * d[STATE]
    k, state = shift(m, q[AT_ADJOINT] + at), shift(m, q[AT_STATE] + at)
    y, slope, bar = shift(tape, d[TAPE_Y]), shift(scratch, q[C_SLOPE]), shift(scratch, q[C_ROWS])
    sums = shift(m, q[AT_GRADS] + group * STAGES * d[GRADS])
    start_tile(d, m, a, field, first, n)
    for i in range(1, STAGES):
        final = i == STAGES - 1
        gates = shift(scratch, q[C_GATES] + i * d[GATES])
        if q[BACKSOLVE] == 1:
            stage_rows(state, size, 1.0, shift(w, W_STATE_A + i * STAGES), i, y, rows)
            if final:
                copy_rows(y, shift(state, NEW * size), rows)
            slope = shift(state, (LAST if final else i + 1) * size)
            field_value(d, m, gates, tape, field, n, slope)
        elif c[N_C + i] != c[N_C + i - 1]:
            record = shift(pointer_at(m, a[IN_RECORDS]), int(w[W_PLACE + i]) * RECORD * size + at)
            between_rows(record, size, shift(w, W_BETWEEN + i * STAGES), y, rows)
            field_value(d, m, gates, tape, field, n, slope)
        if final:
            bar = shift(k, NEW * size)
        stage_rows(k, size, w[W_SCALE + i], shift(w, W_A + i * STAGES), i, bar, rows)
        total = i
        if q[NORM] == SEMINORM and not final:
            total = UNWANTED if c[N_A + (STAGES - 1) * STAGES + i] == 0.0 else TRIED
        to, g = shift(k, (LAST if final else i + 1) * size), shift(sums, total * d[GRADS])
        field_cotangents(d, m, gates, s[TIME] + c[N_C + i] * s[STEP], tape, field, n, bar, to, g)
    partial, held = q[AT_PARTIAL] + 2 * tile, shift(scratch, q[C_ROWS])
    atol, rtol = c[N_TOLERANCES + 2], c[N_TOLERANCES + 3]
    s[partial], s[partial + 1] = 0.0, 0.0
    add_error(k, size, shift(w, W_E), atol, rtol, rows, held, s, partial)
    if q[BACKSOLVE] == 1:
        add_error(state, size, shift(w, W_STATE_E), atol, rtol, rows, held, s, partial + 1)


@part
def conclude_back(q: Any, c: Any, m: Any, a: Any, s: Any) -> None:
    """What follows an attempt: the verdict, the next record, and at an output time its cotangent."""
    _total_error(q, c, m, a, s)
    fresh = 0
    for i in range(1, STAGES):
        if q[BACKSOLVE] == 1 or c[N_C + i] != c[N_C + i - 1]:
            fresh += 1
    s[N_F] += fresh
    s[N_VJP] += STAGES - 1
    judge(c, s)
    if not s[ERROR] <= 1.0:
        return
    advance(shift(m, q[AT_ADJOINT]), q[SIZE])
    accept_sums(q, m)
    if q[BACKSOLVE] == 1:
        advance(shift(m, q[AT_STATE]), q[SIZE])
    else:
        s[HINT] = s[q[AT_WEIGHTS] + W_PLACE + STAGES - 1]
        s[TAPE_READY] = 1.0 if q[TILES] == 1 else 0.0
    if s[TIME] == s[END]:
        _cross_output(q, c, m, a, s)


@part
def _total_error(q: Any, c: Any, m: Any, a: Any, s: Any) -> None:
    """ERROR by the norm that was asked for."""
    adjoint, state = 0.0, 0.0
    for tile in range(q[TILES]):
        adjoint += s[q[AT_PARTIAL] + 2 * tile]
        state += s[q[AT_PARTIAL] + 2 * tile + 1]
    if q[NORM] == RMS:
        s[ERROR] = adjoint + state
        add_gradient_error(q, c, m, a, s)
        entries = q[COUNT] * (1 + q[BACKSOLVE])
        for slot in range(q[SLOTS]):
            if a[IN_THETA + q[SLOTS] + slot] != 0:
                entries += q[q[AT_SIZES] + slot]
        s[ERROR] = math.sqrt(s[ERROR] / entries)
        return
    s[ERROR] = math.sqrt((adjoint if not state > adjoint else state) / q[COUNT])
    if not state < math.inf:
        s[ERROR] = state
    if q[NORM] != SEMINORM:
        add_gradient_error(q, c, m, a, s)


@part
def _cross_output(q: Any, c: Any, m: Any, a: Any, s: Any) -> None:
    """Adds the cotangent of the output time that has been reached, and begins anew from there, or hands over."""
    d, output, k = shift(q, q[AT_DESCRIPTION]), int(s[OUTPUT]), shift(m, q[AT_ADJOINT])
    if q[BACKSOLVE] == 1:
        measure_drift(d, c, shift(m, q[AT_STATE]), shift(m, q[AT_STATES] + output * q[SIZE]), q[BATCH], output, s)
        if s[DRIFT] > c[N_DRIFT]:
            s[STATUS] = DRIFTED
            return
    add_rows(d, shift(pointer_at(m, a[IN_COTANGENT]), output * q[BATCH] * d[COLUMNS]), k, q[BATCH])
    if output > 0:
        s[OUTPUT], s[END] = output - 1, s[q[AT_TIMES] + output - 1]
        restart(q, c, m, a, s, output)
        return
    if a[IN_STATE_BAR] != 0:
        write_rows(d, k, pointer_at(m, a[IN_STATE_BAR]), q[BATCH])
    hand_over(q, m, a)
    s[STATUS] = DONE


@loop
def measure_drift(d: Any, c: Any, solved: Any, stored: Any, batch: int, output: int, s: Any) -> None:
    """The largest drift of a sample so far: what `pynode.drift.drift_of` measures, on padded rows."""
    columns = d[COLUMNS]
    for row in range(batch):
        error, size = 0.0, 0.0
        for j in range(columns):
            y = float(stored[row * d[STATE] + j])
            off = float(solved[row * d[STATE] + j]) - y
            error += off * off
            size += y * y
        drift = math.sqrt(error / columns) / (c[N_DRIFT + 1] + c[N_DRIFT + 2] * math.sqrt(size / columns))
        if not drift <= s[DRIFT]:
            s[DRIFT], s[DRIFT_OUTPUT], s[DRIFT_ROW] = drift, output, row
            if drift != drift:
                s[DRIFT] = math.inf


@part
def slope_norm_back(q: Any, c: Any, m: Any, a: Any, s: Any) -> None:
    """The 2-norm of the state's slope where the adjoint stopped."""
    state, size = shift(m, q[AT_STATE]), q[SIZE]
    if q[BACKSOLVE] == 0:
        state_at(q, c, m, a, s, s[TIME])
    slopes_of(q, m, a, state, shift(state, size), s[TIME])
    s[SLOPE_NORM] = 0.0
    add_plain_squares(s, SLOPE_NORM, shift(state, size), size)
    s[SLOPE_NORM] = math.sqrt(s[SLOPE_NORM])
