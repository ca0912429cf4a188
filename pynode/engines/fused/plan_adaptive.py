"""Plans of adaptive solves and their adjoints."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pynode.drift import DRIFT_BOUND, ROUNDING
from pynode.engines.fused.controller import RUNNING, Progress
from pynode.engines.fused.embedded import MIXED, PARTS, RMS, SEMINORM, STAGES, AdaptivePlan, AdaptiveSolve, Weights
from pynode.engines.fused.memory import Spares, aligned_zeros
from pynode.engines.fused.places import Places
from pynode.engines.fused.plan import Memory, Planner, Work, key_of, planner_for, recalled, remember, tableau_of
from pynode.engines.fused.records import Numbers
from pynode.engines.fused.rows import HELD
from pynode.engines.fused.simd import VECTOR_BYTES
from pynode.fields.base import System
from pynode.gradients import Continuous
from pynode.schemes.base import Scheme
from pynode.solve import Recipe, Solve
from pynode.steps import Adaptive

NORMS = {"mixed": MIXED, "seminorm": SEMINORM, "rms": RMS}
"""What controls the adjoint's steps, by the names of `Continuous.norm`."""

FIRST_CAPACITY = 32
"""Steps that there is room for at first; each time it runs out the room is doubled."""

WORK_PER_THREAD = 1_500_000
"""Multiply-adds of one step below which it takes longer to wake a thread than it saves."""

MOST_GROUPS = 16
"""Groups of tiles that have cotangents of theta of their own and may go to threads of their own."""

SPARE, SPARE_BYTES = 2, 2 << 20
"""Memories that a plan keeps, since a graph lives until the next one is there; and up to what size."""


