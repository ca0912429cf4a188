"""The continuous adjoint: adaptive steps back in time from output time to output time, where cotangents join.

With J = df/dy the adjoint obeys l' = -J^T l; its step holds J^T l as slopes, so it is advanced by minus the step.
Part 0 of the state's step is the state at the present time, part 1 its slope; the rest is there where the state is
solved backwards as well.
"""

from __future__ import annotations

import math
from typing import Any

from pynode.engines.fused.compile import loop, part
from pynode.engines.fused.continuous_adjoint_gradient import (
    FIRST,
    TRIED,
    UNWANTED,
    accept_sums,
    add_gradient_error,
    begin_sums,
    clear_first,
    clear_gradient,
    hand_over,
)
from pynode.engines.fused.controller import DONE, DRIFTED, NON_FINITE, RUNNING, first_step, judge, probe, start
from pynode.engines.fused.embedded import (
    LAST,
    NEW,
    RMS,
    SEMINORM,
    STAGES,
    AdaptiveSolve,
    Weights,
    add_error,
    advance,
    difference,
    find_between,
    interpolate,
    set_slope_norm,
    set_stage_gates,
    set_weights,
    slopes_of,
    start_tile,
)
from pynode.engines.fused.field.interface import cotangents, set_gates, value
from pynode.engines.fused.rows import (
    add_plain_squares,
    add_rows,
    add_squares,
    combine,
    copy_rows,
    read_rows,
    write_rows,
)
from pynode.engines.fused.simd import exists, shift


@part
def begin_back(solve: AdaptiveSolve) -> None:
    """At the last output time: the adjoint is the cotangent; chooses the first step."""
    plan, now, field, squares = solve.plan, solve.now, solve.plan.field, solve.squares
    size, batch, last, atol, rtol = plan.size, plan.tiles.batch, plan.n_outputs - 1, plan.back_atol, plan.back_rtol
    start(now, solve.outputs[last], solve.outputs[last - 1])
    now.output, now.n_f, now.n_vjp, now.tape_ready, now.hint = last - 1, 0, 0, False, now.n_steps - 1
    now.drift, now.drift_output, now.drift_row = 0.0, last, 0
    adjoint, slopes = solve.adjoint, shift(solve.adjoint, size)
    read_rows(field, shift(solve.tensors.cotangent, last * batch * field.columns), adjoint, batch)
    clear_gradient(solve)
    _restart(solve, last)
    if now.status != RUNNING:
        return
    squares[0], squares[1], squares[2] = 0.0, 0.0, 0.0
    add_squares(adjoint, adjoint, adjoint, atol, rtol, size, squares, 0)
    add_squares(slopes, adjoint, adjoint, atol, rtol, size, squares, 1)
    slope = math.sqrt(squares[1] / plan.n_entries)
    if not slope < math.inf:
        now.status = NON_FINITE
        return
    probe(now, math.sqrt(squares[0] / plan.n_entries), slope)
    # one step of Euler's method, whose part of theta's gradient nobody wants, in the room of the next step
    other, other_slopes, weights = shift(adjoint, NEW * size), shift(adjoint, LAST * size), solve.weights[0].stages
    weights[0] = -now.step
    combine(adjoint, size, 1.0, weights, 1, other, size)
    t = now.time + now.step
    y, y_slopes = solve.state, shift(solve.state, size)
    if plan.backsolves:
        y, y_slopes = shift(solve.state, NEW * size), shift(solve.state, LAST * size)
        weights[0] = now.step
        combine(solve.state, size, 1.0, weights, 1, y, size)
    else:
        _state_at(solve, t)
    _slopes_back(solve, t, y, y_slopes, other, other_slopes, STAGES - 1)
    now.tape_ready = False
    difference(slopes, other_slopes, other, size)
    add_squares(other, adjoint, adjoint, atol, rtol, size, squares, 2)
    first_step(now, slope, math.sqrt(squares[2] / plan.n_entries))


@part
def _restart(solve: AdaptiveSolve, output: int) -> None:
    """The slopes at an output time, where state and adjoint have changed."""
    now, size, adjoint, state = solve.now, solve.plan.size, solve.adjoint, solve.state
    solve.squares[0] = 0.0
    add_plain_squares(adjoint, size, solve.squares, 0)
    if not solve.squares[0] < math.inf:
        now.status = NON_FINITE
        return
    clear_first(solve)
    if solve.plan.backsolves:
        copy_rows(shift(solve.states, output * size), state, size)
    elif not now.tape_ready:
        _state_at(solve, now.time)
    _slopes_back(solve, now.time, state, shift(state, size), adjoint, shift(adjoint, size), FIRST)


