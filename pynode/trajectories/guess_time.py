"""Which column, or columns, hold the times, where nobody says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pynode.datasets.date_styles import seconds_of
from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.headers import are_years
from pynode.datasets.text_lines import plain_number
from pynode.names import as_argument
from pynode.trajectories.axis import UNIT_OF, words_of
from pynode.trajectories.identity import ID_WORDS, codes_of, joint_codes
from pynode.trajectories.times import (
    DATE_WORDS,
    PART_OF,
    QUANTITY,
    RANGES,
    WEEKS,
    Times,
    as_part,
    hours_and_minutes,
    row_numbers,
    times_of,
)

TIMES = frozenset(
    ("time", "times", "timestamp", "datetime", "date", "when", "zeit", "zeitpunkt", "zeitstempel", "datum", "uhrzeit")
)
"""What columns of times are called, first of all."""
OTHERS = frozenset(("t", "ts", "epoch", "elapsed", "clock", "age", "unixtime", "moment", "period", "step"))
"""The same, where none has one of the first names; so are units of time."""
ACROSS = 4
"""Columns whose names, or first cells, are times: so many at least say that times stand across."""
TRANSPOSE = "give each time a row (transpose the table), or name the column of times (time=COLUMN)"
TOGETHER = "if each row holds them for one time, name them (values={})"
"""What else columns may be whose names are times."""
_UNIT = "ms|s|sec|seconds?|min|mins|minutes?|h|hr|hrs|hours?|d|days?|wk|weeks?|mo|months?|y|yr|years?"
COUNT = re.compile(rf"(day|hour|week|month|minute|year|visit|time|woche|monat)[ _.-]?(\d+)|(\d+(?:\.\d+)?) ?({_UNIT})")
"""Names such as day1 and 2h, of columns that hold what was measured then."""
COLUMNS = 30
"""Columns that are tried as names of trajectories."""
OF_DAY = ("hour", "minute", "second")
DATES = (("year", "month", "day", *OF_DAY), ("year", "quarter"), ("month", "day", *OF_DAY))
"""Parts of a date in columns of their own: the first two have to be there."""
COUNTS = (
    ("year", "day of year", *OF_DAY),
    ("year", "week"),
    ("day of year", *OF_DAY),
    ("day", *OF_DAY),
    OF_DAY,
    ("minute", "second"),
)
"""The same of parts that may be times by themselves: if these are in the range of what the first one counts."""


def given_time(frame: Frame, names: Sequence[str]) -> Times:
    """The times in the column called so, by name or number, or in several together; raises `InvalidArgument`."""
    if len(names) != 1:
        return times_of(frame, frame.chosen("time", names))
    (time,), row_names = names, frame.row_names
    if row_names is not None and time in (row_names.name, str(row_names.number), f".{row_names.number}") and time:
        return times_of(frame, (_named(frame, row_names),))
    column = frame.column("time", time)
    return times_of(frame, (_named(frame, column), *_companions(frame, column)))


def guessed_time(frame: Frame, values: Sequence[Column] = ()) -> Times:
    """The times of a table, by kind, name or order of its columns; raises `DataError` where words stand for them.

    So it does where times are the names of columns, unless it is known which columns are `values`, and hold no times.
    """
    columns = [c for c in frame.columns if c.kind != "text" and np.isfinite(c.values).any()]
    dates = [c for c in columns if c.kind == "date" and c.style != "clock"]
    if dates:
        column = min(dates, key=rank)
        return times_of(frame, (_named(frame, column), *_companions(frame, column)))
    if parts := _parts([as_part(c) for c in frame.columns]):
        return times_of(frame, (*parts, *_clock_beside(frame, parts)))
    if values:
        return _by_name(frame, columns, values, known=True)
    counts = _counts_across(columns)
    if not counts or _is_timed(frame, columns, counts):
        return _by_name(frame, columns, ())
    names = [c.name for c in counts]
    if _has_row_for_each(frame):
        told = TOGETHER.format(as_argument(names))
        raise DataError(f"{frame.path} has times in its header ({names[0]}, {names[1]}, ...): {TRANSPOSE}; {told}")
    times = _by_name(frame, columns, counts)
    said = f"the columns '{names[0]}', '{names[1]}', ... are taken as values of one time each row; if they are times, "
    return replace(times, notices=(*times.notices, f"{said}transpose the table"))


def names_like_weeks(frame: Frame, given: Sequence[str]) -> tuple[Column, ...]:
    """Columns of words such as W1-2019 that are names, since another column is called a time.

    Not those that are called weeks or dates, or that are `given` as times, by name or number.
    """
    if not any(c.kind != "text" and rank(c) < 4 for c in frame.columns):
        return ()
    other = [c for c in frame.columns if c.weeks and c.name not in given and str(c.number) not in given]
    return tuple(c for c in other if rank(c) == 9 and not set(words_of(c.name)) & (WEEKS | DATE_WORDS))


def _by_name(frame: Frame, columns: Sequence[Column], values: Sequence[Column], *, known: bool = False) -> Times:
    """The column that is called a time, or the first one in order, but none of `values`.

    Unless these are `known`, and not guessed, times in the header are refused.
    """
    taken = {c.number for c in values}
    columns = [c for c in columns if c.number not in taken]
    named = sorted((c for c in frame.columns if rank(c) < 9 and c.number not in taken), key=rank)
    usable = [c for c in named if c.kind != "text" and not c.trouble and _changes(c)]
    if chosen := [c for c in usable if _rises(frame, c)] or [c for c in usable if rank(c) < 4]:
        return times_of(frame, (chosen[0], *_companions(frame, chosen[0])))
    for column in named:
        if column.trouble or rank(column) == 0 or _are_quantities(column):
            return times_of(frame, (column,))  # raises
    return _by_order(frame, columns, across=not known)


def _named(frame: Frame, column: Column) -> Column:
    """The column, called time where it has no name among others that have one, as an index of pandas."""
    names = {c.name for c in frame.columns}
    return replace(column, name="time") if not column.name and names != {""} and "time" not in names else column


def _by_order(frame: Frame, columns: Sequence[Column], *, across: bool) -> Times:
    """The first column that rises from row to row, or within what may be trajectories; else the row's number."""
    if across:
        _refuse_times_across(frame, columns)
    _refuse_first_row(frame, columns)
    numbers = [c for c in columns if not c.trouble and np.isfinite(c.values).all()] if len(frame.columns) > 1 else []
    for column in numbers:  # a column alone is the value
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


