"""Checks of data for NaN and infinite entries; the error says how many there are and where the first one is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.transforms import has_values


def is_finite(values: Tensor) -> bool:
    """Whether all entries are finite: their sum tells at a third of the cost, unless it overflows.

    Entries that Python can't read, as inside vmap, count as finite.
    """
    if not has_values(values):
        return True
    return math.isfinite(values.detach().sum()) or bool(torch.isfinite(values).all())


def check_finite(argument: str, values: Tensor, remedy: str) -> None:
    """Raises `InvalidArgument` where entries of `values` are NaN or infinite."""
    if is_finite(values):
        return
    bad = ~torch.isfinite(values.detach())
    first = tuple(torch.nonzero(bad)[0].tolist())
    count = int(bad.sum())
    at = f"the first, {float(values.detach()[first])}, " + (f"at index {first}" if first else "is the only one")
    raise InvalidArgument(
        argument,
        "NaN or infinite entries",
        f"{count:,} of {values.numel():,} entries {'is' if count == 1 else 'are'} not finite, {at}",
        remedy,
    )
