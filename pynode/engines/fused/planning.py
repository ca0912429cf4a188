"""Packs a fixed-step solve into kernel arguments: the system's layout, the steps, the tiles, and where memory lies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pynode.engines.fused.description import (
    BARS,
    CAPACITY,
    GATES,
    GRADS,
    PACKED,
    SCRATCH,
    SINGLE,
    STATE,
    TANGENTS,
    TAPE,
    Table,
    describe,
)
from pynode.engines.fused.memory import SHARED, Spares
from pynode.fields.base import System
from pynode.grid import TimeGrid
from pynode.schemes.base import Scheme

KEEP_NOTHING, KEEP_TAPES, KEEP_STATES = range(3)
"""What a forward solve leaves: nothing, every stage's tape, or the state before each step."""

# --- the table of integers -------------------------------------------------------------------------------------------
STEPS, STAGES, OUTPUTS, BATCH, GROUPS, KEEP, SLOTS = range(7)
# in this table: the description, the steps before each output, the first tile of each group, that of each tile
AT_DESCRIPTION, AT_OUTPUTS, AT_GROUPS, AT_BOUNDS = 7, 8, 9, 10
AT_GATES, AT_GRADS, AT_SCRATCH, AT_MEMORY = 11, 12, 13, 14  # in memory, behind the packed parameters
SCRATCH_SIZE, MEMORY_SIZE = 15, 16  # of one thread; of one tile
S_FIELD, S_STATE, S_SLOPES, S_Y_BARS, S_TAPES = 17, 18, 19, 20, 21  # in a thread's scratch
N_TIMES, N_SIZES, N_A, N_B = 22, 23, 24, 25  # in the table of floats
DEFER, S_BARS = 26, 27  # steps whose products are taken together for a sample alone; where their cotangents lie
HEAD = 28

N_GAMMA = 0  # the table of floats starts with the damping

IN_STATE, IN_STATES, IN_COTANGENT, IN_STATE_BAR, IN_PROBES, IN_THETA = range(6)
"""The order of addresses; theta's tensors and then their cotangents come last."""

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

PLANS_KEPT, PLANS_BYTES = 64, 256 << 20
"""Plans that are kept, and the memory that all of them may keep; the oldest have to go."""

_PLANS: dict[Any, Plan] = {}
_RECENT: dict[Any, tuple[Plan, Numbers, Any, Any, Any]] = {}
"""Plans and tables of floats by the addresses of specification, scheme and grid, which are kept with them."""

Memory: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = npt.NDArray[np.float64]


