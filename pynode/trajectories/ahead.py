"""The times of a forecast: after a trajectory's last row, as far apart as the file's rows, up to a given time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import numpy as np

from pynode.errors import InvalidArgument
from pynode.trajectories.axis import TimeAxis
from pynode.trajectories.data import InputKind, Trajectory
from pynode.trajectories.errors import Array

MOST_ROWS = 1_000_000
"""Rows of one forecast."""

SHARE_AHEAD = 0.2
"""Of the longest trajectory: how far a forecast goes where nobody says it."""

NEAR = 1e-6
"""Share of a spacing within which a time is the last one itself."""

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MONTHS_OF_YEAR = 12
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
"""Units of lengths of time between dates, in seconds."""
AFTER = 1e-3
"""Share of a spacing by which the row after a jump follows it."""
LAST_COMMON_DAY = 28
"""Day of the month that every month has."""


def typical_spacing(trajectories: Sequence[Trajectory]) -> float:
    """The median time between neighbouring rows of a trajectory, in the file's own units."""
    gaps = np.concatenate([np.diff(each.times) for each in trajectories] or [np.empty(0)])
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if gaps.size else 1.0


def months_apart(axis: TimeAxis, trajectories: Sequence[Trajectory]) -> int | None:
    """The usual number of months between rows whose dates are all on one day of the month; None for others."""
    if axis.kind != "date":
        return None
    every = [[_date(time) for time in each.times.tolist()] for each in trajectories]
    dates = [date for own in every for date in own if date is not None]
    within = {(date.day, date.hour, date.minute, date.second) for date in dates}
    if len(within) != 1 or len(dates) != sum(map(len, every)) or dates[0].day > LAST_COMMON_DAY:
        return None
    gaps = [_months(b) - _months(a) for own in every for a, b in pairwise(own) if a and b]
    return int(np.median(gaps)) or None if gaps else None


def times_ahead(
    axis: TimeAxis,
    trajectories: Sequence[Trajectory],
    until: float,
    every: float | None,
    kinds: Sequence[InputKind] = (),
) -> list[Array]:
    """For each trajectory the times `(k,)` after its last row up to and including `until`, as the file would have them.

    They are `every` apart, or as far as the rows of the file usually are; a trajectory that ends later has none.  By
    the `kinds` of its inputs, each jump (a dose) has two rows more, one at it, with the state before it, and one just
    after it, so that a line through the rows does not smear it.

    Raises `InvalidArgument` where no trajectory ends before `until`, and for more than `MOST_ROWS` rows.
    """
    ends = [float(each.times[-1]) for each in trajectories]
    if until <= min(ends):
        where = "the last row" if len(ends) == 1 else "the end of every trajectory"
        raise InvalidArgument(
            "until",
            axis.text(until),
            f"not after {where} ({axis.text(min(ends))}{'' if len(ends) == 1 else ' is the earliest'})",
            f"give a time after {axis.text(min(ends))}",
        )
    step = typical_spacing(trajectories) if every is None else every
    months = months_apart(axis, trajectories) if every is None else None
    rows = sum(max(0.0, (until - end) / step) for end in ends)
    if rows > MOST_ROWS:
        longer = _length(axis, 1.1 * step * rows / MOST_ROWS)
        raise InvalidArgument(
            "until" if every is None else "every",
            axis.text(until) if every is None else every,
            f"the forecast would have {rows:,.0f} rows",
            f"give an earlier end, or a longer time between rows (every={longer})",
        )
    grids = [
        np.union1d(
            _by_months(end, until, months) if months else _evenly(end, until, step),
            _around_jumps(each, kinds, end, until, AFTER * step),
        )
        for each, end in zip(trajectories, ends, strict=True)
    ]
    return [_as_written(axis, grid, end) for grid, end in zip(grids, ends, strict=True)]


def usual_until(
    axis: TimeAxis, trajectories: Sequence[Trajectory], *, known: float = np.inf, ahead: float | None = None
) -> str | None:
    """A time to forecast to, as the file writes times: `ahead` of the last row, or a fifth of the longest trajectory.

    Not beyond the time up to which inputs are `known`; None where that leaves nothing to forecast.
    """
    latest = max(trajectories, key=lambda each: float(each.times[-1]))
    length = max(float(each.times[-1] - each.times[0]) for each in trajectories)
    distance = SHARE_AHEAD * length if ahead is None else ahead
    until = float(latest.times[-1]) + max(distance, typical_spacing(trajectories))
    if known <= until:
        return axis.text(known) if known > min(float(each.times[-1]) for each in trajectories) else None
    *inside, last = times_ahead(axis, [latest], until, None)[0].tolist()
    step = inside[1] - inside[0] if len(inside) > 1 else np.inf
    is_on_grid = months_apart(axis, trajectories) is None and last - inside[-1] >= (1 - NEAR) * step if inside else True
    return axis.text(last if is_on_grid else inside[-1])


def _evenly(end: float, until: float, step: float) -> Array:
    if until <= end:
        return np.empty(0)
    inside = end + step * np.arange(1, int((until - end) / step) + 2)
    return np.append(inside[inside < until - NEAR * step], until)


def _around_jumps(each: Trajectory, kinds: Sequence[InputKind], end: float, until: float, after: float) -> Array:
    """Times between `end` and `until` at which a dose among the inputs of `each` is given, and times just `after`."""
    jumps = np.empty(0)
    for known, kind in zip(each.inputs, kinds, strict=False):
        if kind == "jumps":
            jumps = np.union1d(jumps, known.times[known.values != 0])
    both = np.union1d(jumps, jumps + after)
    return both[(both > end) & (both < until)]


def _by_months(end: float, until: float, months: int) -> Array:
    """Dates on the same day of the month as that of `end`."""
    first, times = _date(end), list[float]()
    if first is None or until <= end:
        return np.empty(0)
    count = _months(first)
    while True:
        count += months
        year, month = divmod(count, MONTHS_OF_YEAR)
        try:
            time = (first.replace(year=year, month=month + 1) - EPOCH).total_seconds()
        except ValueError:  # beyond the calendar
            time = until
        if time >= until - 1.0:
            return np.array([*times, until])
        times.append(time)


def _as_written(axis: TimeAxis, times: Array, end: float) -> Array:
    """The times as they read when they have been written, each later than the one before and than `end`."""
    written = np.array([axis.parse(axis.text(time)) for time in times.tolist()], dtype=np.float64)
    later = np.maximum.accumulate(np.concatenate([[end], written]))
    return written[written > later[:-1]]


def _length(axis: TimeAxis, length: float) -> str:
    """About so long a time, as one between rows is given: of dates with a unit, and whole."""
    if axis.kind != "date":
        return f"{length:.2g}"
    unit, seconds = next(((unit, size) for unit, size in UNITS if length >= size), UNITS[-1])
    return f"{math.ceil(length / seconds)}{unit}"


def _date(seconds: float) -> datetime | None:
    """The date of so many seconds since 1970; None beyond the calendar."""
    try:
        return EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _months(date: datetime) -> int:
    return MONTHS_OF_YEAR * date.year + date.month - 1
