"""Changes of clocks: local times that name an hour twice in autumn, and leave one out in spring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pynode.datasets.date_styles import utc
from pynode.datasets.splits import Array
from pynode.trajectories.axis import TimeAxis

HOUR = 3600.0
CLOSE = 0.1
"""Share of an hour within which a gap is longer by one hour than the usual one."""
CHANGES = (3, 4, 9, 10, 11)
"""Months in which clocks are put back or forward, in either hemisphere."""
SUNDAY = 6
PUT_BACK = (
    "clocks were put back then, and local times name an hour twice: write the times in UTC, or with their offset "
    "(2024-10-27T02:30:00+01:00)"
)


def may_change_at(time: float, axis: TimeAxis) -> bool:
    """Whether clocks may change at this local time: early on a Sunday in spring or autumn."""
    if axis.kind != "date" or axis.style == "clock" or _is_zoned(axis):
        return False
    moment = utc(time)
    return moment.weekday() == SUNDAY and moment.hour <= 3 and moment.month in CHANGES


def put_forward(times: Sequence[Array], axis: TimeAxis) -> str:
    """What to say where local times seem to leave an hour out, as clocks do in spring; "" where they don't.

    `times` are those of each trajectory, and rise.  Where rows are usually more than an hour apart, it does not show.
    """
    for own in times:
        gaps = np.diff(own)
        if not gaps.size or not (usual := float(np.median(gaps))) <= HOUR:
            continue
        for k in np.flatnonzero(np.abs(gaps - usual - HOUR) <= CLOSE * HOUR).tolist():
            before, after = float(own[k]), float(own[k + 1])
            missed = np.ceil((before + 1) / HOUR) * HOUR  # the first full hour after the row
            if may_change_at(missed, axis) and missed + HOUR <= after + 1:
                return (
                    f"no row lies between {axis.text(before)} and {axis.text(after)}, where clocks may have been put "
                    "forward: local times count an hour too many there; write the times in UTC, or with their offset"
                )
    return ""


def _is_zoned(axis: TimeAxis) -> bool:
    return axis.style.endswith("Z") or axis.style[-6:-5] in ("+", "-")
