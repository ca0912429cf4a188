"""Adaptive solves of a whole batch with one step size; the kernel of these and of their adjoints that Python calls.

States at output times come from the pair's interpolant.
"""

from __future__ import annotations

import math
from typing import Any

from pynode.engines.fused.compile import entry, part
from pynode.engines.fused.continuous_adjoint import attempt_back, begin_back, conclude_back, slope_norm_back
from pynode.engines.fused.controller import DONE, FULL, NON_FINITE, RUNNING, choose, first_step, judge, probe, start
from pynode.engines.fused.embedded import (
    LAST,
    NEW,
    STAGES,
    AdaptiveSolve,
    Weights,
    add_error,
    advance,
    difference,
    interpolate,
    interpolate_weights,
    set_slope_norm,
    set_stage_gates,
    set_weights,
    slopes_of,
    start_tile,
)
from pynode.engines.fused.field.interface import pack, value
from pynode.engines.fused.records import reader
from pynode.engines.fused.rows import add_squares, combine, copy_rows, read_rows, write_rows
from pynode.engines.fused.simd import shift

BEGIN, STEP_BEGIN, ATTEMPT, CONCLUDE, NORM = 1, 2, 4, 8, 16
WHOLE = BEGIN | STEP_BEGIN | ATTEMPT | CONCLUDE

PATIENCE = 500
"""Attempts of one call, so that Python may find between two calls that somebody pressed Ctrl-C."""

_solve_at = reader(AdaptiveSolve)


@entry
def run_adaptive(like: Any, address: int, worker: int, workers: int, back: int, tasks: int) -> None:
    """Does the `tasks`, a sum of the above, of the solve (or its adjoint) whose `AdaptiveSolve` lies at `address`.

    One worker alone does those from STEP_BEGIN to CONCLUDE again and again, until the solve is done, fails, needs room
    for more steps, or for `PATIENCE` attempts.  Several workers share each attempt of a step, and one of them does what
    lies between: the caller keeps them together.
    """
    solve = _solve_at(like, address)
    now = solve.now
    if tasks & BEGIN:
        if back == 0:
            _begin(solve)
        else:
            begin_back(solve)
    if tasks & NORM:
        if back == 0:
            _slope_norm(solve)
        else:
            slope_norm_back(solve)
    going = tasks & (STEP_BEGIN | ATTEMPT | CONCLUDE)
    attempts = 0
    while going and attempts < PATIENCE and (now.status == RUNNING or workers > 1):
        attempts += 1
        if tasks & STEP_BEGIN:
            choose(now, solve.plan.max_steps)
            if back == 0 and now.status == RUNNING and solve.plan.keeps and now.n_steps >= now.capacity:
                now.status = FULL
        if now.status != RUNNING:
            break
        if tasks & ATTEMPT:
            if back == 0:
                _attempt(solve, worker, workers)
            else:
                attempt_back(solve, worker, workers)
        if tasks & CONCLUDE:
            if back == 0:
                _conclude(solve)
            else:
                conclude_back(solve)
        if workers > 1:
            break


@part
def _begin(solve: AdaptiveSolve) -> None:
    """Packs the parameters, sets the first state and chooses the first step; two evaluations."""
    plan, now, tensors, squares = solve.plan, solve.now, solve.tensors, solve.squares
    field, size, batch, atol, rtol = plan.field, plan.size, plan.tiles.batch, plan.atol, plan.rtol
    pack(field, tensors.theta, solve.packed)
    start(now, solve.outputs[0], solve.outputs[1 if plan.lands else plan.n_outputs - 1])
    now.n_steps, now.output, now.n_f = 0, 1, 2
    step = solve.steps
    y, slopes = step, shift(step, size)
    solve.times[0] = solve.outputs[0]
    read_rows(field, tensors.y0, y, batch)
    write_rows(field, y, tensors.states, batch)
    if plan.backsolves:
        copy_rows(y, solve.states, size)
    squares[0], squares[1], squares[2] = 0.0, 0.0, 0.0
    slopes_of(solve, y, slopes, now.time)
    add_squares(y, y, y, atol, rtol, size, squares, 0)
    add_squares(slopes, y, y, atol, rtol, size, squares, 1)
    slope = math.sqrt(squares[1] / plan.n_entries)
    if not slope < math.inf:
        now.status, now.n_f = NON_FINITE, 1
        return
    probe(now, math.sqrt(squares[0] / plan.n_entries), slope)
    # the next step lends its room
    other, other_slopes, weights = shift(step, NEW * size), shift(step, LAST * size), solve.weights[0].stages
    weights[0] = now.step
    combine(step, size, 1.0, weights, 1, other, size)
    slopes_of(solve, other, other_slopes, now.time + now.step)
    difference(slopes, other_slopes, other, size)
    add_squares(other, y, y, atol, rtol, size, squares, 2)
    first_step(now, slope, math.sqrt(squares[2] / plan.n_entries))


