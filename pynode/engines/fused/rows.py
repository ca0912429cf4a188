"""Padded rows of samples: their way from torch's tensors and back, combinations of them, and scaled sums of squares.

Rows are `field.state_step` numbers apart.  A part is such rows of all samples, one after the other; several parts of
the same size, one behind the other, are a state with its slopes.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import loop, part
from pynode.engines.fused.field.layout import Field
from pynode.engines.fused.simd import lanes, larger, load, magnitude, muladd, splat, store, total

HELD = 256
"""Numbers that an error is estimated for at a time, so that intermediate results stay in the nearest cache."""


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
def read_rows(field: Field, source: Any, rows: Any, n: int) -> None:
    """Rows of torch's tensor to padded rows, padding included: a solve that blew up may have left NaN there."""
    for s in range(n):
        for j in range(field.columns):
            rows[s * field.state_step + j] = source[s * field.columns + j]
        for j in range(field.columns, field.state_step):
            rows[s * field.state_step + j] = 0.0


@part
def add_rows(field: Field, source: Any, rows: Any, n: int) -> None:
    """Adds rows of torch's tensor to padded rows."""
    for s in range(n):
        for j in range(field.columns):
            rows[s * field.state_step + j] += source[s * field.columns + j]


@loop
def write_rows(field: Field, rows: Any, target: Any, n: int) -> None:
    """Padded rows to those of torch's tensor."""
    for s in range(n):
        for j in range(field.columns):
            target[s * field.columns + j] = rows[s * field.state_step + j]


@loop
def combine(parts: Any, size: int, scale: float, weights: Any, count: int, out: Any, rows: int) -> None:
    """out = scale state + the sum of the first `count` slopes behind the state times their weights."""
    for i in range(0, rows, lanes(out)):
        combined = scale * load(parts, i)
        for j in range(count):
            combined = muladd(load(parts, (j + 1) * size + i), splat(out, weights[j]), combined)
        store(out, i, combined)


@loop
def add_squares(x: Any, y: Any, z: Any, atol: float, rtol: float, size: int, sums: Any, at: int) -> None:
    """Adds to sums[at] the squares of x / (atol + rtol max(|y|, |z|)) over `size` (whole vectors) entries."""
    absolute, relative, squares = splat(x, atol), splat(x, rtol), splat(x, 0.0)
    for i in range(0, size, lanes(x)):
        ratio = load(x, i) / muladd(relative, larger(magnitude(load(y, i)), magnitude(load(z, i))), absolute)
        squares = muladd(ratio, ratio, squares)
    sums[at] += total(squares)


@loop
def add_plain_squares(x: Any, size: int, sums: Any, at: int) -> None:
    """Adds to sums[at] the squares of `x`."""
    squares = splat(x, 0.0)
    for i in range(0, size, lanes(x)):
        squares = muladd(load(x, i), load(x, i), squares)
    sums[at] += total(squares)
