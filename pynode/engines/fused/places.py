"""Places in memory, rows padded to whole vectors, and the form of a product that suits its sizes."""

from __future__ import annotations

from pynode.engines.fused.simd import VECTOR_BYTES

SUM_COST = 6
"""What adding up the lanes of a vector costs, in multiply-adds of vectors."""


class Places:
    """Hands out consecutive places in memory."""

    def __init__(self) -> None:
        self.total = 0

    def take(self, n: int) -> int:
        """Where the next `n` numbers lie."""
        start, self.total = self.total, self.total + int(n)
        return start


def padded(n: int, itemsize: int) -> int:
    """Numbers of a row of `n` columns with its padding."""
    lanes = VECTOR_BYTES // itemsize
    whole = -(-n // lanes) * lanes
    # rows of a multiple of 2 KiB would compete for the same few places of the nearest cache
    return whole + lanes if whole * itemsize % 2048 == 0 else whole


def spreads(terms: int, columns: int, itemsize: int) -> bool:
    """Whether the first form of `field.products` is the cheaper one."""
    lanes = VECTOR_BYTES // itemsize
    vectors = -(-columns // lanes)
    return terms * vectors <= columns * (-(-terms // lanes) + SUM_COST)