@part
def _state_at(solve: AdaptiveSolve, t: float) -> None:
    """The state of all samples at one time, from the forward solve, into part 0 of its step."""
    weights, size = solve.weights[0], solve.plan.size
    find_between(solve, t, 0.0, weights)
    step = shift(solve.steps, weights.places[0] * STAGES * size)
    interpolate(step, size, weights.between, solve.state, size)


@part
def _slopes_back(
    solve: AdaptiveSolve, t: float, y: Any, slopes: Any, adjoint: Any, adjoint_slopes: Any, total: int
) -> None:
    """The slopes of state and adjoint of all samples at one time, by one worker; theta's into the sum `total`."""
    plan, now, field, tiles, scratch = solve.plan, solve.now, solve.plan.field, solve.plan.tiles, solve.scratch
    tape, gates = shift(scratch, plan.tape), shift(scratch, plan.gates)
    now.n_vjp += 1
    if not now.tape_ready:
        now.n_f += 1
    set_gates(field, solve.packed, t, gates)
    for group in range(tiles.n_groups):
        grads = shift(solve.grads, (group * STAGES + total) * field.grads_size)
        for tile in range(tiles.group_starts[group], tiles.group_starts[group + 1]):
            first, n = tiles.starts[tile], tiles.starts[tile + 1] - tiles.starts[tile]
            at = first * field.state_step
            start_tile(solve, scratch, first, n)
            if not now.tape_ready:
                copy_rows(shift(y, at), shift(tape, field.state), n * field.state_step)
                value(field, solve.packed, gates, tape, scratch, n, shift(slopes, at))
            bar, y_bar = shift(adjoint, at), shift(adjoint_slopes, at)
            cotangents(field, solve.packed, gates, t, tape, scratch, n, bar, y_bar, grads)


@part
def attempt_back(solve: AdaptiveSolve, worker: int, workers: int) -> None:
    """Tries the step with one worker's part of the tiles; leaves each tile's sums of squared errors."""
    plan, now, tiles, weights = solve.plan, solve.now, solve.plan.tiles, solve.weights[worker]
    scratch = shift(solve.scratch, worker * plan.scratch_size)
    if plan.backsolves:
        set_weights(plan.tableau, now.step, False, solve.state_weights[worker])
    else:
        find_between(solve, now.time, now.step, weights)
    set_weights(plan.tableau, -now.step, plan.norm == SEMINORM, weights)
    set_stage_gates(solve, scratch)
    for group in range(worker, tiles.n_groups, workers):
        begin_sums(solve, group)
        for tile in range(tiles.group_starts[group], tiles.group_starts[group + 1]):
            _attempt_tile(solve, weights, solve.state_weights[worker], scratch, group, tile)


@part
def _attempt_tile(
    solve: AdaptiveSolve, weights: Weights, state_weights: Weights, scratch: Any, group: int, tile: int
) -> None:
    plan, now, field, c, size = solve.plan, solve.now, solve.plan.field, solve.plan.tableau.c, solve.plan.size
    first, n = plan.tiles.starts[tile], plan.tiles.starts[tile + 1] - plan.tiles.starts[tile]
    at, rows, tape = first * field.state_step, n * field.state_step, shift(scratch, plan.tape)
    adjoint, state = shift(solve.adjoint, at), shift(solve.state, at)
    y, slopes, bar = shift(tape, field.state), shift(scratch, plan.slopes), shift(scratch, plan.rows)
    sums = shift(solve.grads, group * STAGES * field.grads_size)
    start_tile(solve, scratch, first, n)
    for i in range(1, STAGES):
        final = i == STAGES - 1
        gates = shift(scratch, plan.gates + i * field.gates_size)
        if plan.backsolves:
            combine(state, size, 1.0, shift(state_weights.stages, i * STAGES), i, y, rows)
            if final:
                copy_rows(y, shift(state, NEW * size), rows)
            slopes = shift(state, (LAST if final else i + 1) * size)
            value(field, solve.packed, gates, tape, scratch, n, slopes)
        elif c[i] != c[i - 1]:
            step = shift(solve.steps, weights.places[i] * STAGES * size + at)
            interpolate(step, size, shift(weights.between, i * STAGES), y, rows)
            value(field, solve.packed, gates, tape, scratch, n, slopes)
        if final:
            bar = shift(adjoint, NEW * size)
        combine(adjoint, size, weights.scale[i], shift(weights.stages, i * STAGES), i, bar, rows)
        total = i
        if plan.norm == SEMINORM and not final:
            total = UNWANTED if plan.tableau.b[i] == 0.0 else TRIED
        y_bar, grads = shift(adjoint, (LAST if final else i + 1) * size), shift(sums, total * field.grads_size)
        cotangents(field, solve.packed, gates, now.time + c[i] * now.step, tape, scratch, n, bar, y_bar, grads)
    errors, held, atol, rtol = solve.errors, shift(scratch, plan.rows), plan.back_atol, plan.back_rtol
    errors[2 * tile], errors[2 * tile + 1] = 0.0, 0.0
    add_error(adjoint, size, weights.error, atol, rtol, rows, held, errors, 2 * tile)
    if plan.backsolves:
        add_error(state, size, state_weights.error, atol, rtol, rows, held, errors, 2 * tile + 1)


