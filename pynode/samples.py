"""Finds the samples of a batch that make a solve fail, by their index along the first dimension of the state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHOWN = 5
"""Indices that a message lists."""


@dataclass(frozen=True)
class Samples:
    """Some of the `total` samples of a batch, by index."""

    indices: tuple[int, ...]
    total: int

    def __str__(self) -> str:
        """For a message, for instance "samples 3 and 17 of 64"."""
        if len(self.indices) == self.total:
            return f"all {self.total} samples"
        if len(self.indices) == 1:
            return f"sample {self.indices[0]} of {self.total}"
        first = [str(i) for i in self.indices[:SHOWN]]
        hidden = len(self.indices) - len(first)
        last = f"{hidden} more" if hidden else first.pop()
        return f"samples {', '.join(first)} and {last} of {self.total}"


def non_finite_samples(x: Tensor) -> Samples | None:
    """Samples of `x` `(batch, ...)` with NaN or infinite entries; None without a batch, or where all are finite."""
    if x.ndim < 2 or x.shape[0] < 2:
        return None
    bad = ~torch.isfinite(x.detach().reshape(len(x), -1)).all(1)
    indices = tuple(bad.nonzero().flatten().tolist())
    return Samples(indices, len(x)) if indices else None


def fastest_samples(slope: Tensor) -> Samples | None:
    """The samples of a batch that run away: those at least a tenth as fast as the fastest, if they are the fewer."""
    if slope.ndim < 2 or slope.shape[0] < 2:
        return None
    speed = slope.detach().reshape(len(slope), -1).double().norm(dim=1)
    indices = tuple((speed >= 0.1 * speed.max()).nonzero().flatten().tolist())
    return Samples(indices, len(slope)) if 0 < len(indices) <= len(slope) // 2 else None
