"""Plans of fixed-step solves."""

from __future__ import annotations

from itertools import accumulate
from typing import ClassVar

import numpy as np
from torch import Tensor

from pynode.engines.fused.fixed import KEEP_NOTHING, KEEP_STATES, KEEP_TAPES, FixedPlan, FixedSolve, Steps
from pynode.engines.fused.memory import SHARED, Spares
from pynode.engines.fused.places import Places
from pynode.engines.fused.plan import Memory, Planner, Work, key_of, planner_for, recalled, remember, tableau_of
from pynode.fields.base import System
from pynode.grid import TimeGrid
from pynode.schemes.base import Scheme
from pynode.solve import Solve

TAPE_BYTES_ALWAYS, TAPE_BYTES_NEVER = 8 << 20, 1 << 30
"""Tapes of a whole solve up to the first size stay in a cache, and those above the second take too much memory."""

WORK_PER_NUMBER = 80
"""Between these sizes a tape is kept if recomputing one of its numbers takes more operations than this."""

DEFERRED_BYTES, DEFERRED_STAGES = 16 << 10, 64
"""Cotangents that a sample alone keeps for later products: as many as stay in the nearest cache, and are enough."""

GRADS_BYTES = 4 << 20
"""Up to this size every tile has parameter cotangents of its own."""

SPARE, SPARE_BYTES = 2, 64 << 20
"""Memories that a plan keeps, since a graph lives until the next one is there; and up to what size."""

WORK_PER_THREAD = 2_000_000
"""Multiply-adds of a forward solve below which waking a thread takes longer than what it saves."""


