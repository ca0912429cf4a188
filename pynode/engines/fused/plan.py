"""Plans of solves: sizes and places that do not change from solve to solve, and memory that is used again.

A planner knows everything about a solve but its times and tensors; planners are kept, and so is the memory that their
solves work in.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pynode.engines.fused.field.compiled import entry_address
from pynode.engines.fused.field.layout import describe
from pynode.engines.fused.memory import SHARED
from pynode.engines.fused.records import Numbers, Record, Tableau, Tensors, Tiles
from pynode.fields.base import System
from pynode.schemes.base import Scheme

PLANS_KEPT, PLANS_BYTES = 64, 256 << 20
"""Plans that are kept, and the memory that all of them may keep; the oldest have to go."""

_PLANS: dict[Any, Any] = {}
_RECENT: dict[Any, tuple[Any, Any]] = {}
"""What has been looked up lately, by the addresses of objects, which are kept beside it."""

P = TypeVar("P", bound="Planner")
T = TypeVar("T")
Memory: TypeAlias = npt.NDArray[Any]


class Planner:
    """What all plans have: a solve of `system` from states like `y0` with `n_outputs` output times."""

    kept_bytes: int
    """Memory that it may keep for further solves."""

    def __init__(self, system: System, y0: Tensor, n_outputs: int) -> None:
        self.dtype: Any = np.dtype(np.float64 if y0.dtype is torch.float64 else np.float32)
        self.like: Memory = np.zeros(1, dtype=self.dtype)
        self.batch = y0.numel() // system.columns
        self.field = describe(system, self.batch, self.dtype.itemsize)
        self.field.entry = entry_address(self.field.is_program, self.dtype.itemsize)
        self.n_slots = len(system.theta)
        self.kinds = [(p.numel(), p.dtype, p.device) for p in (y0, *system.theta)]
        self.states = torch.empty((n_outputs, *y0.shape), dtype=y0.dtype, device=y0.device)  # to make others alike
        self._starts = tile_starts(self.batch, self.field.capacity)
        self.n_tiles = len(self._starts) - 1
        self.threads = torch.get_num_threads()
        self.work = self.field.work * (1 + self.field.n_tangents) * self.batch  # multiply-adds of an evaluation

    def tiles(self, n_groups: int) -> Tiles:
        """The batch in so many groups of tiles."""
        group_starts = [self.n_tiles * i // n_groups for i in range(n_groups + 1)]
        return Tiles(self.batch, self.n_tiles, n_groups, np.array(self._starts), np.array(group_starts))

    def addresses(self, memory: Memory, sizes: list[int]) -> list[Numbers]:
        """Where consecutive pieces of these sizes begin in `memory`."""
        first = int(memory.ctypes.data)
        return [Numbers(first + place * self.dtype.itemsize) for place in accumulate(sizes[:-1], initial=0)]


class Work:
    """The memory of one solve, and the record by which its kernel finds everything."""

    __slots__ = ("_fixed", "_tensors", "address", "solve", "tensors", "theta", "theta_bar")

    def __init__(self, n_slots: int) -> None:
        self.theta, self.theta_bar = np.zeros((2, n_slots), dtype=np.int64)
        none = Numbers(0)
        self.tensors = Tensors(none, none, none, none, none, self.theta, self.theta_bar)
        self._tensors = self.tensors.stored.array
        self._fixed = self._tensors[0].item()[-2:]

    def store(self, solve: Record) -> None:
        """Makes `solve` the record of the kernel."""
        self.solve = solve.stored
        self.address = self.solve.address

    def point(
        self,
        y0: Tensor | None = None,
        states: Tensor | None = None,
        probes: Tensor | None = None,
        cotangent: Tensor | None = None,
        y0_bar: Tensor | None = None,
    ) -> None:
        """Tells the kernel where these tensors lie."""
        self._tensors[0] = (
            0 if y0 is None else y0.data_ptr(),
            0 if states is None else states.data_ptr(),
            0 if probes is None else probes.data_ptr(),
            0 if cotangent is None else cotangent.data_ptr(),
            0 if y0_bar is None else y0_bar.data_ptr(),
            *self._fixed,
        )


def key_of(system: System, y0: Tensor) -> tuple[Any, ...]:
    """What plans depend on, beside the specification and the recipe."""
    flow = system.flow
    costs = None if flow is None else (flow["divergence"], flow["kinetic"], flow["jacobian"], flow.get("context", 0))
    return costs, y0.shape, y0.dtype, torch.get_num_threads()


def recalled(key: Any) -> Any:
    """What `remember` was told under this key, None for nothing.

    The key holds addresses of objects: to hash specification and recipe takes longer than all else, and nearly always
    they are the very same objects.
    """
    known = _RECENT.get(key)
    return None if known is None else known[0]


def remember(key: Any, result: T, *objects: object) -> T:
    """Remembers `result` under a key with the addresses of these objects, which stay alive; returns it."""
    if len(_RECENT) >= PLANS_KEPT:
        _RECENT.clear()
    _RECENT[key] = result, objects
    return result


def planner_for(key: Any, make: Callable[[], P]) -> P:
    """The planner with this key, made once.

    Forgets the oldest where there would be too many of them, or too much memory in them.
    """
    known: P | None = _PLANS.get(key)
    if known is not None:
        return known
    planner = make()
    _RECENT.clear()
    total = planner.kept_bytes + sum(p.kept_bytes for p in list(_PLANS.values()))
    for old_key, old in list(_PLANS.items()):
        if len(_PLANS) < PLANS_KEPT and total <= PLANS_BYTES:
            break
        _PLANS.pop(old_key, None)
        total -= old.kept_bytes
    _PLANS[key] = planner
    return planner


def forget_plans() -> None:
    """Forgets all plans and their memory."""
    _RECENT.clear()
    _PLANS.clear()
    SHARED.clear()


def tableau_of(scheme: Scheme) -> Tableau:
    """The record of a scheme."""
    stages, pair = scheme.n_stages, scheme.pair
    a = [(*row, *(0.0,) * (stages - len(row))) for row in scheme.a]
    error = () if pair is None else pair.error
    interpolant = () if pair is None or pair.interpolant is None else pair.interpolant
    return Tableau(stages, *(np.array(x, dtype=np.float64) for x in (scheme.c, a, scheme.b, error, interpolant)))


def tile_starts(batch: int, capacity: int) -> list[int]:
    """The first sample of every tile, and the batch: tiles of nearly equal size, whose number suits few threads."""
    tiles = -(-batch // capacity)
    if tiles > 2:
        tiles = -(-tiles // 4) * 4
    quads = -(-batch // 4)
    return sorted({min(batch, 4 * (quads * i // tiles)) for i in range(tiles)} | {batch})
