"""Covariates: what is known of a trajectory and constant over it, words as classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.names import as_argument
from pynode.trajectories.identity import codes_of
from pynode.trajectories.order import Group

CLASSES = 5
"""Whole numbers 1, 2, ... up to this one are classes."""


@dataclass(frozen=True)
class Covariate:
    """Columns of numbers `(trajectories, names)` that one column of the file gives, and what to say about it."""

    names: tuple[str, ...]
    values: Array
    notice: str = ""


def changes_in(column: Column, groups: Sequence[Group]) -> tuple[Group, int] | None:
    """The first trajectory in which a column changes, and the row where; None where it is constant over each."""
    codes = codes_of(column)
    for group in groups:
        rows = group.rows[codes[group.rows] >= 0]
        different = np.flatnonzero(codes[rows] != codes[rows[0]]) if rows.size else rows
        if different.size:
            return group, int(rows[different[0]])
    return None


def covariate_of(frame: Frame, column: Column, groups: Sequence[Group]) -> Covariate:
    """The covariate in a column; raises `DataError` where it changes over a trajectory, or is missing in one."""
    if column.trouble:
        raise DataError(column.trouble)
    if (change := changes_in(column, groups)) is not None:
        group, row = change
        raise DataError(
            f"{frame.place(row)}, {column.label}: the covariate changes within trajectory '{group.name}'; "
            f"make it an input (inputs={as_argument([column.key])})"
        )
    codes = codes_of(column)
    first = []
    for group in groups:
        known = group.rows[codes[group.rows] >= 0]
        if not known.size:
            raise DataError(
                f"{frame.place(int(group.rows[0]))}, {column.label}: the covariate is missing in all rows{group.told}; "
                f"write it in one, or leave the trajectory out (leave_out={as_argument([group.name])})"
            )
        first.append(int(known[0]))
    if column.cells is not None:
        return _classes(column, [column.cells[row] for row in first], "words")
    values = column.values[first]
    if _are_classes(values):
        return _classes(column, [f"{value:.0f}" for value in values.tolist()], "numbers of classes")
    return Covariate((column.key,), values[:, None])


def _are_classes(values: Array) -> bool:
    """Whether the numbers are 1, 2, 3 (or from 0 on), of which each occurs several times."""
    different, counts = np.unique(values, return_counts=True)
    start = different[0]
    counting = start in (0, 1) and bool((np.diff(different) == 1).all())
    return counting and 3 <= len(different) <= CLASSES and bool((counts >= 2).all())


def _classes(column: Column, words: Sequence[str], what: str) -> Covariate:
    known = sorted(set(words), key=_in_order)
    values = np.array([[float(word == name) for name in known] for word in words])
    told = f"{column.label} holds {what}: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
    return Covariate(tuple(f"{column.key}={name}" for name in known), values, told)


def _in_order(word: str) -> tuple[float, str]:
    try:
        return float(word), word
    except ValueError:
        return math.inf, word
