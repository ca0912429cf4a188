"""A whole fixed-step solve, and its whole discrete adjoint, over tiles of samples; the kernels that Python calls.

A tile goes through all steps by itself, in memory that stays in the cache.  Tiles do not depend on the number of
threads, nor do the groups that add up their parameter cotangents (unless these are large), so results don't either.

`plan` and `numbers` are the tables of `planning`; `w` is all memory of one solve; `addresses` are those of torch's
tensors: initial state, states, their cotangent, initial state's cotangent, probes, theta's tensors, their cotangents.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.description import (
    BARS,
    COLUMNS,
    DIM,
    GATES,
    GRADS,
    SINGLE,
    STATE,
    TANGENTS,
    TAPE,
    TAPE_Y,
)
from pynode.engines.fused.field_cotangents import field_cotangents
from pynode.engines.fused.field_value import field_value, set_directions, set_gates
from pynode.engines.fused.jit import entry, part
from pynode.engines.fused.padded import add_rows, clear_rows, copy_rows, read_rows, write_rows
from pynode.engines.fused.parameters import pack, unpack
from pynode.engines.fused.planning import (
    AT_BOUNDS,
    AT_DESCRIPTION,
    AT_GATES,
    AT_GRADS,
    AT_GROUPS,
    AT_MEMORY,
    AT_OUTPUTS,
    AT_SCRATCH,
    BATCH,
    DEFER,
    GROUPS,
    IN_COTANGENT,
    IN_PROBES,
    IN_STATE,
    IN_STATE_BAR,
    IN_STATES,
    IN_THETA,
    KEEP,
    KEEP_STATES,
    KEEP_TAPES,
    MEMORY_SIZE,
    N_A,
    N_B,
    N_GAMMA,
    N_SIZES,
    N_TIMES,
    OUTPUTS,
    S_BARS,
    S_FIELD,
    S_SLOPES,
    S_STATE,
    S_TAPES,
    S_Y_BARS,
    SCRATCH_SIZE,
    SLOTS,
    STAGES,
    STEPS,
)
from pynode.engines.fused.simd import lanes, load, muladd, pointer, pointer_at, shift, splat, store
from pynode.engines.fused.single import add_products, cotangents_of_one

PREPARE, FORWARD, BACKWARD, FINISH = 1, 2, 4, 8


@entry
def run(plan: Any, numbers: Any, w: Any, addresses: Any, worker: int, workers: int, tasks: int) -> None:
    """Does the `tasks` (a sum of PREPARE, FORWARD, BACKWARD, FINISH) of one of several workers.

    The first and the last are for one worker alone, before and after all others.
    """
    q, c, m, a = pointer(plan), pointer(numbers), pointer(w), pointer(addresses)
    if tasks & PREPARE:
        _prepare(q, c, m, a)
    if tasks & FORWARD:
        _forward(q, c, m, a, worker, workers)
    if tasks & BACKWARD:
        _backward(q, c, m, a, worker, workers)
    if tasks & FINISH:
        _finish(q, m, a)


@part
def _prepare(q: Any, c: Any, m: Any, a: Any) -> None:
    """Packs the parameters and sets the gates of all stages."""
    d = shift(q, q[AT_DESCRIPTION])
    pack(d, c[N_GAMMA], shift(a, IN_THETA), m)
    for i in range(q[STEPS] * q[STAGES]):
        set_gates(d, m, c[q[N_TIMES] + i], shift(m, q[AT_GATES] + i * d[GATES]))


@part
def _forward(q: Any, c: Any, m: Any, a: Any, worker: int, workers: int) -> None:
    """Solves the groups of tiles `worker`, `worker + workers`, ..."""
    scratch = shift(m, q[AT_SCRATCH] + worker * q[SCRATCH_SIZE])
    d = shift(q, q[AT_DESCRIPTION])
    for group in range(worker, q[GROUPS], workers):
        for tile in range(q[q[AT_GROUPS] + group], q[q[AT_GROUPS] + group + 1]):
            _tile(q, c, d, m, a, scratch, tile)


@part
def _tile(q: Any, c: Any, d: Any, m: Any, a: Any, scratch: Any, tile: int) -> None:
    """Solves one tile."""
    first = q[q[AT_BOUNDS] + tile]
    n = q[q[AT_BOUNDS] + tile + 1] - first
    offset = first * d[COLUMNS]
    memory = shift(m, q[AT_MEMORY] + tile * q[MEMORY_SIZE])
    y0, ys, y = pointer_at(m, a[IN_STATE]), pointer_at(m, a[IN_STATES]), shift(scratch, q[S_STATE])
    per_time = q[BATCH] * d[COLUMNS]
    _start_tile(q, d, scratch, m, a, first, n)
    read_rows(d, shift(y0, offset), y, n)
    write_rows(d, y, shift(ys, offset), n)
    output = 1
    for step in range(q[STEPS]):
        tapes = shift(scratch, q[S_TAPES])
        tape_step = 0
        if q[KEEP] == KEEP_TAPES:
            tapes, tape_step = shift(memory, step * q[STAGES] * d[TAPE]), d[TAPE]
        elif q[KEEP] == KEEP_STATES:
            copy_rows(y, shift(memory, step * n * d[STATE]), n * d[STATE])
        _stages(q, c, d, m, scratch, y, tapes, tape_step, step, n)
        h = c[q[N_SIZES] + step]
        _combine(d, y, shift(c, q[N_B]), h, shift(scratch, q[S_SLOPES]), q[STAGES], y, n)
        if step + 1 == q[q[AT_OUTPUTS] + output]:
            write_rows(d, y, shift(ys, output * per_time + offset), n)
            output += 1


@part
def _backward(q: Any, c: Any, m: Any, a: Any, worker: int, workers: int) -> None:
    """The discrete adjoint of the groups of tiles `worker`, `worker + workers`, ..."""
    d = shift(q, q[AT_DESCRIPTION])
    scratch = shift(m, q[AT_SCRATCH] + worker * q[SCRATCH_SIZE])
    for group in range(worker, q[GROUPS], workers):
        g = shift(m, q[AT_GRADS] + group * d[GRADS])
        clear_rows(g, d[GRADS])
        for tile in range(q[q[AT_GROUPS] + group], q[q[AT_GROUPS] + group + 1]):
            _tile_back(q, c, d, m, a, scratch, g, tile)


@part
def _tile_back(q: Any, c: Any, d: Any, m: Any, a: Any, scratch: Any, g: Any, tile: int) -> None:
    """The discrete adjoint of one tile, adding to the parameters' cotangent `g`."""
    first = q[q[AT_BOUNDS] + tile]
    n = q[q[AT_BOUNDS] + tile + 1] - first
    offset = first * d[COLUMNS]
    memory = shift(m, q[AT_MEMORY] + tile * q[MEMORY_SIZE])
    cotangent, y0_bar = pointer_at(m, a[IN_COTANGENT]), pointer_at(m, a[IN_STATE_BAR])
    y_bar = shift(scratch, q[S_STATE])
    per_time, stages = q[BATCH] * d[COLUMNS], q[STAGES]
    _start_tile(q, d, scratch, m, a, first, n)
    output = q[OUTPUTS] - 1
    read_rows(d, shift(cotangent, output * per_time + offset), y_bar, n)
    output -= 1
    for step in range(q[STEPS] - 1, -1, -1):
        tapes = shift(memory, step * stages * d[TAPE])
        if q[KEEP] == KEEP_STATES:
            tapes = shift(scratch, q[S_TAPES])
            y = shift(memory, step * n * d[STATE])
            _stages(q, c, d, m, scratch, y, tapes, d[TAPE], step, n)
        _step_back(q, c, d, m, scratch, y_bar, tapes, g, step, n)
        if n == 1 and d[SINGLE] == 1 and step % q[DEFER] == 0:
            done = q[STEPS] - step if q[STEPS] - step < q[DEFER] else q[DEFER]
            add_products(d, tapes, shift(scratch, q[S_BARS]), done * stages, g)
        if output >= 0 and step == q[q[AT_OUTPUTS] + output]:
            add_rows(d, shift(cotangent, output * per_time + offset), y_bar, n)
            output -= 1
    if a[IN_STATE_BAR] != 0:
        write_rows(d, y_bar, shift(y0_bar, offset), n)


