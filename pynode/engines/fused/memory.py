"""Memory that kernels work in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pynode.memory import active_meter

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


def is_measured() -> bool:
    """Whether memory is measured: what lies in store from earlier solves would not be counted then."""
    return active_meter() is not None
