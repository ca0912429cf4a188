"""theta's part of the continuous adjoint: g' = -(df/dtheta)^T l, whose slopes `cotangents` adds up.

How they are added up depends on what g is needed for:

- where g does not control the steps, each stage's cotangent carries the stage's weight (`set_weights`), so that those
  of a whole step add up by themselves, on a copy of g that replaces g when the step is accepted;
- else each stage has a sum of its own, from which g and its error follow, laid out like theta's tensors.
"""

from __future__ import annotations

import math
from typing import Any

from pynode.engines.fused.compile import part
from pynode.engines.fused.embedded import RMS, SEMINORM, STAGES, AdaptiveSolve
from pynode.engines.fused.field.interface import unpack
from pynode.engines.fused.rows import add_squares, clear_rows, copy_rows
from pynode.engines.fused.simd import lanes, load, muladd, pointer_at, shift, splat, store

FIRST, TRIED, REACHED, UNWANTED = range(4)
"""Sums of each group where g does not control the steps: the first stage's cotangent, g after the step that is tried,
g, one that is not wanted.  Else there is one for each stage; the last stage's is the last in either case."""


@part
def clear_gradient(solve: AdaptiveSolve) -> None:
    """g = 0."""
    plan = solve.plan
    grads_size = plan.field.grads_size
    if plan.norm == SEMINORM:
        for group in range(plan.tiles.n_groups):
            clear_rows(shift(solve.grads, (group * STAGES + REACHED) * grads_size), grads_size)
    else:
        clear_rows(solve.theta, plan.theta_size)


@part
def clear_first(solve: AdaptiveSolve) -> None:
    """Before the first stage is evaluated anew."""
    grads_size = solve.plan.field.grads_size
    for group in range(solve.plan.tiles.n_groups):
        clear_rows(shift(solve.grads, (group * STAGES + FIRST) * grads_size), grads_size)


@part
def begin_sums(solve: AdaptiveSolve, group: int) -> None:
    """Before the stages of a step: clears a group's sums, those of the first stage aside."""
    grads_size = solve.plan.field.grads_size
    grads = shift(solve.grads, group * STAGES * grads_size)
    if solve.plan.norm != SEMINORM:
        clear_rows(shift(grads, grads_size), (STAGES - 1) * grads_size)
        return
    weight = splat(grads, -solve.now.step * solve.plan.tableau.b[0])
    first, reached = shift(grads, FIRST * grads_size), shift(grads, REACHED * grads_size)
    tried = shift(grads, TRIED * grads_size)
    for i in range(0, grads_size, lanes(grads)):
        store(tried, i, muladd(weight, load(first, i), load(reached, i)))
    clear_rows(shift(grads, UNWANTED * grads_size), grads_size)
    clear_rows(shift(grads, (STAGES - 1) * grads_size), grads_size)


@part
def accept_sums(solve: AdaptiveSolve) -> None:
    """The step is accepted: its last stage is the next one's first."""
    plan = solve.plan
    grads_size = plan.field.grads_size
    for group in range(plan.tiles.n_groups):
        grads = shift(solve.grads, group * STAGES * grads_size)
        copy_rows(shift(grads, (STAGES - 1) * grads_size), shift(grads, FIRST * grads_size), grads_size)
        if plan.norm == SEMINORM:
            copy_rows(shift(grads, TRIED * grads_size), shift(grads, REACHED * grads_size), grads_size)
    if plan.norm != SEMINORM:
        copy_rows(shift(solve.theta, plan.theta_size), solve.theta, plan.theta_size)


@part
def add_gradient_error(solve: AdaptiveSolve) -> None:
    """Sets g after the step, and takes its error into that of the step: see `adjoint.conclude_back`."""
    plan, now, field, squares = solve.plan, solve.now, solve.plan.field, solve.squares
    before = solve.theta
    after, error = shift(before, plan.theta_size), shift(before, 2 * plan.theta_size)
    _add_stages(solve, plan.tableau.b)
    unpack(field, solve.grads_sum, 1, solve.theta_change)
    _add_stages(solve, plan.tableau.error)
    unpack(field, solve.grads_sum, 1, solve.theta_error)
    for i in range(0, plan.theta_size, lanes(before)):
        store(after, i, load(after, i) + load(before, i))
    at = 0
    for slot in range(plan.n_slots):
        padded = plan.padded_sizes[slot]
        if solve.tensors.theta_bar[slot] != 0:
            squares[0] = 0.0
            x, y, z = shift(error, at), shift(before, at), shift(after, at)
            add_squares(x, y, z, plan.back_atol, plan.back_rtol, padded, squares, 0)
            mean = math.sqrt(squares[0] / plan.slot_sizes[slot])
            if plan.norm == RMS:
                now.error += squares[0]
            elif now.error < math.inf and not mean <= now.error:
                now.error = mean
        at += padded


@part
def _add_stages(solve: AdaptiveSolve, weights: Any) -> None:
    """Minus the step times the sum of all stages' cotangents, of all groups, with `weights`."""
    out, h, grads_size = solve.grads_sum, -solve.now.step, solve.plan.field.grads_size
    clear_rows(out, grads_size)
    for group in range(solve.plan.tiles.n_groups):
        grads = shift(solve.grads, group * STAGES * grads_size)
        for i in range(0, grads_size, lanes(out)):
            sum_of_stages = load(out, i)
            for j in range(STAGES):
                sum_of_stages = muladd(load(grads, j * grads_size + i), splat(out, h * weights[j]), sum_of_stages)
            store(out, i, sum_of_stages)


@part
def hand_over(solve: AdaptiveSolve) -> None:
    """Writes g into the tensors of those who want it."""
    plan, theta_bar, out = solve.plan, solve.tensors.theta_bar, solve.grads_sum
    grads_size = plan.field.grads_size
    if plan.norm == SEMINORM:
        clear_rows(out, grads_size)
        for group in range(plan.tiles.n_groups):
            grads = shift(solve.grads, (group * STAGES + REACHED) * grads_size)
            for i in range(0, grads_size, lanes(out)):
                store(out, i, load(out, i) + load(grads, i))
        unpack(plan.field, out, 1, theta_bar)
        return
    at = 0
    for slot in range(plan.n_slots):
        if theta_bar[slot] != 0:
            target, gradient = pointer_at(solve.theta, theta_bar[slot]), shift(solve.theta, at)
            for i in range(plan.slot_sizes[slot]):
                target[i] = gradient[i]
        at += plan.padded_sizes[slot]