@part
def _finish(q: Any, m: Any, a: Any) -> None:
    """Adds up the tiles' parameter cotangents into theta's."""
    d = shift(q, q[AT_DESCRIPTION])
    unpack(d, shift(m, q[AT_GRADS]), q[GROUPS], shift(a, IN_THETA + q[SLOTS]))


@part
def _start_tile(q: Any, d: Any, scratch: Any, m: Any, a: Any, first: int, n: int) -> None:
    if d[TANGENTS] > 0:
        probes = shift(pointer_at(m, a[IN_PROBES]), first * d[DIM])
        set_directions(d, shift(scratch, q[S_FIELD]), probes, n)


@part
def _stages(
    q: Any, c: Any, d: Any, m: Any, scratch: Any, y: Any, tapes: Any, tape_step: int, step: int, n: int
) -> None:
    """The slopes of all stages of the step from `y`, each leaving its tape."""
    slopes, field = shift(scratch, q[S_SLOPES]), shift(scratch, q[S_FIELD])
    stages = q[STAGES]
    size = n * d[STATE]
    h = c[q[N_SIZES] + step]
    for i in range(stages):
        tape = shift(tapes, i * tape_step)
        gates = shift(m, q[AT_GATES] + (step * stages + i) * d[GATES])
        _combine(d, y, shift(c, q[N_A] + i * stages), h, slopes, i, shift(tape, d[TAPE_Y]), n)
        field_value(d, m, gates, tape, field, n, shift(slopes, i * size))