class FixedPlanner(Planner):
    """A fixed-step solve.

    It knows the number of steps in each interval, not the times: `Steps` are those of one grid.
    """

    def __init__(
        self, system: System, scheme: Scheme, steps_per_interval: tuple[int, ...], y0: Tensor, memory: str | None
    ) -> None:
        outputs = list(accumulate(steps_per_interval, initial=0))
        super().__init__(system, y0, len(outputs))
        field, stages, n_steps = self.field, scheme.n_stages, outputs[-1]
        self.n_stages = n_steps * stages
        # each group of tiles has parameter cotangents of its own, whatever the number of threads, unless they are large
        few = self.n_tiles * field.grads_size * self.dtype.itemsize <= GRADS_BYTES
        n_groups = self.n_tiles if few else min(self.n_tiles, self.threads)
        self.workers = max(1, min(self.threads, n_groups, self.work * self.n_stages // WORK_PER_THREAD))
        keep = {None: KEEP_NOTHING, "store": KEEP_TAPES}.get(memory, KEEP_STATES)
        if keep == KEEP_TAPES and not self._tapes_pay():
            keep = KEEP_STATES
        size = field.capacity * field.state_step
        kept_size = {KEEP_TAPES: self.n_stages * field.tape_size, KEEP_STATES: n_steps * size}.get(keep, 0)
        n_deferred = self._steps_deferred(n_steps, stages, keep)
        scratch = Places()
        scratch.take(field.scratch_size)
        self.plan = FixedPlan(
            field=field,
            tiles=self.tiles(n_groups),
            tableau=tableau_of(scheme),
            n_steps=n_steps,
            n_outputs=len(outputs),
            outputs=np.array(outputs),
            keep=keep,
            n_deferred=n_deferred,
            kept_size=kept_size,
            state=scratch.take(size),
            slopes=scratch.take(stages * size),
            state_bars=scratch.take(stages * size),
            tapes=scratch.take(stages * field.tape_size * (keep != KEEP_TAPES)),
            bars=scratch.take(stages * field.bars_size * n_deferred),
            scratch_size=scratch.total,
        )
        gates, grads = self.n_stages * field.gates_size, n_groups * field.grads_size
        # in the order of `FixedSolve`
        self.sizes = [field.packed_size, gates, grads, self.workers * scratch.total, self.n_tiles * kept_size]
        self.is_large = sum(self.sizes) * self.dtype.itemsize > SPARE_BYTES
        self.kept_bytes = 0 if self.is_large else SPARE * sum(self.sizes) * self.dtype.itemsize
        self._c = scheme.c
        self._free = Spares[FixedWork](SPARE)
        self._solves = 0

    def steps(self, grid: TimeGrid) -> Steps:
        """The steps of `grid`."""
        times = grid.stage_times(self._c).reshape(-1)
        return Steps(np.ascontiguousarray(times), np.ascontiguousarray(grid.step_sizes()))

    def _tapes_pay(self) -> bool:
        """Whether keeping all tapes is faster than keeping states and recomputing the tapes of a step."""
        size = self.n_tiles * self.n_stages * self.field.tape_size * self.dtype.itemsize
        if size <= TAPE_BYTES_ALWAYS or size > TAPE_BYTES_NEVER:
            return size <= TAPE_BYTES_ALWAYS
        return 2 * self.field.rows * self.field.work > WORK_PER_NUMBER * self.field.tape_size

    def _steps_deferred(self, n_steps: int, stages: int, keep: int) -> int:
        """Steps after which a sample alone takes the products of all their stages: the tapes of all must be there."""
        if not self.field.is_single:
            return 0
        wanted = min(DEFERRED_STAGES, DEFERRED_BYTES // (self.field.bars_size * self.dtype.itemsize)) // stages
        return max(1, min(n_steps, wanted)) if keep == KEEP_TAPES else 1

    def borrow(self) -> FixedWork:
        """Memory for one solve, zero where nothing has been written."""
        self._solves += 1
        return self._free.borrow(lambda: FixedWork(self))

    def take_back(self, work: FixedWork) -> None:
        """Keeps memory for the next solve: this plan's own once it has served twice, any plan's before that.

        Where every batch has another size, each plan serves once, and its memory would never be used again.
        """
        if self.is_large or work.memory is None:
            return
        if self._solves > 1:
            self._free.take_back(work)
        else:
            SHARED.take_back(work.memory)


class FixedWork(Work):
    """The memory of one fixed-step solve."""

    __slots__ = ("_steps", "memory")

    _NO_STEPS: ClassVar[Steps] = Steps(np.zeros(0), np.zeros(0))

    def __init__(self, planner: FixedPlanner) -> None:
        super().__init__(planner.n_slots)
        memory = SHARED.zeros(sum(planner.sizes), planner.dtype)
        self.memory: Memory | None = memory
        areas = planner.addresses(memory, planner.sizes)
        self._steps = self._NO_STEPS
        self.store(FixedSolve(planner.plan, self._NO_STEPS, self.tensors, *areas))

    def take_steps(self, steps: Steps) -> None:
        """Takes these steps."""
        if self._steps is not steps:
            self.solve.array["steps"], self._steps = steps.address, steps

    def hand_over(self) -> Memory:
        """The memory, which the caller keeps alive from now on."""
        memory, self.memory = self.memory, None
        assert memory is not None
        return memory


def fixed_planner(solve: Solve, grid: TimeGrid, memory: str | None) -> tuple[FixedPlanner, Steps]:
    """The plan of such a solve, made once for all grids with these numbers of steps, and the steps of `grid`.

    `memory` says what is kept for the gradient, None if none is wanted.
    """
    system, scheme, rest = solve.system, solve.recipe.scheme, (*key_of(solve.system, solve.y0), memory)
    recent = (id(system.spec), id(scheme), id(grid), *rest)
    known: tuple[FixedPlanner, Steps] | None = recalled(recent)
    if known is not None:
        return known
    planner = planner_for(
        (system.spec, scheme, grid.steps_per_interval, *rest),
        lambda: FixedPlanner(system, solve.recipe.formula, grid.steps_per_interval, solve.y0, memory),
    )
    return remember(recent, (planner, planner.steps(grid)), system.spec, scheme, grid)