@part
def conclude_back(solve: AdaptiveSolve) -> None:
    """What follows an attempt: the verdict, the next step, and at an output time its cotangent."""
    plan, now, c = solve.plan, solve.now, solve.plan.tableau.c
    _set_error(solve)
    for i in range(1, STAGES):
        if plan.backsolves or c[i] != c[i - 1]:
            now.n_f += 1
    now.n_vjp += STAGES - 1
    judge(now, plan.exponent, plan.exponent_before)
    if not now.error <= 1.0:
        return
    advance(solve.adjoint, plan.size)
    accept_sums(solve)
    if plan.backsolves:
        advance(solve.state, plan.size)
    else:
        now.hint = solve.weights[0].places[STAGES - 1]
        now.tape_ready = plan.tiles.n_tiles == 1
    if now.time == now.end:
        _cross_output(solve)


@part
def _set_error(solve: AdaptiveSolve) -> None:
    """The step's error by the norm that was asked for."""
    plan, now = solve.plan, solve.now
    adjoint, state = 0.0, 0.0
    for tile in range(plan.tiles.n_tiles):
        adjoint += solve.errors[2 * tile]
        state += solve.errors[2 * tile + 1]
    if plan.norm == RMS:
        now.error = adjoint + state
        add_gradient_error(solve)
        entries = plan.n_entries * (2 if plan.backsolves else 1)
        for slot in range(plan.n_slots):
            if solve.tensors.theta_bar[slot] != 0:
                entries += plan.slot_sizes[slot]
        now.error = math.sqrt(now.error / entries)
        return
    now.error = math.sqrt((adjoint if not state > adjoint else state) / plan.n_entries)
    if not state < math.inf:
        now.error = state
    if plan.norm != SEMINORM:
        add_gradient_error(solve)


@part
def _cross_output(solve: AdaptiveSolve) -> None:
    """Adds the cotangent of the output time that has been reached, and begins anew from there, or hands over."""
    plan, now, field, batch, tensors = solve.plan, solve.now, solve.plan.field, solve.plan.tiles.batch, solve.tensors
    output = now.output
    if plan.backsolves:
        _measure_drift(solve, output)
        if now.drift > plan.max_drift:
            now.status = DRIFTED
            return
    add_rows(field, shift(tensors.cotangent, output * batch * field.columns), solve.adjoint, batch)
    if output > 0:
        now.output, now.end = output - 1, solve.outputs[output - 1]
        _restart(solve, output)
        return
    if exists(tensors.y0_bar):
        write_rows(field, solve.adjoint, tensors.y0_bar, batch)
    hand_over(solve)
    now.status = DONE


@loop
def _measure_drift(solve: AdaptiveSolve, output: int) -> None:
    """The largest drift of a sample so far: what `pynode.drift.drift_of` measures, on padded rows."""
    plan, now, columns, state_step = solve.plan, solve.now, solve.plan.field.columns, solve.plan.field.state_step
    atol, rtol = plan.drift_atol, plan.drift_rtol
    solved, stored = shift(solve.state, 0), shift(solve.states, output * plan.size)
    for row in range(plan.tiles.batch):
        error, size = 0.0, 0.0
        for j in range(columns):
            y = float(stored[row * state_step + j])
            off = float(solved[row * state_step + j]) - y
            error += off * off
            size += y * y
        drift = math.sqrt(error / columns) / (atol + rtol * math.sqrt(size / columns))
        if not drift <= now.drift:
            now.drift, now.drift_output, now.drift_row = drift, output, row
            if drift != drift:
                now.drift = math.inf


@part
def slope_norm_back(solve: AdaptiveSolve) -> None:
    """The norm of the state's slope where the adjoint stopped."""
    state, slopes, t = solve.state, shift(solve.state, solve.plan.size), solve.now.time
    if not solve.plan.backsolves:
        _state_at(solve, t)
    slopes_of(solve, state, slopes, t)
    set_slope_norm(solve, slopes)
