"""Arrays of the host as tensors on a device."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def placed(values: npt.NDArray[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """`values` on `device`, perhaps in another `dtype`; a tensor on the CPU may share their memory.

    To a GPU they go by way of pinned memory, so that the host does not wait for the work queued before.
    """
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device=device, dtype=dtype)
    return tensor.to(dtype=dtype).pin_memory().to(device, non_blocking=True)