@part
def _step_back(q: Any, c: Any, d: Any, m: Any, scratch: Any, y_bar: Any, tapes: Any, g: Any, step: int, n: int) -> None:
    """Takes `y_bar` from behind a step to before it."""
    slope_bar, y_bars, field = shift(scratch, q[S_SLOPES]), shift(scratch, q[S_Y_BARS]), shift(scratch, q[S_FIELD])
    stages, width = q[STAGES], lanes(m)
    size = n * d[STATE]
    h = c[q[N_SIZES] + step]
    for i in range(stages - 1, -1, -1):
        at_step = step * stages + i
        for at in range(0, size, width):
            found = load(y_bar, at) * (h * c[q[N_B] + i])
            for j in range(i + 1, stages):
                weight = c[q[N_A] + j * stages + i]
                if weight != 0.0:
                    found = muladd(load(y_bars, j * size + at), splat(m, h * weight), found)
            store(slope_bar, at, found)
        gates = shift(m, q[AT_GATES] + at_step * d[GATES])
        tape = shift(tapes, i * d[TAPE])
        x_bar = shift(y_bars, i * size)
        if n == 1 and d[SINGLE] == 1:
            bars = shift(scratch, q[S_BARS] + (step % q[DEFER] * stages + i) * d[BARS])
            cotangents_of_one(d, m, tape, slope_bar, bars, x_bar)
        else:
            field_cotangents(d, m, gates, c[q[N_TIMES] + at_step], tape, field, n, slope_bar, x_bar, g)
    for at in range(0, size, width):
        found = load(y_bar, at)
        for i in range(stages):
            found = found + load(y_bars, i * size + at)
        store(y_bar, at, found)


@part
def _combine(d: Any, y: Any, weights: Any, h: float, slopes: Any, count: int, out: Any, n: int) -> None:
    """out = y + h sum_j weights_j slopes_j."""
    size = n * d[STATE]
    for at in range(0, size, lanes(y)):
        found = load(y, at)
        for j in range(count):
            if weights[j] != 0.0:
                found = muladd(load(slopes, j * size + at), splat(y, h * weights[j]), found)
        store(out, at, found)