class Plan:
    """A solve of `system` from states like `y0` by at most `workers` threads; holds memory for reuse.

    It knows the number of steps in each interval, not the times: `numbers` adds those of one grid.
    """

    def __init__(
        self,
        system: System,
        scheme: Scheme,
        steps_per_interval: tuple[int, ...],
        y0: Tensor,
        keep: int,
        workers: int,
    ) -> None:
        self.dtype = np.dtype(np.float64 if y0.dtype is torch.float64 else np.float32)
        batch = y0.numel() // system.columns
        self.layout = d = describe(system, batch, self.dtype.itemsize)
        self.steps, self.stages, self.slots = sum(steps_per_interval), scheme.n_stages, len(system.theta)
        outputs = list(accumulate(steps_per_interval, initial=0))
        self.n_stages = self.steps * self.stages
        self.states = torch.empty((len(outputs), *y0.shape), dtype=y0.dtype, device=y0.device)  # to make others alike
        bounds = tile_bounds(batch, d[CAPACITY])
        self.tiles = len(bounds) - 1
        # each group of tiles has parameter cotangents of its own, whatever the number of threads, unless they are large
        few = self.tiles * d[GRADS] * self.dtype.itemsize <= GRADS_BYTES
        groups = self.tiles if few else min(self.tiles, workers)
        work = d.n_weights * (1 + d[TANGENTS]) * batch * self.n_stages
        self.workers = max(1, min(workers, groups, work // WORK_PER_THREAD))
        size = d[CAPACITY] * d[STATE]
        if keep == KEEP_TAPES and not self._tapes_pay():
            keep = KEEP_STATES
        memory = {KEEP_TAPES: self.steps * self.stages * d[TAPE], KEEP_STATES: self.steps * size}.get(keep, 0)
        self.keep = keep

        defer = self._steps_deferred()

        of_stages = (size, size, d[TAPE] * (keep != KEEP_TAPES), d[BARS] * defer)
        scratch = list(accumulate([0, d[SCRATCH], size, *(self.stages * n for n in of_stages)]))
        sizes = (d[PACKED], self.n_stages * d[GATES], groups * d[GRADS], self.workers * scratch[-1])
        places = list(accumulate(sizes, initial=0))
        self.size = places[-1] + self.tiles * memory
        self.is_large = self.size * self.dtype.itemsize > SPARE_BYTES
        self.kept_bytes = 0 if self.is_large else SPARE * self.size * self.dtype.itemsize
        # the table of floats: damping, stage times, step sizes, tableau
        self._c = scheme.c
        self._tableau = [*(x for row in scheme.a for x in (*row, *(0.0,) * (self.stages - len(row)))), *scheme.b]
        at_sizes = 1 + self.n_stages
        at_numbers = [1, at_sizes, at_sizes + self.steps, at_sizes + self.steps + self.stages**2]
        parts = [self.tiles * i // groups for i in range(groups + 1)]
        tables = [d.entries, outputs, parts, bounds]
        at_tables = list(accumulate(map(len, tables), initial=HEAD))[:-1]
        head = [self.steps, self.stages, len(outputs), batch, groups, keep, self.slots]
        head += [*at_tables, *places[1:], scratch[-1], memory, *scratch[:-2], *at_numbers, defer, scratch[-2]]
        self.table: Table = np.array([*head, *chain.from_iterable(tables)], dtype=np.int64)
        self._no_theta = (0,) * self.slots
        self._free = Spares[Memory](SPARE)
        self._solves = 0

    def numbers(self, grid: TimeGrid) -> Numbers:
        """The table of floats for the times of `grid`."""
        times = grid.stage_times(self._c).reshape(-1)
        return np.concatenate([[self.layout.gamma], times, grid.step_sizes(), self._tableau])

    def _tapes_pay(self) -> bool:
        """Whether keeping all tapes is faster than keeping states and recomputing the tapes of a step."""
        size = self.tiles * self.n_stages * self.layout[TAPE] * self.dtype.itemsize
        if size <= TAPE_BYTES_ALWAYS or size > TAPE_BYTES_NEVER:
            return size <= TAPE_BYTES_ALWAYS
        rows = self.layout[CAPACITY] * (1 + self.layout[TANGENTS])
        return 2 * rows * self.layout.n_weights > WORK_PER_NUMBER * self.layout[TAPE]

    def _steps_deferred(self) -> int:
        """Steps after which a sample alone takes the products of all their stages: the tapes of all must be there."""
        if not self.layout[SINGLE]:
            return 0
        stage = self.layout[BARS] * self.dtype.itemsize
        wanted = min(DEFERRED_STAGES, DEFERRED_BYTES // stage) // self.stages
        return max(1, min(self.steps, wanted)) if self.keep == KEEP_TAPES else 1

    def borrow(self) -> Memory:
        """Memory for one solve, zero where nothing has been written."""
        self._solves += 1
        return self._free.borrow(lambda: SHARED.zeros(self.size, self.dtype))

    def addresses(self, y0: Tensor, ys: Tensor, probes: Tensor | None, theta: Sequence[Tensor]) -> Table:
        """What the forward pass reads and writes."""
        found = [y0.data_ptr(), ys.data_ptr(), 0, 0, 0 if probes is None else probes.data_ptr()]
        return np.array([*found, *(p.data_ptr() for p in theta)], dtype=np.int64)

    def addresses_back(
        self, cotangent: Tensor, y0_bar: Tensor | None, probes: Tensor | None, theta_bar: Sequence[Tensor | None]
    ) -> Table:
        """What the backward pass reads and writes; None where no cotangent is wanted."""
        first, last = 0 if y0_bar is None else y0_bar.data_ptr(), 0 if probes is None else probes.data_ptr()
        bars = [0 if b is None else b.data_ptr() for b in theta_bar]
        return np.array([0, 0, cotangent.data_ptr(), first, last, *self._no_theta, *bars], dtype=np.int64)

    def take_back(self, memory: Memory) -> None:
        """Keeps memory for the next solve: this plan's own once it has served twice, any plan's before that.

        Where every batch has another size, each plan serves once, and its memory would never be used again.
        """
        if self.is_large:
            return
        if self._solves > 1:
            self._free.take_back(memory)
        else:
            SHARED.take_back(memory)


def plan_for(system: System, scheme: Scheme, grid: TimeGrid, y0: Tensor, keep: int) -> tuple[Plan, Numbers]:
    """The plan of such a solve, made once for all grids with these numbers of steps, and its table of floats."""
    flow = system.flow
    kind = None if flow is None else (flow["divergence"], flow["kinetic"], flow["jacobian"])
    rest = (kind, y0.shape, y0.dtype, keep, torch.get_num_threads())
    # to hash specification, scheme and grid takes longer than all else; nearly always they are the very same objects
    same = (id(system.spec), id(scheme), id(grid), *rest)
    recent = _RECENT.get(same)
    if recent is not None:
        return recent[:2]
    key = (system.spec, scheme, grid.steps_per_interval, *rest)
    plan = _PLANS.get(key)
    if len(_RECENT) >= PLANS_KEPT:
        _RECENT.clear()
    if plan is None:
        plan = Plan(system, scheme, grid.steps_per_interval, y0, keep, rest[-1])
        _make_room(plan)
        _PLANS[key] = plan
    numbers = plan.numbers(grid)
    # what is known by its address must stay alive
    _RECENT[same] = plan, numbers, system.spec, scheme, grid
    return plan, numbers


def forget_plans() -> None:
    """Forgets all plans and their memory."""
    _RECENT.clear()
    _PLANS.clear()
    SHARED.clear()


def _make_room(new: Plan) -> None:
    """Forgets the oldest plans where there would be too many of them, or too much memory in them."""
    _RECENT.clear()
    total = new.kept_bytes + sum(p.kept_bytes for p in list(_PLANS.values()))
    for key, old in list(_PLANS.items()):
        if len(_PLANS) < PLANS_KEPT and total <= PLANS_BYTES:
            return
        _PLANS.pop(key, None)
        total -= old.kept_bytes


def tile_bounds(batch: int, capacity: int) -> list[int]:
    """The first sample of every tile, and the batch: tiles of nearly equal size, whose number suits few threads."""
    tiles = -(-batch // capacity)
    if tiles > 2:
        tiles = -(-tiles // 4) * 4
    quads = -(-batch // 4)
    return sorted({min(batch, 4 * (quads * i // tiles)) for i in range(tiles)} | {batch})
