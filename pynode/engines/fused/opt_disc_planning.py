"""An adaptive solve as plain numbers, and the memory that it works in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pynode.drift import DRIFT_BOUND, ROUNDING
from pynode.engines.fused.description import (
    CAPACITY as TILE_CAPACITY,
)
from pynode.engines.fused.description import (
    GATES,
    GRADS,
    PACKED,
    SCRATCH,
    STATE,
    TANGENTS,
    TAPE,
    Table,
    describe,
)
from pynode.engines.fused.machine import VECTOR_BYTES
from pynode.engines.fused.memory import Spares, aligned_zeros
from pynode.engines.fused.opt_disc_options import ADJOINT_NORMS, AdaptiveOptions
from pynode.engines.fused.opt_disc_tables import (
    CAPACITY,
    HEAD,
    IN_RECORDS,
    IN_THETA,
    IN_TIMES,
    PARTS,
    RECORD,
    RUN_HEAD,
    SEMINORM,
    WEIGHTS,
)
from pynode.engines.fused.pairs import PAIRS, STAGES
from pynode.engines.fused.planning import Memory, tile_bounds
from pynode.engines.fused.records import HELD
from pynode.fields.base import System

FIRST_CAPACITY = 32
"""Steps that there is room for at first; each time it runs out the room is doubled."""

WORK_PER_THREAD = 1_500_000
"""Multiply-adds of one step below which it takes longer to wake a thread than it saves."""

MOST_GROUPS = 16
"""Groups of tiles that have cotangents of theta of their own and may go to threads of their own."""

SPARE, SPARE_BYTES = 2, 2 << 20
"""Memories that a plan keeps, since a graph lives until the next one is there; and up to what size."""

PLANS_KEPT = 64

_PLANS: dict[Any, Plan] = {}


class Workspace:
    """The memory of one solve: everything of fixed size, and the records of its steps, which grow with their number."""

    __slots__ = ("addresses", "capacity", "memory", "records", "run", "times")

    def __init__(self, plan: Plan) -> None:
        self.memory = aligned_zeros(plan.memory_size, plan.dtype)
        self.run = np.zeros(plan.run_size)
        self.addresses = np.zeros(IN_THETA + 4 * plan.slots, dtype=np.int64)
        first = self.memory.ctypes.data + plan.at_flat * plan.dtype.itemsize
        for vector in (1, 2) if plan.has_flat else ():
            at = IN_THETA + (1 + vector) * plan.slots
            starts = first + (vector * plan.flat + np.array(plan.slot_starts)) * plan.dtype.itemsize
            self.addresses[at : at + plan.slots] = starts
        self.capacity = 0
        self.records: Memory = np.zeros(0, dtype=plan.dtype)
        self.times: npt.NDArray[np.float64] = np.zeros(0)
        self.grow(plan, plan.capacity)

    def grow(self, plan: Plan, capacity: int) -> None:
        """Makes room for `capacity` steps; what is there stays."""
        old, old_times = self.records, self.times
        self.records = aligned_zeros((capacity * RECORD + PARTS - RECORD) * plan.size, plan.dtype)
        self.records[: len(old)] = old
        self.times = np.zeros(2 * capacity + 2)
        self.times[: len(old_times)] = old_times
        self.capacity = plan.capacity = capacity
        self.run[CAPACITY] = capacity if plan.keep else np.inf
        self.addresses[IN_RECORDS], self.addresses[IN_TIMES] = self.records.ctypes.data, self.times.ctypes.data

    @property
    def bytes(self) -> int:
        """What it takes."""
        return int(self.memory.nbytes + self.records.nbytes)


class Plan:
    """A solve of `system` from states like `y0` with `outputs` output times, by at most `workers` threads."""

    def __init__(
        self,
        system: System,
        options: AdaptiveOptions,
        y0: Tensor,
        outputs: int,
        gradient: bool,
        workers: int,
    ) -> None:
        self.dtype: Any = np.dtype(np.float64 if y0.dtype is torch.float64 else np.float32)
        batch = y0.numel() // system.columns
        self.layout = d = describe(system, batch, self.dtype.itemsize)
        self.slots, self.outputs = len(system.theta), outputs
        self.states = torch.empty((outputs, *y0.shape), dtype=y0.dtype, device=y0.device)  # to make others alike
        backsolve = gradient and options.adjoint == "backsolve"
        self.keep = gradient and not backsolve
        self.on_drift = options.drift
        self.capacity = FIRST_CAPACITY if self.keep else 1
        self.size = batch * d[STATE]
        norm = ADJOINT_NORMS.index(options.adjoint_norm)
        self.has_flat = gradient and norm != SEMINORM

        bounds = tile_bounds(batch, d[TILE_CAPACITY])
        tiles = len(bounds) - 1
        # groups do not depend on the number of threads, so results don't either
        work = d.n_weights * (1 + d[TANGENTS]) * batch * (STAGES - 1)
        groups = max(1, min(tiles, MOST_GROUPS, work // WORK_PER_THREAD))
        self.workers = max(1, min(workers, groups))
        parts = [tiles * i // groups for i in range(groups + 1)]

        lanes = VECTOR_BYTES // self.dtype.itemsize
        sizes = [p.numel() for p in system.theta]
        padded = [-(-n // lanes) * lanes for n in sizes]
        self.slot_starts = [int(n) for n in np.cumsum([0, *padded])[:-1]]
        self.flat = sum(padded)

        most = d[TILE_CAPACITY] * d[STATE]
        scratch = np.cumsum([0, d[SCRATCH], STAGES * d[GATES], d[TAPE], max(most, HELD), most])
        records = PARTS * self.size
        places = np.cumsum(
            [
                0,
                d[PACKED],
                self.workers * int(scratch[-1]),
                records if gradient else 0,
                records if backsolve else 2 * self.size,
                outputs * self.size if backsolve else 0,
                groups * STAGES * d[GRADS] if gradient else 0,
                d[GRADS] if gradient else 0,
                3 * self.flat if self.has_flat else 0,
            ]
        )
        self.memory_size, self.at_flat = int(places[-1]), int(places[-2])
        run = np.cumsum([0, RUN_HEAD, 2 * tiles, self.workers * WEIGHTS, outputs])
        self.at_times, self.run_size = int(run[-2]), int(run[-1])

        tables = [d.table, np.array(parts), np.array(bounds), np.array(padded), np.array(sizes)]
        at_tables = HEAD + np.cumsum([0, *(len(t) for t in tables)])[:-1]
        head = [batch, tiles, groups, self.slots, outputs, int(backsolve), norm, int(self.keep), options.max_steps]
        head += [self.size, batch * system.columns, *at_tables, *places[1:-1], self.flat, scratch[-1], *scratch[:-1]]
        head += [*run[1:-1], int(options.landing)]
        self.table: Table = np.concatenate([np.array(head), *tables]).astype(np.int64)
        self.numbers = _numbers(options, d.gamma, torch.finfo(y0.dtype).eps)
        self._free = Spares[Workspace](SPARE)

    def borrow(self) -> Workspace:
        """Memory for one solve."""
        return self._free.borrow(lambda: Workspace(self))

    def take_back(self, workspace: Workspace) -> None:
        """Keeps memory for the next solve."""
        if workspace.bytes <= SPARE_BYTES:
            self._free.take_back(workspace)


def plan_for(system: System, options: AdaptiveOptions, y0: Tensor, outputs: int, gradient: bool) -> Plan:
    """The plan of such a solve, made once."""
    flow = system.flow
    kind = None if flow is None else (flow["divergence"], flow["kinetic"], flow["jacobian"])
    workers = torch.get_num_threads()
    key = (system.spec, kind, options, y0.shape, y0.dtype, outputs, gradient, workers)
    plan = _PLANS.get(key)
    if plan is None:
        plan = Plan(system, options, y0, outputs, gradient, workers)
        while len(_PLANS) >= PLANS_KEPT:
            _PLANS.pop(next(iter(_PLANS)), None)
        _PLANS[key] = plan
    return plan


def _numbers(options: AdaptiveOptions, gamma: float, eps: float) -> npt.NDArray[np.float64]:
    """The table of floats."""
    pair = PAIRS[options.solver]
    back_atol = options.atol if options.adjoint_atol is None else options.adjoint_atol
    back_rtol = options.rtol if options.adjoint_rtol is None else options.adjoint_rtol
    a = [(*row, *(0.0,) * (STAGES - len(row))) for row in pair.a]
    parts: Sequence[Sequence[float]] = [
        [gamma, options.atol, options.rtol, back_atol, back_rtol],
        pair.exponents,
        pair.c,
        [x for row in a for x in row],
        pair.e,
        [x for row in pair.interpolant for x in row],
        [
            DRIFT_BOUND if options.drift == "error" else math.inf,
            max(options.atol, back_atol),
            max(options.rtol, back_rtol, ROUNDING * eps),
        ],
    ]
    return np.array([x for part in parts for x in part], dtype=np.float64)
