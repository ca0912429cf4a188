"""Inputs: known functions of time; how they go on between their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.errors import InvalidArgument
from pynode.trajectories.axis import words_of
from pynode.trajectories.data import Input, InputKind
from pynode.trajectories.order import Group

SURE_DOSES = frozenset(("dose", "doses", "dosis", "amt", "bolus", "injection", "inject", "injected"))
DOSES = SURE_DOSES | frozenset(("amount", "impulse", "kick", "pulse"))
ROUTES_OF_DOSES = frozenset(("oral", "iv", "im", "sc", "po", "intravenous", "subcutaneous", "intramuscular"))
"""Columns are called so, beside a unit of an amount or alone, where each route has a column of doses."""
_AMOUNTS = "ng µg ug mcg mg g kg nmol µmol umol mmol mol ul µl ml l iu u units dose"
AMOUNTS = frozenset(_AMOUNTS.split())
SELDOM = 3
"""A column that is surely one of doses may have them in rows with values, in less than one of so many."""
SIZES = 0.25
"""Doses without such a name have fewer sizes than this share of them."""
_LEVELS = "valve setpoint sp setting mode gear switch heater pump fan relay command cmd ventil sollwert stufe"
LEVELS = frozenset(_LEVELS.split())
"""What inputs are called that are set to a level, and stay there."""
ROWS_OF_LEVELS = 16
"""Rows of an input from which on a quarter as many levels are few."""
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
    by_route = bool(words & ROUTES_OF_DOSES) and words <= ROUTES_OF_DOSES | AMOUNTS
    return bool(words & DOSES or by_route) and not words & RATES


KINDS: tuple[InputKind, ...] = ("interpolated", "steps", "jumps")


def given_kinds(text: str, frame: Frame, inputs: Sequence[Column]) -> dict[int, InputKind]:
    """The kinds that `text` gives to inputs, by the number of their column: KIND of all, or NAME:KIND,...

    None for auto.  Raises `InvalidArgument` for an unknown kind, and for a name of no input.
    """
    if text == "auto":
        return {}
    if (of_all := _kind(text)) is not None:
        return dict.fromkeys((c.number for c in inputs), of_all)
    kinds: dict[int, InputKind] = {}
    for part in text.split(","):
        name, _, word = part.strip().rpartition(":")
        kind = _kind(word)
        if kind is None or not name:
            remedy = f"use one of {', '.join(('auto', *KINDS))}, or for each NAME:KIND"
            raise InvalidArgument("input_kind", repr(part), "unknown", remedy)
        column = frame.column("input_kind", name)
        if all(c.number != column.number for c in inputs):
            known = ", ".join(c.key for c in inputs) or "none"
            raise InvalidArgument("input_kind", repr(part), f"{name} is no input", f"inputs are: {known}")
        kinds[column.number] = kind
    return kinds


def _kind(word: str) -> InputKind | None:
    return next((kind for kind in KINDS if kind == word), None)


def is_sparse(column: Column, observed: Array) -> bool:
    """Whether an input has less than half as many values as there are rows with values."""
    return bool(2 * np.isfinite(column.values).sum() < observed.sum())


def are_jumps(column: Column, observed: Array) -> bool:
    """Whether a column holds doses: called so, and given between the rows with values, or in few of these.

    `observed` `(rows,)` says which rows have values.
    """
    given = np.isfinite(column.values) & (column.values != 0)
    sure = bool(set(words_of(column.name)) & SURE_DOSES)
    seldom = sure and bool(SELDOM * given.sum() < observed.sum())
    return is_dose(column) and bool(given.any()) and (seldom or not bool((given & observed).any()))


def kind_of_input(column: Column, groups: Sequence[Group], observed: Array) -> InputKind:
    """How an input goes on between its rows, by its name and its values."""
    own = [values[np.isfinite(values)] for group in groups if (values := column.values[group.rows]).size]
    rows = sum(len(group.rows) for group in groups)
    doses = sum(int((values > 0).sum()) for values in own)
    if is_dose(column) and doses < 0.8 * rows and all((values >= 0).all() for values in own):
        return "jumps"
    given = np.isfinite(column.values) & (column.values != 0)
    apart = not (given & observed).any()
    none_in_some = any(values.size for values in own) and not all(values.size for values in own)
    few_sizes = len(np.unique(column.values[given])) < SIZES * given.sum()
    positive = all((values >= 0).all() for values in own)
    if none_in_some and apart and positive and few_sizes and 2 * given.sum() < observed.sum():
        return "jumps"  # what goes on between its rows is known somewhere in each trajectory
    each = [np.diff(values) for values in own]
    changes = np.concatenate(each) if each else np.empty(0)
    if not changes.size:
        return "interpolated"
    isolated = all(not ((values[1:] != 0) & (values[:-1] != 0)).any() for values in own)
    zeros = sum(int((values == 0).sum()) for values in own)
    # rows stand only where it changes, but for a last one that says until when it is known
    switched = all(bool((np.trim_zeros(steps, "b") != 0).all()) for steps in each)
    back_at_0 = bool(((column.values == 0) & ~observed).any())  # a dose would need no such row
    rows_of_it = sum(len(values) for values in own)
    if isolated and zeros > 0.5 * rows_of_it and apart and not (switched and back_at_0):
        return "jumps"
    different = np.unique(np.concatenate(own))
    if (apart or is_sparse(column, observed)) and rows_of_it > 1 and len(different) == 1 and different[0] > 0:
        return "jumps"  # a level that is always the same would say nothing
    moved = np.abs(changes[changes != 0])
    still = 1 - moved.size / changes.size
    if not moved.size or len(different) <= 2:
        return "steps"
    # rounded values stand still, too, but then move by the smallest unit
    levels = len(different) <= max(3, 0.1 * len(changes))
    coarse = bool(np.median(moved) > 1.5 * np.diff(different).min())
    few = levels or (rows_of_it >= ROWS_OF_LEVELS and 4 * len(different) <= rows_of_it and coarse)
    words = words_of(column.name)
    called = bool(words) and words[-1] in LEVELS and is_sparse(column, observed)
    if switched and ((isolated and back_at_0) or (few and 2 * len(different) <= rows_of_it) or called):
        return "steps"
    return "steps" if still >= 0.5 and (levels or coarse) else "interpolated"


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
