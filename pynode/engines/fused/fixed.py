"""A whole fixed-step solve and its whole discrete adjoint, over tiles of samples; the kernel that Python calls.

A tile goes through all steps by itself, in memory that stays in the cache.  Tiles do not depend on the number of
threads, nor do the groups that add up their parameter cotangents (unless these are large), so results don't either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pynode.engines.fused.compile import entry, part
from pynode.engines.fused.field.interface import (
    add_products,
    cotangents,
    cotangents_of_one,
    pack,
    set_directions,
    set_gates,
    unpack,
    value,
)
from pynode.engines.fused.field.layout import Field
from pynode.engines.fused.records import Floats, Ints, Numbers, Record, Tableau, Tensors, Tiles, reader
from pynode.engines.fused.rows import add_rows, clear_rows, copy_rows, read_rows, write_rows
from pynode.engines.fused.simd import exists, lanes, load, muladd, shift, splat, store

KEEP_NOTHING, KEEP_TAPES, KEEP_STATES = range(3)
"""What a forward solve leaves: nothing, every stage's tape, or the state before each step."""

PREPARE, FORWARD, BACKWARD, FINISH = 1, 2, 4, 8


@dataclass(eq=False)
class FixedPlan(Record):
    """A solve, whatever its times and tensors are."""

    field: Field
    tiles: Tiles
    tableau: Tableau
    n_steps: int
    n_outputs: int
    outputs: Ints  # the number of steps before each output time
    keep: int
    n_deferred: int  # steps whose products are taken together for a sample alone
    kept_size: int  # numbers that a tile keeps
    scratch_size: int  # of one worker, where the field's own comes first
    # in a worker's scratch memory: the state, all stages' slopes, their state cotangents, tapes, and `Field.bars_size`
    state: int
    slopes: int
    state_bars: int
    tapes: int
    bars: int


@dataclass(eq=False)
class Steps(Record):
    """The times of all stages and the sizes of all steps."""

    times: Floats
    sizes: Floats


@dataclass(eq=False)
class FixedSolve(Record):
    """One solve: its plan, its steps and tensors, and its memory."""

    plan: FixedPlan
    steps: Steps
    tensors: Tensors
    packed: Numbers  # parameters
    gates: Numbers  # of all stages
    grads: Numbers  # each group's cotangent of the packed parameters
    scratch: Numbers  # of all workers
    kept: Numbers  # by each tile


_solve_at = reader(FixedSolve)


@entry
def run_fixed(like: Any, address: int, worker: int, workers: int, tasks: int) -> None:
    """Does the `tasks` (a sum of PREPARE, FORWARD, BACKWARD, FINISH) of one of several workers.

    The first and the last are for one worker alone, before and after all others.  `address` is that of a `FixedSolve`,
    whose numbers have the type of the array `like`.
    """
    solve = _solve_at(like, address)
    if tasks & PREPARE:
        _prepare(solve)
    if tasks & FORWARD:
        _forward(solve, worker, workers)
    if tasks & BACKWARD:
        _backward(solve, worker, workers)
    if tasks & FINISH:
        _finish(solve)


@part
def _prepare(solve: FixedSolve) -> None:
    """Packs the parameters and sets the gates of all stages."""
    plan, field = solve.plan, solve.plan.field
    pack(field, solve.tensors.theta, solve.packed)
    for i in range(plan.n_steps * plan.tableau.n_stages):
        set_gates(field, solve.packed, solve.steps.times[i], shift(solve.gates, i * field.gates_size))


@part
def _forward(solve: FixedSolve, worker: int, workers: int) -> None:
    """Solves the groups of tiles `worker`, `worker + workers`, ..."""
    tiles = solve.plan.tiles
    scratch = shift(solve.scratch, worker * solve.plan.scratch_size)
    for group in range(worker, tiles.n_groups, workers):
        for tile in range(tiles.group_starts[group], tiles.group_starts[group + 1]):
            _tile(solve, scratch, tile)


@part
def _tile(solve: FixedSolve, scratch: Any, tile: int) -> None:
    """Solves one tile."""
    plan, field, stages = solve.plan, solve.plan.field, solve.plan.tableau.n_stages
    first = plan.tiles.starts[tile]
    n = plan.tiles.starts[tile + 1] - first
    offset, per_time = first * field.columns, plan.tiles.batch * field.columns
    kept, states, y = shift(solve.kept, tile * plan.kept_size), solve.tensors.states, shift(scratch, plan.state)
    _start_tile(solve, scratch, first, n)
    read_rows(field, shift(solve.tensors.y0, offset), y, n)
    write_rows(field, y, shift(states, offset), n)
    output = 1
    for step in range(plan.n_steps):
        tapes = shift(scratch, plan.tapes)
        tape_step = 0
        if plan.keep == KEEP_TAPES:
            tapes, tape_step = shift(kept, step * stages * field.tape_size), field.tape_size
        elif plan.keep == KEEP_STATES:
            copy_rows(y, shift(kept, step * n * field.state_step), n * field.state_step)
        _stages(solve, scratch, y, tapes, tape_step, step, n)
        h = solve.steps.sizes[step]
        _combine(y, plan.tableau.b, h, shift(scratch, plan.slopes), stages, y, n * field.state_step)
        if step + 1 == plan.outputs[output]:
            write_rows(field, y, shift(states, output * per_time + offset), n)
            output += 1


