"""Padded rows of samples, and their way from torch's tensors and back."""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.description import COLUMNS, STATE
from pynode.engines.fused.jit import loop, part
from pynode.engines.fused.simd import lanes, load, splat, store


@loop
def copy_rows(source: Any, target: Any, size: int) -> None:
    """Copies whole vectors."""
    for i in range(0, size, lanes(source)):
        store(target, i, load(source, i))


@loop
def clear_rows(rows: Any, size: int) -> None:
    """Writes zeros."""
    for i in range(0, size, lanes(rows)):
        store(rows, i, splat(rows, 0.0))


@loop
def read_rows(d: Any, source: Any, rows: Any, n: int) -> None:
    """Rows of torch's tensor to padded rows, padding included: a solve that blew up may have left NaN there."""
    for s in range(n):
        for j in range(d[COLUMNS]):
            rows[s * d[STATE] + j] = source[s * d[COLUMNS] + j]
        for j in range(d[COLUMNS], d[STATE]):
            rows[s * d[STATE] + j] = 0.0


@part
def add_rows(d: Any, source: Any, rows: Any, n: int) -> None:
    """Adds rows of torch's tensor to padded rows."""
    for s in range(n):
        for j in range(d[COLUMNS]):
            rows[s * d[STATE] + j] += source[s * d[COLUMNS] + j]


@loop
def write_rows(d: Any, rows: Any, target: Any, n: int) -> None:
    """Padded rows to those of torch's tensor."""
    for s in range(n):
        for j in range(d[COLUMNS]):
            target[s * d[COLUMNS] + j] = rows[s * d[STATE] + j]