class AdaptivePlanner(Planner):
    """An adaptive solve with `n_outputs` output times, and its continuous adjoint where `gradient`."""

    def __init__(self, system: System, recipe: Recipe, y0: Tensor, n_outputs: int, gradient: bool) -> None:
        super().__init__(system, y0, n_outputs)
        steps, adjoint, scheme = recipe.steps, recipe.gradient, recipe.scheme
        assert isinstance(steps, Adaptive)
        assert isinstance(adjoint, Continuous)
        assert isinstance(scheme, Scheme)
        assert scheme.pair is not None
        assert scheme.pair.exponents is not None
        exponent, exponent_before = scheme.pair.exponents
        field, norm = self.field, NORMS[adjoint.norm]
        self.n_outputs, self.on_drift = n_outputs, adjoint.drift
        backsolves = gradient and adjoint.adjoint == "backsolve"
        keeps = gradient and not backsolves
        self.capacity = FIRST_CAPACITY if keeps else 1
        self.size = size = self.batch * field.state_step
        # groups do not depend on the number of threads, so results don't either
        n_groups = max(1, min(self.n_tiles, MOST_GROUPS, self.work * (STAGES - 1) // WORK_PER_THREAD))
        self.workers = max(1, min(self.threads, n_groups))

        lanes = VECTOR_BYTES // self.dtype.itemsize
        slot_sizes = np.array([p.numel() for p in system.theta], dtype=np.int64)
        padded_sizes = -(-slot_sizes // lanes) * lanes
        self.slot_starts = np.cumsum(padded_sizes) - padded_sizes
        self.theta_size = int(padded_sizes.sum()) if gradient and norm != SEMINORM else 0
        tile = field.capacity * field.state_step
        scratch = Places()
        scratch.take(field.scratch_size)
        back_atol = steps.atol if adjoint.atol is None else adjoint.atol
        back_rtol = steps.rtol if adjoint.rtol is None else adjoint.rtol
        self.plan = AdaptivePlan(
            field=field,
            tiles=self.tiles(n_groups),
            tableau=tableau_of(scheme),
            exponent=exponent,
            exponent_before=exponent_before,
            atol=steps.atol,
            rtol=steps.rtol,
            back_atol=back_atol,
            back_rtol=back_rtol,
            max_drift=DRIFT_BOUND if adjoint.drift == "error" else math.inf,
            drift_atol=max(steps.atol, back_atol),
            drift_rtol=max(steps.rtol, back_rtol, ROUNDING * torch.finfo(y0.dtype).eps),
            max_steps=steps.max_steps,
            n_outputs=n_outputs,
            lands=steps.landing,
            backsolves=backsolves,
            keeps=keeps,
            norm=norm,
            size=size,
            n_entries=self.batch * system.columns,
            n_slots=self.n_slots,
            slot_sizes=slot_sizes,
            padded_sizes=padded_sizes,
            theta_size=self.theta_size,
            gates=scratch.take(STAGES * field.gates_size),
            tape=scratch.take(field.tape_size),
            rows=scratch.take(max(tile, HELD)),
            slopes=scratch.take(tile),
            scratch_size=scratch.total,
        )
        # in the order of `AdaptiveSolve`
        self.sizes = [
            field.packed_size,
            self.workers * scratch.total,
            PARTS * size if gradient else 0,
            PARTS * size if backsolves else 2 * size,
            n_outputs * size if backsolves else 0,
            n_groups * STAGES * field.grads_size if gradient else 0,
            field.grads_size if gradient else 0,
            3 * self.theta_size,
        ]
        self.kept_bytes = SPARE * min(SPARE_BYTES, sum(self.sizes) * self.dtype.itemsize)
        self._free = Spares[AdaptiveWork](SPARE)

    def borrow(self) -> AdaptiveWork:
        """Memory for one solve."""
        return self._free.borrow(lambda: AdaptiveWork(self))

    def take_back(self, work: AdaptiveWork) -> None:
        """Keeps memory for the next solve."""
        if work.is_whole and work.memory.nbytes + work.steps.nbytes <= SPARE_BYTES:
            self._free.take_back(work)


class AdaptiveWork(Work):
    """The memory of one adaptive solve: everything of fixed size, and its steps, which grow with their number."""

    __slots__ = ("_counts", "_now", "adjoint", "capacity", "is_whole", "memory", "outputs", "state", "steps", "times")

    def __init__(self, planner: AdaptivePlanner) -> None:
        super().__init__(planner.n_slots)
        self.memory: Memory = aligned_zeros(sum(planner.sizes), planner.dtype)
        self.outputs = np.zeros(planner.n_outputs)
        areas = planner.addresses(self.memory, planner.sizes)
        change, error = [int(areas[-1]) + k * planner.theta_size * planner.dtype.itemsize for k in (1, 2)]
        starts = planner.slot_starts * planner.dtype.itemsize
        weights, state_weights = ([_weights() for _ in range(planner.workers)] for _ in range(2))
        sums, errors, no_times = np.zeros(3), np.zeros(2 * planner.n_tiles), np.zeros(0)
        now = Progress()
        solve = AdaptiveSolve(
            planner.plan,
            now,
            self.tensors,
            self.outputs,
            weights,
            state_weights,
            sums,
            errors,
            change + starts,
            error + starts,
            Numbers(0),
            no_times,
            *areas,
        )
        at = [0, *accumulate(planner.sizes)]
        self.adjoint, self.state = self.memory[at[2] : at[3]], self.memory[at[3] : at[4]]
        self.store(solve)
        self._now = now.stored
        self._counts = self._now.array.view(np.int64)[1:5]  # the fields that follow the status
        self.capacity = 0
        self.steps: Memory = np.zeros(0, dtype=planner.dtype)
        self.times: npt.NDArray[np.float64] = np.zeros(0)
        self.grow(planner, planner.capacity)

    def grow(self, planner: AdaptivePlanner, capacity: int) -> None:
        """Makes room for `capacity` steps; what is there stays."""
        self.is_whole = False  # a signal may end this anywhere, with an address of memory that is no longer there
        old, old_times = self.steps, self.times
        self.steps = aligned_zeros((capacity * STAGES + PARTS - STAGES) * planner.size, planner.dtype)
        self.steps[: len(old)] = old
        self.times = np.zeros(2 * capacity + 2)
        self.times[: len(old_times)] = old_times
        self.capacity = planner.capacity = capacity
        self._now.array["capacity"] = capacity
        self._now.array["status"] = RUNNING
        self.solve.array["steps"], self.solve.array["times"] = self.steps.ctypes.data, self.times.ctypes.data
        self.is_whole = True

    @property
    def status(self) -> int:
        """Whether the solve goes on, and why not."""
        return int(self._now.array["status"][0])

    @property
    def counts(self) -> list[int]:
        """Accepted and rejected steps, evaluations of the field, and products with its Jacobian."""
        return self._counts.tolist()

    @property
    def now(self) -> Progress:
        """All of where the solve is."""
        return Progress.read(self._now)


def _weights() -> Weights:
    square = STAGES * STAGES
    return Weights(np.zeros(square), np.zeros(STAGES), np.zeros(STAGES), np.zeros(STAGES, np.int64), np.zeros(square))


def adaptive_planner(solve: Solve, gradient: bool) -> AdaptivePlanner:
    """The plan of such a solve, made once; with room for the adjoint where a `gradient` is wanted."""
    system, recipe, n_outputs = solve.system, solve.recipe, len(solve.ts)
    rest = (*key_of(system, solve.y0), n_outputs, gradient)
    recent = (id(system.spec), id(recipe), *rest)
    known: AdaptivePlanner | None = recalled(recent)
    if known is not None:
        return known
    planner = planner_for(
        (system.spec, recipe.scheme, recipe.steps, recipe.gradient, *rest),
        lambda: AdaptivePlanner(system, recipe, solve.y0, n_outputs, gradient),
    )
    return remember(recent, planner, system.spec, recipe)
