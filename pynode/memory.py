"""Peak memory of a piece of work: what the device reports on CUDA, a count of live tensors on the CPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryMeter:
    """The largest number of bytes held at one time so far, or in the whole block once that has been left."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read

    @property
    def peak_bytes(self) -> int:
        """In bytes, above what was held when the block began."""
        return self._read()

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled or copied meter keeps the figure that it has now."""
        return _stopped_at, (self.peak_bytes,)


def _stopped_at(peak: int) -> MemoryMeter:
    return MemoryMeter(lambda: peak)


_ACTIVE: ContextVar[MemoryMeter | None] = ContextVar("pynode_memory_meter", default=None)


def active_meter() -> MemoryMeter | None:
    """The meter of the innermost `measure_memory` block, None outside of any."""
    return _ACTIVE.get()


@contextmanager
def measure_memory(device: torch.device | str = "cpu") -> Iterator[MemoryMeter]:
    """Measures the block; solves inside it carry the figure in `stats.peak_memory_bytes`, their gradients included.

    On CUDA it is the allocator's own figure.  The CPU has no such figure (resident memory is neither exact nor
    repeatable), so every tensor storage that an operator returns is followed from birth to death; scratch space inside
    a kernel is not seen.  That slows the work down: never time it in the same run.
    """
    device = torch.device(device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        meter = MemoryMeter(lambda: int(torch.cuda.max_memory_allocated(device) - before))
        scope: Any = nullcontext()
    else:
        live = _LiveStorages()
        meter, scope = MemoryMeter(lambda: live.peak), live
    token = _ACTIVE.set(meter)
    try:
        with scope:
            yield meter
        peak = meter.peak_bytes  # what happens later is no part of the block
        meter._read = lambda: peak
    finally:
        _ACTIVE.reset(token)


def peak_bytes(work: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Runs `work()` once and returns the largest number of bytes that it held at one time; see `measure_memory`."""
    with measure_memory(device) as meter:
        work()
    return meter.peak_bytes


class _LiveStorages(TorchDispatchMode):
    """Counts the bytes of all storages that operators return while the mode is on, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.peak = 0, 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # a storage that came in with an argument (a view, an in-place result) is no new memory
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._known and key not in given:
                    self._known.add(key)
                    self.alive += size
                    self.peak = max(self.peak, self.alive)
                    weakref.finalize(storage, self._freed, key, size)
        return result

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size
