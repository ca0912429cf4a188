"""Which column, or columns, hold the times, where nobody says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Column, Frame
from pynode.trajectories.axis import UNIT_OF, words_of
from pynode.trajectories.identity import ID_WORDS, codes_of
from pynode.trajectories.times import PART_OF, QUANTITY, Times, hours_and_minutes, row_numbers, times_of, with_months

TIMES = frozenset(
    ("time", "times", "timestamp", "datetime", "date", "when", "zeit", "zeitpunkt", "zeitstempel", "datum", "uhrzeit")
)
"""What columns of times are called, first of all."""
OTHERS = frozenset(("t", "ts", "epoch", "elapsed", "clock", "age", "unixtime", "moment", "period", "step"))
"""The same, where none has one of the first names; so are units of time."""
YEAR = re.compile(r"1[5-9]\d\d|2[01]\d\d")
MANY_YEARS = 5
"""Columns named by years, one after the other, from which on a table is one of a column for each time."""
COLUMNS = 30
"""Columns that are tried as names of trajectories."""


def given_time(frame: Frame, time: str) -> Times:
    """The times in the column `time`, or in several whose names stand between commas; raises `InvalidArgument`."""
    row_names = frame.row_names
    if row_names is not None and time in (row_names.name, str(row_names.number)) and time:
        return times_of(frame, (_named(frame, row_names),))
    if "," in time and all(column.name != time for column in frame.columns):
        return times_of(frame, frame.chosen("time", time.split(",")))
    column = frame.column("time", time)
    return times_of(frame, (_named(frame, column), *_companions(frame, column)))


def guessed_time(frame: Frame) -> Times:
    """The times of a table, by kind, name or order of its columns; raises `DataError` where words stand for them."""
    columns = [c for c in frame.columns if c.kind != "text" and np.isfinite(c.values).any()]
    dates = [c for c in columns if c.kind == "date" and c.style != "clock"]
    if dates:
        column = min(dates, key=rank)
        return times_of(frame, (_named(frame, column), *_companions(frame, column)))
    if parts := _parts([with_months(c) for c in frame.columns]):
        return times_of(frame, parts)
    named = sorted((c for c in frame.columns if rank(c) < 9), key=rank)
    usable = [c for c in named if c.kind != "text" and not c.trouble and _changes(c)]
    if chosen := [c for c in usable if _rises(frame, c)] or [c for c in usable if rank(c) < 4]:
        return times_of(frame, (chosen[0], *_companions(frame, chosen[0])))
    for column in named:
        if column.trouble or rank(column) == 0 or _are_quantities(column):
            return times_of(frame, (column,))  # raises
    return _by_order(frame, columns)


def _named(frame: Frame, column: Column) -> Column:
    """The column, called time where it has no name among others that have one, as an index of pandas."""
    names = {c.name for c in frame.columns}
    return replace(column, name="time") if not column.name and names != {""} and "time" not in names else column


def _by_order(frame: Frame, columns: Sequence[Column]) -> Times:
    """The first column that rises from row to row, or within what may be trajectories; else the row's number."""
    _check_long(frame)
    numbers = [c for c in columns if not c.trouble and np.isfinite(c.values).all()]
    for column in numbers:
        # of columns with other names only the first, or one of equal steps
        believed = column is frame.columns[0] or not column.name or _even(column)
        if believed and (np.diff(column.values) > 0).all() and len(frame) > 2:
            return times_of(frame, (column,))
    index = frame.row_names
    if index is not None and index.kind != "text" and not index.trouble and (np.diff(index.values) > 0).all():
        return times_of(frame, (_named(frame, index),)) if (np.diff(index.values) != 1).any() else row_numbers(frame)
    for column in numbers:
        if _rises_within(frame, column):
            return times_of(frame, (column,))
    return row_numbers(frame)


def _check_long(frame: Frame) -> None:
    """Raises `DataError` for a table whose columns are named by years: these are its times, even if one rises."""
    years = [c for c in frame.columns if YEAR.fullmatch(c.name)]
    names = [int(c.name) for c in years]
    if len(names) < MANY_YEARS or names != list(range(names[0], names[0] + len(names))):
        return
    raise DataError(
        f"{frame.path}: columns {years[0].number} to {years[-1].number} are named by the years {names[0]} to "
        f"{names[-1]}, and no column holds times: give a table with a row for each time, whose years stand in a column "
        "(in pandas by melt, sorted by name and year)"
    )


