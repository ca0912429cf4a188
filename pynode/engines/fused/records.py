"""What is done with the rows of a record: stages, interpolation, errors."""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.jit import loop, part
from pynode.engines.fused.norms import add_squares
from pynode.engines.fused.opt_disc_tables import LAST, NEW
from pynode.engines.fused.padded import copy_rows
from pynode.engines.fused.pairs import STAGES
from pynode.engines.fused.simd import lanes, load, muladd, shift, splat, store

HELD = 256
"""Numbers that are worked on at a time, so that intermediate results stay in the nearest cache."""


@loop
def stage_rows(record: Any, size: int, scale: float, weights: Any, count: int, out: Any, rows: int) -> None:
    """out = scale state + the sum of the first `count` slopes of the `record` times their weights."""
    for i in range(0, rows, lanes(out)):
        found = scale * load(record, i)
        for j in range(count):
            found = muladd(load(record, (j + 1) * size + i), splat(out, weights[j]), found)
        store(out, i, found)


@loop
def between_rows(record: Any, size: int, weights: Any, out: Any, rows: int) -> None:
    """The interpolant between a record's state and the next one's, by the weights of `interpolate_weights`."""
    for i in range(0, rows, lanes(out)):
        found = load(record, i)
        for j in range(STAGES - 1):
            found = muladd(load(record, (j + 1) * size + i), splat(out, weights[j]), found)
        store(out, i, muladd(load(record, LAST * size + i), splat(out, weights[STAGES - 1]), found))


@loop
def add_error(
    record: Any, size: int, weights: Any, atol: float, rtol: float, rows: int, held: Any, sums: Any, at: int
) -> None:
    """Adds to sums[at] the squares of a step's scaled error; `held` is for `HELD` numbers."""
    i = 0
    while i < rows:
        n = min(HELD, rows - i)
        for k in range(0, n, lanes(held)):
            found = load(record, LAST * size + i + k) * weights[STAGES - 1]
            for j in range(STAGES - 1):
                found = muladd(load(record, (j + 1) * size + i + k), splat(held, weights[j]), found)
            store(held, k, found)
        add_squares(sums, at, held, shift(record, i), shift(record, NEW * size + i), atol, rtol, n)
        i += n


@part
def advance(record: Any, size: int) -> None:
    """The next record takes this one's place."""
    copy_rows(shift(record, NEW * size), record, 2 * size)