@part
def _backward(solve: FixedSolve, worker: int, workers: int) -> None:
    """The discrete adjoint of the groups of tiles `worker`, `worker + workers`, ..."""
    tiles, grads_size = solve.plan.tiles, solve.plan.field.grads_size
    scratch = shift(solve.scratch, worker * solve.plan.scratch_size)
    for group in range(worker, tiles.n_groups, workers):
        grads = shift(solve.grads, group * grads_size)
        clear_rows(grads, grads_size)
        for tile in range(tiles.group_starts[group], tiles.group_starts[group + 1]):
            _tile_back(solve, scratch, grads, tile)


@part
def _tile_back(solve: FixedSolve, scratch: Any, grads: Any, tile: int) -> None:
    """The discrete adjoint of one tile, adding to the parameters' cotangent `grads`."""
    plan, field, stages = solve.plan, solve.plan.field, solve.plan.tableau.n_stages
    first = plan.tiles.starts[tile]
    n = plan.tiles.starts[tile + 1] - first
    offset, per_time = first * field.columns, plan.tiles.batch * field.columns
    kept, cotangent, y_bar = (
        shift(solve.kept, tile * plan.kept_size),
        solve.tensors.cotangent,
        shift(scratch, plan.state),
    )
    _start_tile(solve, scratch, first, n)
    output = plan.n_outputs - 1
    read_rows(field, shift(cotangent, output * per_time + offset), y_bar, n)
    output -= 1
    for step in range(plan.n_steps - 1, -1, -1):
        tapes = shift(kept, step * stages * field.tape_size)
        if plan.keep == KEEP_STATES:
            tapes = shift(scratch, plan.tapes)
            y = shift(kept, step * n * field.state_step)
            _stages(solve, scratch, y, tapes, field.tape_size, step, n)
        _step_back(solve, scratch, y_bar, tapes, grads, step, n)
        if n == 1 and field.is_single and step % plan.n_deferred == 0:
            done = min(plan.n_steps - step, plan.n_deferred)
            add_products(field, tapes, shift(scratch, plan.bars), done * stages, grads)
        if output >= 0 and step == plan.outputs[output]:
            add_rows(field, shift(cotangent, output * per_time + offset), y_bar, n)
            output -= 1
    if exists(solve.tensors.y0_bar):
        write_rows(field, y_bar, shift(solve.tensors.y0_bar, offset), n)


@part
def _finish(solve: FixedSolve) -> None:
    """Adds up the tiles' parameter cotangents into theta's."""
    unpack(solve.plan.field, solve.grads, solve.plan.tiles.n_groups, solve.tensors.theta_bar)


@part
def _start_tile(solve: FixedSolve, scratch: Any, first: int, n: int) -> None:
    field = solve.plan.field
    if field.n_tangents > 0:
        set_directions(field, scratch, shift(solve.tensors.probes, first * field.dim), n)


@part
def _stages(solve: FixedSolve, scratch: Any, y: Any, tapes: Any, tape_step: int, step: int, n: int) -> None:
    """The slopes of all stages of the step from `y`, each leaving its tape."""
    plan, field, stages = solve.plan, solve.plan.field, solve.plan.tableau.n_stages
    slopes, size, h = shift(scratch, plan.slopes), n * field.state_step, solve.steps.sizes[step]
    for i in range(stages):
        tape = shift(tapes, i * tape_step)
        gates = shift(solve.gates, (step * stages + i) * field.gates_size)
        _combine(y, shift(plan.tableau.a, i * stages), h, slopes, i, shift(tape, field.state), size)
        value(field, solve.packed, gates, tape, scratch, n, shift(slopes, i * size))


@part
def _step_back(solve: FixedSolve, scratch: Any, y_bar: Any, tapes: Any, grads: Any, step: int, n: int) -> None:
    """Takes `y_bar` from behind a step to before it."""
    plan, field, tableau, packed = solve.plan, solve.plan.field, solve.plan.tableau, solve.packed
    slope_bar, y_bars = shift(scratch, plan.slopes), shift(scratch, plan.state_bars)
    stages, width, size, h = tableau.n_stages, lanes(packed), n * field.state_step, solve.steps.sizes[step]
    a, b = tableau.a, tableau.b
    for i in range(stages - 1, -1, -1):
        at_step = step * stages + i
        for at in range(0, size, width):
            bar = load(y_bar, at) * (h * b[i])
            for j in range(i + 1, stages):
                weight = a[j * stages + i]
                if weight != 0.0:
                    bar = muladd(load(y_bars, j * size + at), splat(packed, h * weight), bar)
            store(slope_bar, at, bar)
        gates, tape = shift(solve.gates, at_step * field.gates_size), shift(tapes, i * field.tape_size)
        x_bar = shift(y_bars, i * size)
        if n == 1 and field.is_single:
            bars = shift(scratch, plan.bars + (step % plan.n_deferred * stages + i) * field.bars_size)
            cotangents_of_one(field, packed, tape, slope_bar, bars, x_bar)
        else:
            t = solve.steps.times[at_step]
            cotangents(field, packed, gates, t, tape, scratch, n, slope_bar, x_bar, grads)
    for at in range(0, size, width):
        bar = load(y_bar, at)
        for i in range(stages):
            bar = bar + load(y_bars, i * size + at)
        store(y_bar, at, bar)


@part
def _combine(y: Any, weights: Any, h: float, slopes: Any, count: int, out: Any, size: int) -> None:
    """out = y + h sum_j weights_j slopes_j."""
    for at in range(0, size, lanes(y)):
        combined = load(y, at)
        for j in range(count):
            if weights[j] != 0.0:
                combined = muladd(load(slopes, j * size + at), splat(y, h * weights[j]), combined)
        store(out, at, combined)
