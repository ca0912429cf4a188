"""The order of the rows of a trajectory: sorted where that is clear, refused where times go back or occur twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Frame
from pynode.datasets.splits import Array
from pynode.trajectories.axis import TimeAxis
from pynode.trajectories.clocks import HOUR, PUT_BACK, may_change_at
from pynode.trajectories.times import PART_OF, RANGES

UNSORTED = 0.25
"""Share of steps back from which on the rows of a file are in no order, rather than in one with a mistake."""

ROUNDED, FEW_TIMES = 0.3, 4
"""Share and number of times that occur twice beyond which they may be rounded."""


@dataclass(frozen=True)
class Group:
    """The rows of one trajectory, in the order of the file; `name` is "" where the file holds only one.

    `identity` are the cells of the columns that name it.
    """

    name: str
    rows: Array
    identity: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """As messages name it: " of trajectory 'P4'"."""
        return f" of trajectory '{self.name}'" if self.name else ""


def past_midnight(groups: Sequence[Group], times: Array, axis: TimeAxis) -> tuple[Array, str]:
    """Times of day that go on after midnight, and what to say about it."""
    if axis.style != "clock":
        return times, ""
    times, passes = times.copy(), 0
    for group in groups:
        steps = np.diff(times[group.rows])
        if (steps[steps < 0] < -12 * HOUR).all():
            days = np.concatenate(([0], np.cumsum(steps < 0)))
            passes += int(days[-1])
            times[group.rows] += days * 24 * HOUR
    return (
        times,
        f"times pass midnight ({passes} times): hours count on, 25:00 is 1:00 of the next day" if passes else "",
    )


def counted_rows(groups: Sequence[Group], rows: int) -> Array:
    """The number of each row `(rows,)` within its trajectory, from 0, in place of times."""
    times = np.full(rows, np.nan)
    for group in groups:
        times[group.rows] = np.arange(len(group.rows))
    return times


def sorted_groups(
    frame: Frame, groups: Sequence[Group], times: Array, axis: TimeAxis, hint: str
) -> tuple[list[Group], list[str]]:
    """The groups with their rows in order of time, and what to say about it.

    Rows from the latest to the earliest are turned round, and rows in no order at all are sorted; both are said.
    Raises `DataError` where times go back here and there: the line, and `hint`, what could be done about it.
    """
    steps = [np.diff(times[group.rows]) for group in groups]
    back, total = sum(int((s < 0).sum()) for s in steps), sum(s.size for s in steps)
    if not back:
        return list(groups), []
    group, at = next((g, int((s < 0).argmax())) for g, s in zip(groups, steps, strict=True) if (s < 0).any())
    row, before = int(group.rows[at + 1]), int(group.rows[at])
    if back == sum(int((s != 0).sum()) for s in steps):
        said = "rows go from the latest to the earliest, and are turned round"
    elif back >= max(UNSORTED * total, 2) and not _restarts(groups, times):
        said = f"rows are not in order of time (first in line {int(frame.lines[row])}), and are sorted"
    else:
        raise DataError(_backwards(frame, group, times, before, row, axis, hint))
    # stable, so that rows of one time stay in the order of the file; mergesort turned round would not
    return [replace(g, rows=g.rows[np.argsort(times[g.rows], kind="stable")]) for g in groups], [said]


def _restarts(groups: Sequence[Group], times: Array) -> bool:
    """Whether times begin again at (about) the same one, as those of several trajectories below each other do."""
    for group in groups:
        own = times[group.rows]
        begins = own[1:][np.diff(own) < 0]
        if len(groups) == 1 and len(begins) > 1 and np.ptp(own) > 0:
            near = np.abs(begins - own.min()) <= 0.1 * np.ptp(own)
            if near.mean() > 0.8:
                return True
    return False


def check_twice(frame: Frame, group: Group, times: Array, axis: TimeAxis, known: Array, hint: str) -> None:
    """Raises `DataError` where a time occurs twice with values in the same columns.

    `times` `(rows,)` are of the rows of the group, in order; `known` `(rows, columns)` says which cells have values.
    """
    starts = np.unique(times, return_index=True)[1]
    same = np.flatnonzero((np.add.reduceat(known.astype(np.int64), starts, axis=0) > 1).any(axis=1))
    if not same.size:
        return
    at = int(starts[same[0]])
    twice = (known[times == times[at]].sum(axis=0) > 1).argmax()
    rows = np.sort(group.rows[(times == times[at]) & known[:, twice]])
    first, second = int(rows[0]), int(rows[1])
    lines = f"lines {int(frame.lines[first])} and {int(frame.lines[second])}"
    total = f" (one of {same.size:,} such times)" if same.size > 1 else ""
    told = f"{frame.path}, {lines}: the time {axis.text(float(times[at]))}{group.told} occurs twice{total}; "
    if may_change_at(float(times[at]), axis):
        raise DataError(told + PUT_BACK)
    remedy = "remove one of the rows" if group.name else hint or "remove one of the rows"
    if same.size > max(ROUNDED * len(starts), FEW_TIMES):
        remedy = f"if times are rounded, write them with more digits; {remedy}"
    raise DataError(told + remedy)


def _backwards(frame: Frame, group: Group, times: Array, before: int, row: int, axis: TimeAxis, hint: str) -> str:
    earlier, later = axis.text(float(times[row])), axis.text(float(times[before]))
    told = f"{frame.place(row)}: the time{group.told} goes back from {later} to {earlier}; "
    if times[before] - times[row] <= HOUR * (axis.seconds is not None) and may_change_at(times[row], axis):
        return told + PUT_BACK
    return (
        told
        + _begins_again(axis, float(times[before]), float(times[row]))
        + (hint or "correct the line, or sort the rows by time")
    )


WITHIN = {
    "month": "year",
    "quarter": "year",
    "week": "year",
    "day of year": "year",
    "day": "month",
    "hour": "date",
    "minute": "hour",
    "second": "minute",
}
"""What each part of a time counts from."""


def _begins_again(axis: TimeAxis, later: float, earlier: float) -> str:
    """What to do where a part of a date, such as the day of the year, begins again; "" for other times."""
    part = PART_OF.get(axis.column.lower(), "")
    if axis.kind != "number" or part not in WITHIN:
        return ""
    low, high = RANGES[part]
    if not (low <= earlier and later <= high and later - earlier > (high - low) / 2):
        return ""
    whole = WITHIN[part]
    return f"if a {whole} ends there, name the column of it as well (time={whole},{axis.column}); "
