"""Columns that other columns determine: copies, and linear combinations with an offset."""

from __future__ import annotations

import numpy as np

from pynode.datasets.column_names import ColumnNames
from pynode.datasets.resolution import resolution
from pynode.datasets.splits import Array

SAMPLED = 20_000
"""Rows that are looked at."""
EXACT = 1e-6
"""Standard deviation of what the others leave of a column, in its own, below which they determine it."""
CLOSE = 0.05
"""The same where the rounding of the columns explains what is left."""


def dependent_columns(rows: Array, columns: ColumnNames, noise: Array | None = None) -> dict[int, str]:
    """A sentence for each column that earlier ones determine, up to the rounding in which the columns are given.

    `noise` `(dim,)` is not 0 for columns that are no longer rounded.
    """
    if len(rows) > SAMPLED:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), SAMPLED, replace=False))]
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    scaled = (rows - mean) / np.where(std > 0, std, 1) / np.sqrt(len(rows))
    basis = np.empty((len(rows), 0))
    independent: list[int] = []
    sentences: dict[int, str] = {}
    for column in range(rows.shape[1]):
        left = scaled[:, column].copy()
        for _ in range(2):  # once more, against rounding
            left -= basis @ (basis.T @ left)
        size = float(np.linalg.norm(left))
        if size < CLOSE and independent:
            weights = np.linalg.lstsq(scaled[:, independent], scaled[:, column], rcond=None)[0]
            raw = weights * std[column] / std[independent]
            if size <= EXACT or size * std[column] <= _rounding(rows, independent, column, raw, noise):
                sentences[column] = _sentence(rows, columns, column, independent, weights)
                continue
        if size > 0:
            basis = np.column_stack((basis, left / size))
            independent.append(column)
    return sentences


def _rounding(rows: Array, independent: list[int], column: int, weights: Array, noise: Array | None) -> float:
    """Standard deviation of the rounding error in `column` minus the weighted sum, with a fifth to spare."""
    variance = 0.0
    for c, weight in zip([column, *independent], [1.0, *weights], strict=True):
        unit = None if noise is not None and noise[c] else resolution(rows[:, c])
        variance += (weight * (unit or 0.0)) ** 2 / 12
    return 1.2 * float(np.sqrt(variance))


def _sentence(rows: Array, columns: ColumnNames, column: int, independent: list[int], weights: Array) -> str:
    parts = [c for c, weight in zip(independent, weights, strict=True) if abs(weight) > 1e-3]
    if len(parts) != 1:
        return f"{columns.label(column)} is a linear combination of {columns.labels(parts)}"
    if np.array_equal(rows[:, column], rows[:, parts[0]]):
        return f"{columns.label(column)} repeats {columns.label(parts[0])}"
    return f"{columns.label(column)} is {columns.label(parts[0])} in another unit (a multiple of it plus a constant)"
