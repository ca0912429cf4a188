"""Times that a file has in several columns, such as date and time of day: written into these columns again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pynode.datasets.date_styles import utc, written
from pynode.datasets.dates import DAY
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.trajectories.axis import TimeAxis, TimePart
from pynode.trajectories.times import PART_OF, Times, hours_and_minutes

CHECKED = 50
"""Rows whose times are written to see whether the columns hold what the file has."""


def with_own_columns(frame: Frame, times: Times) -> Times:
    """`times` whose axis knows the columns that they are from, where these give a date together and are understood."""
    if len(times.columns) < 2 or times.axis.kind != "date" or times.axis.style == "clock":
        return times
    of_columns = [_part(frame, column) for column in times.columns]
    parts = tuple(part for part in of_columns if part is not None)
    axis = replace(times.axis, parts=parts)
    if len(parts) < len(of_columns) or not _agrees(axis, times):
        return times
    return replace(times, axis=axis)


def time_cells(axis: TimeAxis, times: Sequence[Array]) -> tuple[list[str], list[list[list[str]]]]:
    """The names of the columns of time, and for each of `times` `(k,)` its rows of cells.

    They are the file's own columns where these can say every time, such as hours without minutes; else one.
    """
    if axis.parts:
        names = [part.column for part in axis.parts]
        rows = [[_cells(axis, time) for time in own.tolist()] for own in times]
        every = [cells for own in rows for cells in own if cells is not None]
        if len(every) == sum(map(len, rows)):
            return names, [[cells for cells in own if cells is not None] for own in rows]
    return [axis.column], [[[axis.text(time)] for time in own.tolist()] for own in times]


def _part(frame: Frame, column: Column) -> TimePart | None:
    """What a column says of the time; None where that is not known for certain."""
    original = next((c for c in frame.columns if c.number == column.number), None)
    if original is None or original.kind == "text":  # names of months
        return None
    if column.kind == "date":
        has_zone = re.search(r"Z$|[+-]\d\d:\d\d$", column.style)
        return None if has_zone else TimePart(column.key, "clock" if column.style == "clock" else "date", column.style)
    kind = PART_OF.get(column.name.lower())
    if kind is None or kind in ("week", "day of year") or hours_and_minutes(column, beside_days=True) is not None:
        return None
    return TimePart(column.key, kind)


def _agrees(axis: TimeAxis, times: Times) -> bool:
    """Whether what would be written of the first rows is what their columns hold."""
    for row in np.flatnonzero(np.isfinite(times.values))[:CHECKED].tolist():
        time = float(times.values[row])
        if _cells(axis, time) is None:
            return False
        for part, column in zip(axis.parts, times.columns, strict=True):
            if _value(part, time) != column.values[row]:
                return False
    return True


def _cells(axis: TimeAxis, time: float) -> list[str] | None:
    """The cells of a time; None where the columns can't say it."""
    kinds = {part.kind for part in axis.parts}
    if len(kinds) < len(axis.parts):
        return None
    moment, rest = utc(time), time % DAY
    if "clock" not in kinds:
        rest -= sum(_value(part, time) * size for part in axis.parts if (size := SIZES.get(part.kind)))
        if rest:
            return None
    if "date" not in kinds and ("year" not in kinds or not _says_the_day(kinds, moment.month, moment.day)):
        return None
    return [_cell(part, time) for part in axis.parts]


SIZES = {"hour": 3600.0, "minute": 60.0, "second": 1.0}
"""Seconds of the parts of a time of day."""


def _says_the_day(kinds: set[str], month: int, day: int) -> bool:
    first = "quarter" in kinds and month % 3 == 1
    return ("month" in kinds or first or month == 1) and ("day" in kinds or day == 1)


def _value(part: TimePart, time: float) -> float:
    """The number that a column holds at a time: seconds of dates and times of day."""
    if part.kind == "date":
        return time - time % DAY
    if part.kind == "clock":
        return time % DAY
    moment = utc(time)
    return float((moment.month + 2) // 3 if part.kind == "quarter" else getattr(moment, part.kind))


def _cell(part: TimePart, time: float) -> str:
    value = _value(part, time)
    return written(value, part.style) if part.kind in ("date", "clock") else f"{value:.0f}"
