"""Scratch buffers of the kernels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pynode.memory import active_meter

T = TypeVar("T")

ALIGNMENT = 64
"""Bytes of the nearest cache's lines."""


def aligned_zeros(n: int, dtype: Any) -> npt.NDArray[Any]:
    """`n` zeros of `dtype`, starting with a line of the cache.

    Where somebody measures memory it is torch's, which is counted; else numpy's, whose zeros cost nothing until they
    are touched.
    """
    size = n * dtype.itemsize + ALIGNMENT
    raw = (
        np.zeros(size, dtype=np.uint8)
        if active_meter() is None
        else torch.zeros(size, dtype=torch.uint8, device="cpu").numpy()
    )
    return _aligned(raw, n, dtype)


def _aligned(raw: npt.NDArray[Any], n: int, dtype: Any) -> npt.NDArray[Any]:
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n * dtype.itemsize].view(dtype)


class Pool:
    """Buffers of solves whose size may not come again, for solves of other sizes."""

    def __init__(self) -> None:
        self._buffers: list[npt.NDArray[Any]] = []

    def zeros(self, n: int, dtype: Any) -> npt.NDArray[Any]:
        """As `aligned_zeros`, in a buffer of an earlier solve where one fits: its pages are there already."""
        size = n * dtype.itemsize + ALIGNMENT
        if active_meter() is not None:
            return aligned_zeros(n, dtype)
        for i in range(len(self._buffers)):
            raw = self._taken(i, size)
            if raw is not None:
                memory = _aligned(raw, n, dtype)
                memory.fill(0)
                return memory
        # a power of two, so that it fits somewhat larger batches too; what is never touched takes no memory
        return _aligned(np.zeros(1 << (size - 1).bit_length(), dtype=np.uint8), n, dtype)

    def _taken(self, i: int, size: int) -> npt.NDArray[Any] | None:
        """The buffer at a place, which is the caller's from now on, where it fits `size` bytes.

        Other threads, and solves that the garbage collector ends meanwhile, move buffers to other places: what has been
        taken is looked at once more.
        """
        with suppress(IndexError):
            if _fits(self._buffers[i], size):
                raw = self._buffers.pop(i)
                if _fits(raw, size):
                    return raw
                self._buffers.append(raw)
        return None

    def take_back(self, memory: npt.NDArray[Any]) -> None:
        """Keeps the buffer of `memory`, as `zeros` gave it, and forgets the oldest where there are too many."""
        if active_meter() is None and memory.base is not None:
            self._buffers.append(memory.base)
            del self._buffers[:-POOL_BUFFERS]
            while sum(raw.nbytes for raw in self._buffers) > POOL_BYTES:
                del self._buffers[:1]

    def clear(self) -> None:
        """Forgets all buffers."""
        self._buffers.clear()


def _fits(raw: npt.NDArray[Any], size: int) -> bool:
    return size <= raw.nbytes <= POOL_SLACK * size


POOL_BUFFERS, POOL_BYTES, POOL_SLACK = 8, 64 << 20, 4
"""Buffers that a pool keeps, their size altogether, and how much larger than what is asked for one may be."""

SHARED = Pool()
"""The pool of all plans."""


class Spares(list[T]):
    """Memories of earlier solves, at most `most`; of no use while memory is measured, which would not see them."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def borrow(self, make: Callable[[], T]) -> T:
        """One of them, or what `make` makes."""
        if self and active_meter() is None:
            with suppress(IndexError):  # another thread may have been quicker
                return self.pop()
        return make()

    def take_back(self, item: T) -> None:
        """Keeps `item` where there is room."""
        if len(self) < self.most and active_meter() is None:
            self.append(item)


def alike(p: Tensor) -> Tensor:
    """An empty contiguous tensor like `p`; twice as fast by `empty_like`, which keeps strides."""
    return torch.empty_like(p) if p.is_contiguous() else torch.empty(p.shape, dtype=p.dtype, device=p.device)