@part
def _attempt(solve: AdaptiveSolve, worker: int, workers: int) -> None:
    """Tries the step with one worker's part of the tiles; leaves each tile's sum of squared errors."""
    plan, tiles, weights = solve.plan, solve.plan.tiles, solve.weights[worker]
    scratch = shift(solve.scratch, worker * plan.scratch_size)
    set_weights(plan.tableau, solve.now.step, False, weights)
    set_stage_gates(solve, scratch)
    for group in range(worker, tiles.n_groups, workers):
        for tile in range(tiles.group_starts[group], tiles.group_starts[group + 1]):
            _attempt_tile(solve, weights, scratch, tile)


@part
def _attempt_tile(solve: AdaptiveSolve, weights: Weights, scratch: Any, tile: int) -> None:
    plan, field, size = solve.plan, solve.plan.field, solve.plan.size
    first, n = plan.tiles.starts[tile], plan.tiles.starts[tile + 1] - plan.tiles.starts[tile]
    rows, tape = n * field.state_step, shift(scratch, plan.tape)
    before = solve.now.n_steps * STAGES * size if plan.keeps else 0
    step, y = shift(solve.steps, before + first * field.state_step), shift(tape, field.state)
    start_tile(solve, scratch, first, n)
    for i in range(1, STAGES):
        combine(step, size, 1.0, shift(weights.stages, i * STAGES), i, y, rows)
        if i == STAGES - 1:
            copy_rows(y, shift(step, NEW * size), rows)
        gates = shift(scratch, plan.gates + i * field.gates_size)
        slopes = shift(step, (LAST if i == STAGES - 1 else i + 1) * size)
        value(field, solve.packed, gates, tape, scratch, n, slopes)
    solve.errors[2 * tile] = 0.0
    held = shift(scratch, plan.rows)
    add_error(step, size, weights.error, plan.atol, plan.rtol, rows, held, solve.errors, 2 * tile)


@part
def _conclude(solve: AdaptiveSolve) -> None:
    """What follows an attempt: the verdict, outputs, the next state, and the end of the next step."""
    plan, now, times = solve.plan, solve.now, solve.times
    squares = 0.0
    for tile in range(plan.tiles.n_tiles):
        squares += solve.errors[2 * tile]
    now.error = math.sqrt(squares / plan.n_entries)
    now.n_f += STAGES - 1
    before = now.time
    judge(now, plan.exponent, plan.exponent_before)
    if now.error <= 1.0:
        place = now.n_steps if plan.keeps else 0
        step = shift(solve.steps, place * STAGES * plan.size)
        _write_outputs(solve, step, before)
        times[2 * place + 1], times[2 * place + 2] = now.step, now.time
        if not plan.keeps:
            advance(step, plan.size)
        now.n_steps += 1
        if now.output == plan.n_outputs:
            now.status = DONE
        elif plan.lands:
            now.end = solve.outputs[now.output]


@part
def _write_outputs(solve: AdaptiveSolve, step: Any, before: float) -> None:
    """States at the output times in the step that has just been accepted."""
    plan, now, field, size, batch = solve.plan, solve.now, solve.plan.field, solve.plan.size, solve.plan.tiles.batch
    weights = solve.weights[0].between
    while now.output < plan.n_outputs:
        t = solve.outputs[now.output]
        if t != now.time and (t > now.time) == (now.step > 0.0):
            return
        y = shift(step, NEW * size)
        if t != now.time:
            interpolate_weights(plan.tableau, (t - before) / now.step, now.step, weights)
            interpolate(step, size, weights, solve.state, size)
            y = solve.state
        write_rows(field, y, shift(solve.tensors.states, now.output * batch * field.columns), batch)
        if plan.backsolves:
            copy_rows(y, shift(solve.states, now.output * size), size)
        now.output += 1


@part
def _slope_norm(solve: AdaptiveSolve) -> None:
    """The norm of the slope where the forward solve stopped."""
    place = solve.now.n_steps if solve.plan.keeps else 0
    set_slope_norm(solve, shift(solve.steps, (place * STAGES + 1) * solve.plan.size))