def _refuse_times_across(frame: Frame, columns: Sequence[Column]) -> None:
    """Raises `DataError` where the names of the columns are dates, or consecutive years.

    Other numbers that rise are as likely depths or wavelengths.
    """
    inside = [c.number for c in columns if c.kind == "number"]
    if len(inside) < ACROSS:
        return
    # columns without any number, such as years that nothing was measured in, are among them
    names = [c.name for c in frame.columns if inside[0] <= c.number <= inside[-1]]
    dates = [seconds for name in names if (seconds := seconds_of(name)) is not None]
    numbers = [number for name in names if (number := plain_number(name)) is not None]
    are_dates = len(dates) == len(names) and bool((np.diff(dates) > 0).all())
    if are_dates or (len(numbers) == len(names) and are_years(numbers)):
        raise DataError(f"{frame.path} has times in its header ({names[0]}, {names[1]}, ...): {TRANSPOSE}")


def _counts_across(columns: Sequence[Column]) -> list[Column]:
    """Columns beside each other whose names are rising times: 0h, 1h, 2h or day1, day2; empty where there are none."""
    counted = [
        (column, match[1] or match[4], float(match[2] or match[3]))
        for column in columns
        if column.kind == "number" and (match := COUNT.fullmatch(column.name.lower()))
    ]
    for n in range(len(counted) - ACROSS + 1):
        run = counted[n : n + ACROSS]
        if all(a[1] == b[1] and a[2] < b[2] and a[0].number + 1 == b[0].number for a, b in pairwise(run)):
            return [column for column, unit, _ in counted[n:] if unit == run[0][1]]
    return []


