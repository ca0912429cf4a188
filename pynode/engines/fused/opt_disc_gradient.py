"""theta's part of the continuous adjoint: g' = -(df/dtheta)^T l, whose slopes `field_cotangents` adds up.

How they are added up depends on what g is needed for:

- where g does not control the steps, each stage's cotangent carries the stage's weight (`set_weights`), so that those
  of a whole step add up by themselves, on a copy of g that replaces g when the step is accepted;
- else each stage has a sum of its own, from which g and its error follow, laid out like theta's tensors.
"""

from __future__ import annotations

import math
from typing import Any

from pynode.engines.fused.description import GRADS
from pynode.engines.fused.jit import part
from pynode.engines.fused.norms import add_squares
from pynode.engines.fused.opt_disc_tables import (
    AT_DESCRIPTION,
    AT_FLAT,
    AT_GRADS,
    AT_PADDED,
    AT_SIZES,
    AT_SUM,
    ERROR,
    FIRST,
    FLAT,
    GROUPS,
    IN_THETA,
    N_A,
    N_E,
    N_TOLERANCES,
    NORM,
    REACHED,
    RMS,
    SEMINORM,
    SLOTS,
    STEP,
    SUMS,
    TRIED,
    UNWANTED,
)
from pynode.engines.fused.padded import clear_rows, copy_rows
from pynode.engines.fused.pairs import STAGES
from pynode.engines.fused.parameters import unpack
from pynode.engines.fused.simd import lanes, load, muladd, pointer_at, shift, splat, store


@part
def clear_gradient(q: Any, m: Any) -> None:
    """g = 0."""
    grads = shift(q, q[AT_DESCRIPTION])[GRADS]
    if q[NORM] == SEMINORM:
        for group in range(q[GROUPS]):
            clear_rows(shift(m, q[AT_GRADS] + (group * STAGES + REACHED) * grads), grads)
    else:
        clear_rows(shift(m, q[AT_FLAT]), q[FLAT])


@part
def clear_first(q: Any, m: Any) -> None:
    """Before the first stage is evaluated anew."""
    grads = shift(q, q[AT_DESCRIPTION])[GRADS]
    for group in range(q[GROUPS]):
        clear_rows(shift(m, q[AT_GRADS] + (group * STAGES + FIRST) * grads), grads)


@part
def begin_sums(q: Any, c: Any, m: Any, s: Any, group: int) -> None:
    """Before the stages of a step: clears a group's sums, those of the first stage aside."""
    grads = shift(q, q[AT_DESCRIPTION])[GRADS]
    g = shift(m, q[AT_GRADS] + group * STAGES * grads)
    if q[NORM] != SEMINORM:
        clear_rows(shift(g, grads), (STAGES - 1) * grads)
        return
    weight = splat(m, -s[STEP] * c[N_A + (STAGES - 1) * STAGES])
    first, reached, tried = shift(g, FIRST * grads), shift(g, REACHED * grads), shift(g, TRIED * grads)
    for i in range(0, grads, lanes(m)):
        store(tried, i, muladd(weight, load(first, i), load(reached, i)))
    clear_rows(shift(g, UNWANTED * grads), grads)
    clear_rows(shift(g, (STAGES - 1) * grads), grads)


@part
def accept_sums(q: Any, m: Any) -> None:
    """The step is accepted: its last stage is the next one's first."""
    grads = shift(q, q[AT_DESCRIPTION])[GRADS]
    for group in range(q[GROUPS]):
        g = shift(m, q[AT_GRADS] + group * STAGES * grads)
        copy_rows(shift(g, (STAGES - 1) * grads), shift(g, FIRST * grads), grads)
        if q[NORM] == SEMINORM:
            copy_rows(shift(g, TRIED * grads), shift(g, REACHED * grads), grads)
    if q[NORM] != SEMINORM:
        copy_rows(shift(m, q[AT_FLAT] + q[FLAT]), shift(m, q[AT_FLAT]), q[FLAT])


@part
def add_gradient_error(q: Any, c: Any, m: Any, a: Any, s: Any) -> None:
    """Sets g after the step, and takes its error into ERROR: see `opt_disc_back.conclude_back`."""
    d, slots = shift(q, q[AT_DESCRIPTION]), q[SLOTS]
    sums, flat = shift(m, q[AT_SUM]), shift(m, q[AT_FLAT])
    change, error = shift(flat, q[FLAT]), shift(flat, 2 * q[FLAT])
    _add_stages(q, shift(c, N_A + (STAGES - 1) * STAGES), -s[STEP], m, sums, d[GRADS])
    unpack(d, sums, 1, shift(a, IN_THETA + 2 * slots))
    _add_stages(q, shift(c, N_E), -s[STEP], m, sums, d[GRADS])
    unpack(d, sums, 1, shift(a, IN_THETA + 3 * slots))
    for i in range(0, q[FLAT], lanes(m)):
        store(change, i, load(change, i) + load(flat, i))
    atol, rtol = c[N_TOLERANCES + 2], c[N_TOLERANCES + 3]
    at = 0
    for slot in range(slots):
        padded = q[q[AT_PADDED] + slot]
        if a[IN_THETA + slots + slot] != 0:
            s[SUMS] = 0.0
            add_squares(s, SUMS, shift(error, at), shift(flat, at), shift(change, at), atol, rtol, padded)
            mean = math.sqrt(s[SUMS] / q[q[AT_SIZES] + slot])
            if q[NORM] == RMS:
                s[ERROR] += s[SUMS]
            elif s[ERROR] < math.inf and not mean <= s[ERROR]:
                s[ERROR] = mean
        at += padded


@part
def _add_stages(q: Any, weights: Any, h: float, m: Any, out: Any, grads: int) -> None:
    """out = h times the sum of all stages' cotangents, of all groups, with `weights`."""
    clear_rows(out, grads)
    for group in range(q[GROUPS]):
        g = shift(m, q[AT_GRADS] + group * STAGES * grads)
        for i in range(0, grads, lanes(m)):
            found = load(out, i)
            for j in range(STAGES):
                found = muladd(load(g, j * grads + i), splat(m, h * weights[j]), found)
            store(out, i, found)


@part
def hand_over(q: Any, m: Any, a: Any) -> None:
    """Writes g into the tensors of those who want it."""
    d, slots = shift(q, q[AT_DESCRIPTION]), q[SLOTS]
    grads = d[GRADS]
    if q[NORM] == SEMINORM:
        sums = shift(m, q[AT_SUM])
        clear_rows(sums, grads)
        for group in range(q[GROUPS]):
            g = shift(m, q[AT_GRADS] + (group * STAGES + REACHED) * grads)
            for i in range(0, grads, lanes(m)):
                store(sums, i, load(sums, i) + load(g, i))
        unpack(d, sums, 1, shift(a, IN_THETA + slots))
        return
    at = q[AT_FLAT]
    for slot in range(slots):
        if a[IN_THETA + slots + slot] != 0:
            target = pointer_at(m, a[IN_THETA + slots + slot])
            for i in range(q[q[AT_SIZES] + slot]):
                target[i] = m[at + i]
        at += q[q[AT_PADDED] + slot]
