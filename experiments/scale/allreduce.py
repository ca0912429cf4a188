"""Time of an all-reduce by a ring, and the links that it goes over.

A ring of k sends 2 (k - 1) messages of 1/k of the bytes each (Patarasu & Yuan 2009), so large messages take
2 (k - 1) / k x bytes / bandwidth however many take part, and small ones 2 (k - 1) latencies.  NCCL does it so within a
node, and gloo unless told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """Bytes a second in one direction, and seconds before the first one arrives."""

    bandwidth: float
    latency: float


def allreduce_seconds(size: float, ranks: int, link: Link) -> float:
    """Seconds until all `ranks` have the sum of their `size` bytes."""
    if ranks <= 1:
        return 0.0
    messages = 2 * (ranks - 1)
    return messages * (size / ranks / link.bandwidth + link.latency)
