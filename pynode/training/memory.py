"""Peak memory of a piece of work: what the device reports on CUDA, a count of live tensors on the CPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(work: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Runs `work()` once and returns the largest number of bytes its own tensors held at one time.

    On CUDA it is the allocator's own figure, above what was allocated before.  The CPU has no such figure (resident
    memory is neither exact nor repeatable), so every tensor storage that an operator returns is followed from birth to
    death; scratch space inside a kernel is not seen.  That slows the work down: never time it in the same run.
    """
    device = torch.device(device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    with _LiveStorages() as live:
        work()
    return live.peak


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
