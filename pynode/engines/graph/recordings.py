"""Recordings of solves, kept for the next solve of the same kind: what a recording is, and when it is forgotten."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn

from pynode.engines.graph.capture import NotRecordable, Recorder
from pynode.precision import active_precision
from pynode.solve import Run, Solve

KEPT = 16
"""Recordings that are kept; the least recently used one is dropped first."""

REFUSED = 64
"""Kinds of solves that are remembered because they can't be recorded."""

FEW_SOLVES = 3
"""Solves that a recording has to serve to be worth its cost."""

MOST_RECAPTURES = 8
"""Recordings of one module in a row that served fewer than `FEW_SOLVES` solves, after which no more are made of it."""


class Recorded(ABC):
    """The recording of one kind of solve, which writes the inputs of a solve into static tensors and replays."""

    @abstractmethod
    def run(self, solve: Solve) -> Run:
        """Solves; `solve` must be of the kind that was recorded.  May raise `NotRecordable` before it solves."""


class Kind(NamedTuple):
    """What the recording of a solve depends on.

    Solves with equal keys can use the same recording.  A key that names objects by `id` lists them as `owners`: the
    recording is forgotten when one of them is freed, since another object may get the same id.  `module` is the field
    whose recordings are counted.  `record` makes the recording, or raises `NotRecordable`.
    """

    key: Hashable
    owners: Sequence[Any]
    module: nn.Module
    record: Callable[[Recorder], Recorded]


class _Entry:
    """A recording, or the reason why there is none; `owners` are ids."""

    def __init__(self, value: Recorded | str, owners: frozenset[int]) -> None:
        self.value, self.owners, self.uses = value, owners, 0


class Recordings:
    """Finds or makes the recording of each solve; `kind_of` describes a solve or raises `NotRecordable`.

    Recordings and refusals are kept apart, each up to a number of its own.  Every recording has a recorder of its own,
    made by `new_recorder` for the device of the state.
    """

    def __init__(self, new_recorder: Callable[[torch.device], Recorder], kind_of: Callable[[Solve], Kind]) -> None:
        self._new_recorder, self._kind_of = new_recorder, kind_of
        self._lock = threading.RLock()
        self._kept: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._refused: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._owners: dict[int, weakref.ref[Any]] = {}
        self._recaptures: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

    def __len__(self) -> int:
        """The number of recordings that are kept."""
        return len(self._kept)

    def forget(self) -> None:
        """Forgets all recordings and refusals; a solve whose gradient may still be asked for keeps its recording."""
        with self._lock:
            self._kept.clear()
            self._refused.clear()
            self._owners.clear()
            self._recaptures.clear()

    def obstacle(self, solve: Solve) -> str | None:
        """Why `solve` can't use a recording, as a sentence; None if it can.  Makes the recording if there is none."""
        try:
            solve.__dict__["_recorded"] = self.recorded(solve)
        except NotRecordable as error:
            return str(error)
        return None

    def run(self, solve: Solve) -> Run:
        """Solves by a recording; raises `NotRecordable`."""
        recorded: Recorded = solve.__dict__.pop("_recorded", None) or self.recorded(solve)
        return recorded.run(solve)

    def recorded(self, solve: Solve) -> Recorded:
        """The recording for `solve`, made if there is none; raises `NotRecordable`."""
        kind = self._kind_of(solve)
        key = (kind.key, _choice_of_kernels(solve.y0.device.type))
        with self._lock:
            self._follow(kind.owners)
            if (refused := self._refused.get(key)) is not None:
                raise NotRecordable(str(refused.value))
            entry = self._kept.get(key)
            if entry is None:
                entry = self._record(key, kind, solve.y0.device)
            entry.uses += 1
            if entry.uses >= FEW_SOLVES:
                self._recaptures.pop(kind.module, None)
            self._kept.move_to_end(key)
        assert isinstance(entry.value, Recorded)
        return entry.value

    def _record(self, key: Hashable, kind: Kind, device: torch.device) -> _Entry:
        made = self._recaptures.get(kind.module, 0)
        if made >= MOST_RECAPTURES:
            raise NotRecordable("its shapes, times or tensors change from solve to solve")
        self._recaptures[kind.module] = made + 1
        owners = frozenset(map(id, kind.owners))
        try:
            entry = self._kept[key] = _Entry(kind.record(self._new_recorder(device)), owners)
        except NotRecordable as error:
            self._refused[key] = _Entry(str(error), owners)
            _shorten(self._refused, REFUSED)
            raise
        _shorten(self._kept, KEPT)
        return entry

    def _follow(self, owners: Sequence[Any]) -> None:
        """Makes sure that what depends on these objects is forgotten with them: one weak reference for each object."""
        for owner in owners:
            known = self._owners.get(id(owner))
            if known is None or known() is not owner:
                self._forget(id(owner))
                self._owners[id(owner)] = weakref.ref(owner, partial(_forget_in, weakref.ref(self), id(owner)))

    def _forget(self, owner: int) -> None:
        with self._lock:
            self._owners.pop(owner, None)
            for entries in (self._kept, self._refused):
                for key in [key for key, entry in list(entries.items()) if owner in entry.owners]:
                    entries.pop(key, None)


def _forget_in(recordings: weakref.ref[Recordings], owner: int, _: object) -> None:
    if (alive := recordings()) is not None:
        alive._forget(owner)


def _shorten(entries: OrderedDict[Hashable, _Entry], most: int) -> None:
    while len(entries) > most:
        entries.popitem(last=False)


def _choice_of_kernels(device: str) -> tuple[Any, ...]:
    """The settings by which torch chooses the kernels that a recording holds."""
    products = torch.backends.cuda.matmul
    chosen = getattr(products, "fp32_precision", None)  # "none" is torch's default, which is "ieee"
    return (
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
        products.allow_tf32 if chosen is None else chosen == "tf32",
        torch.are_deterministic_algorithms_enabled(),
        active_precision(),
    )
