"""Memory that kernels work in and write to."""

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
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + n * dtype.itemsize].view(dtype)


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