def _rises(frame: Frame, column: Column) -> bool:
    """Whether a column rises, or falls, from row to row, or rises within what may be trajectories."""
    steps = np.diff(column.values[np.isfinite(column.values)])
    return bool((steps > 0).all() or (steps < 0).all()) or _rises_within(frame, column)


def _rises_within(frame: Frame, column: Column) -> bool:
    """Whether a column rises within each value of some other column that may name trajectories."""
    for identity in frame.columns[:COLUMNS]:
        if identity.kind != "text" and identity.name and not set(words_of(identity.name)) & ID_WORDS:
            continue
        codes = codes_of(identity)
        if identity is column or int(codes.max()) < 1 or len(frame) < 3 * (int(codes.max()) + 1):
            continue
        order = np.argsort(codes, kind="stable")
        if (np.diff(column.values[order])[np.diff(codes[order]) == 0] > 0).all():
            return True
    return False


def rank(column: Column) -> int:
    """How well a name suits times: 0 for the best, 9 for none."""
    words = words_of(column.name)
    if not words:
        return 9
    if len(words) == 1 and words[0] in TIMES:
        return 0
    if words[0] in TIMES or words[-1] in TIMES:
        return 1
    if len(words) == 1 and words[0] in OTHERS:
        return 2
    if len(words) == 1 and words[0] in UNIT_OF:
        return 3 if len(words[0]) > 1 or words[0] in ("s", "h", "d") else 9
    if words[0] in OTHERS and words[-1] in UNIT_OF:
        return 2
    if len(words) == 2 and words[-1] in UNIT_OF and len(words[-1]) > 1:
        return 4
    return 5 if words[0] in OTHERS and len(words[0]) > 2 else 9


def _companions(frame: Frame, column: Column) -> tuple[Column, ...]:
    """The column of times of day that belongs to one of days, or of days to one of times of day."""
    others = [c for c in frame.columns if c is not column and not c.trouble]
    clocks = [c for c in others if c.kind == "date" and c.style == "clock"]
    values = column.values[np.isfinite(column.values)]
    if column.kind == "date" and column.style != "clock":
        if (values % 86400 != 0).any() or (np.diff(values) != 0).all():
            return ()
        named = [c for c in others if c.kind == "number" and PART_OF.get(c.name.lower()) in ("hour", "minute")]
        packed = [c for c in others if c.kind == "number" and hours_and_minutes(c) is not None]
        return tuple(clocks[:1] or named or packed[:1])
    of_day = column.style == "clock" or hours_and_minutes(column) is not None
    if not of_day:
        return ()
    days = [c for c in others if c.kind == "date" and c.style != "clock" and not (c.values % 86400 > 0).any()]
    parts = [c for c in others if c.kind == "number" and PART_OF.get(c.name.lower()) in ("year", "month", "day")]
    return tuple(days[:1] or parts)


def _parts(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Columns called year, month, day, ... that give a date together; empty where they are not there."""
    named = {
        PART_OF[c.name.lower()]: c
        for c in reversed(columns)
        if c.kind == "number" and not c.trouble and c.name.lower() in PART_OF and _whole(c)
    }
    if any(rank(c) == 0 for c in columns if c.kind == "number"):
        return ()
    for names in (("year", "month"), ("year", "quarter"), ("month", "day")):
        if set(names) <= set(named):
            order = ("year", "quarter", "month", "day", "hour", "minute", "second")
            chosen = tuple(named[part] for part in order if part in named)
            return chosen if any(_changes(c) for c in chosen) else ()
    return ()


def _changes(column: Column) -> bool:
    present = column.values[np.isfinite(column.values)]
    return present.size > 0 and bool(np.ptp(present) > 0)


def _even(column: Column) -> bool:
    steps = np.diff(column.values)
    return steps.size > 0 and bool(np.ptp(steps) <= 1e-6 * np.abs(steps).max())


def _are_quantities(column: Column) -> bool:
    """Whether all words of a column are numbers with a unit, which is none of time then."""
    cells = [cell for cell in column.cells or () if cell]
    return bool(cells) and all(re.fullmatch(QUANTITY, cell) for cell in cells)


def _whole(column: Column) -> bool:
    present = column.values[np.isfinite(column.values)]
    return present.size > 0 and bool((present == np.round(present)).all())
