"""Copies arrays of the host to a device."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def placed(values: npt.NDArray[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """`values` as a tensor on `device`, in `dtype` if that is given; a tensor on the CPU may share their memory.

    The copy to a GPU is made from pinned memory, so that the host does not wait for the work that the GPU has queued.
    """
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device=device, dtype=dtype)
    return tensor.to(dtype=dtype).pin_memory().to(device, non_blocking=True)