def _is_timed(frame: Frame, columns: Sequence[Column], counts: Sequence[Column]) -> bool:
    """Whether another column is called a time, or rises from row to row and is not called a name."""
    inside = {c.number for c in counts}
    others = [c for c in columns if c.number not in inside]
    rising = [c for c in others if len(frame) > 2 and (np.diff(c.values) > 0).all()]
    return any(rank(c) < 4 for c in others) or any(not set(words_of(c.name)) & ID_WORDS for c in rising)


def _has_row_for_each(frame: Frame) -> bool:
    """Whether a column of words, or one that is called so, has another name in every row: one row for each."""
    named = [c for c in frame.columns if c.kind == "text" or set(words_of(c.name)) & ID_WORDS]
    if frame.row_names is not None and frame.row_names.kind == "text":
        named.append(frame.row_names)
    return any(len(np.unique(codes_of(c))) == len(frame) for c in named)


def _refuse_first_row(frame: Frame, columns: Sequence[Column]) -> None:
    """Raises `DataError` where the first row is called time and holds one time for each column."""
    numbers = [c for c in columns if c.kind == "number"]
    words = words_of((frame.columns[0].cells or ("",))[0])
    rising = all(bool(b.values[0] > a.values[0]) for a, b in pairwise(numbers))
    if words and words[0] in TIMES | OTHERS and len(numbers) >= ACROSS and rising:
        raise DataError(f"{frame.place(0)} has the times, one in each column: {TRANSPOSE}")


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
        packed = [c for c in others if c.kind == "number" and hours_and_minutes(c, beside_days=True) is not None]
        return tuple(clocks[:1] or named or packed[:1])
    days = [c for c in others if c.kind == "date" and c.style != "clock" and not (c.values % 86400 > 0).any()]
    parts = [
        c
        for c in others
        if c.kind == "number" and PART_OF.get(c.name.lower()) in ("year", "month", "day", "day of year")
    ]
    beside = tuple(days[:1] or parts)
    of_day = column.style == "clock" or hours_and_minutes(column, beside_days=bool(beside)) is not None
    return beside if of_day else ()


def _clock_beside(frame: Frame, days: Sequence[Column]) -> tuple[Column, ...]:
    """The column of times of day beside columns that give days together, where these stand in several rows each."""
    if any(PART_OF[c.name.lower()] in (*OF_DAY, "quarter", "week") for c in days):
        return ()
    if (np.diff(joint_codes(days)) != 0).all():
        return ()
    others = [c for c in frame.columns if not c.trouble and all(c.number != d.number for d in days)]
    clocks = [c for c in others if c.kind == "date" and c.style == "clock"]
    packed = [c for c in others if c.kind == "number" and hours_and_minutes(c, beside_days=True) is not None]
    return tuple(clocks[:1] or packed[:1])


def _parts(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Columns called year, month, day, ... that give a time together; empty where they are not there."""
    numbers = [c for c in columns if c.kind == "number" and not c.trouble]
    named = {PART_OF[c.name.lower()]: c for c in reversed(numbers) if c.name.lower() in PART_OF and _whole(c)}
    best = min((rank(c) for c in columns if c.kind == "number"), default=9)
    for parts in (*DATES, *COUNTS):
        if not set(parts[:2]) <= set(named) or best == 0:
            continue
        moves = parts[0] == "year" or _changes(named[parts[0]])
        if parts in COUNTS and (best <= 2 or not moves or not _in_range(named, parts[1:])):
            continue
        chosen = tuple(named[part] for part in parts if part in named)
        return chosen if any(_changes(c) for c in chosen) else ()
    return ()


def _in_range(named: Mapping[str, Column], parts: Sequence[str]) -> bool:
    """Whether the numbers of these parts of a date are such as it may have."""
    for part in parts:
        if part in named:
            low, high = RANGES[part]
            present = named[part].values[np.isfinite(named[part].values)]
            if present.min() < low or present.max() > high:
                return False
    return True


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
