"""Inputs: known functions of time; how they go on between their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pynode.datasets.frame_table import Column
from pynode.datasets.splits import Array
from pynode.trajectories.axis import words_of
from pynode.trajectories.data import Input, InputKind
from pynode.trajectories.order import Group

DOSES = frozenset(
    ("dose", "doses", "dosis", "amt", "amount", "bolus", "injection", "inject", "impulse", "kick", "pulse")
)
RATES = frozenset(("rate", "infusion", "flow", "speed", "concentration", "conc"))
_ON = "true yes on t y open opened high enabled active running ja an ein auf offen"
_OFF = "false no off f n closed shut low disabled inactive stopped nein aus zu geschlossen"
WORDS_OF_TRUTH = {
    **dict.fromkeys(_ON.split(), 1.0),
    **dict.fromkeys(_OFF.split(), 0.0),
}
"""What stands for 1 and for 0 in an input."""


def is_dose(column: Column) -> bool:
    """Whether a column is called like doses that are given at once."""
    words = set(words_of(column.name))
    return bool(words & DOSES) and not words & RATES


def are_jumps(column: Column, observed: Array) -> bool:
    """Whether a column holds doses between the rows with values: called so, and in no row with any of these.

    `observed` `(rows,)` says which rows have values.
    """
    given = np.isfinite(column.values) & (column.values != 0)
    return is_dose(column) and bool(given.any()) and not bool((given & observed).any())


def kind_of_input(column: Column, groups: Sequence[Group], observed: Array) -> InputKind:
    """How an input goes on between its rows, by its name and its values."""
    own = [values[np.isfinite(values)] for group in groups if (values := column.values[group.rows]).size]
    rows = sum(len(group.rows) for group in groups)
    doses = sum(int((values > 0).sum()) for values in own)
    if is_dose(column) and doses < 0.8 * rows and all((values >= 0).all() for values in own):
        return "jumps"
    changes = np.concatenate([np.diff(values) for values in own]) if own else np.empty(0)
    if not changes.size:
        return "interpolated"
    given = np.isfinite(column.values) & (column.values != 0)
    isolated = all(not ((values[1:] != 0) & (values[:-1] != 0)).any() for values in own)
    zeros = sum(int((values == 0).sum()) for values in own)
    switched = bool((changes != 0).all())  # rows stand only where it changes
    back_at_0 = bool(((column.values == 0) & ~observed).any())  # a dose would need no such row
    rows_of_it = sum(len(values) for values in own)
    if isolated and zeros > 0.5 * rows_of_it and not (given & observed).any() and not (switched and back_at_0):
        return "jumps"
    different = np.unique(np.concatenate(own))
    moved = np.abs(changes[changes != 0])
    still = 1 - moved.size / changes.size
    if not moved.size or len(different) <= 2:
        return "steps"
    # rounded values stand still, too, but then move by the smallest unit
    levels = len(different) <= max(3, 0.1 * len(changes))
    if switched and ((isolated and back_at_0) or (levels and 2 * len(different) <= rows_of_it)):
        return "steps"
    return "steps" if still >= 0.5 and (levels or np.median(moved) > 1.5 * np.diff(different).min()) else "interpolated"


def as_numbers(column: Column) -> Column | None:
    """A column of on and off (true, yes, on, ...) as 1 and 0; None for other words."""
    if column.kind == "number":
        return column
    cells = [cell.lower() for cell in column.cells or ()]
    if column.kind != "text" or not all(cell in WORDS_OF_TRUTH for cell in cells if cell):
        return None
    values = np.array([WORDS_OF_TRUTH[cell] if cell else math.nan for cell in cells])
    return Column(column.name, column.number, "number", values, None, column.unit)


def input_of(column: Column, kind: InputKind, times: Array, rows: Array) -> Input:
    """The input of one trajectory: the rows `rows`, in order of time, in which the column has a value."""
    values = column.values[rows]
    known = np.isfinite(values) & ((values != 0) | (kind != "jumps"))
    return Input(times[rows][known], values[known])
