"""Columns that are angles: 359 degrees and 1 degree are neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.errors import InvalidArgument
from pynode.trajectories.axis import words_of
from pynode.trajectories.order import Group

_ANGLES = (
    "angle direction dir heading bearing azimuth phase theta phi winkel richtung windrichtung wd wdir winddir yaw "
    "course deg degrees degree grad aspect orientation"
)
ANGLES = frozenset(_ANGLES.split())
"""What columns of angles are called."""
TURNS = (360.0, 2 * math.pi)


def given_period(frame: Frame, option: str) -> tuple[Column, float]:
    """The column and the period of NAME or NAME:PERIOD; raises `InvalidArgument`."""
    name, _, period = option.rpartition(":")
    if name and any(column.name == option for column in frame.columns):
        name, period = option, ""
    column = frame.column("circular", name or option)
    if name and period:
        try:
            length = 2 * math.pi if period.strip().lower() in ("2pi", "2*pi", "tau") else float(period)
        except ValueError:
            length = math.nan
        if not (math.isfinite(length) and length > 0):
            raise InvalidArgument("circular", repr(option), "its period is no positive number", "write NAME:360")
        return column, length
    period_by_range = _period_by_range(column.values)
    if period_by_range is None:
        raise InvalidArgument("circular", repr(option), "its values lie in no turn", f"give its period: {option}:360")
    return column, period_by_range


def _period_by_range(values: Array) -> float | None:
    """360 or 2 pi, whichever turn the values lie in."""
    present = values[np.isfinite(values)]
    if not present.size:
        return None
    low, high = float(present.min()), float(present.max())
    for turn in reversed(TURNS):
        if _in_turn(low, high, turn):
            return turn
    return None


def _in_turn(low: float, high: float, turn: float) -> bool:
    slack = 1e-3 * turn
    return (low >= -slack and high <= turn + slack) or (low >= -turn / 2 - slack and high <= turn / 2 + slack)


def turn_begins(values: Array, period: float) -> float:
    """Where the turn begins that angles are written in: minus half a period for a column from -180 to 180, else 0."""
    present = values[np.isfinite(values)]
    slack = 1e-3 * period
    low, high = float(present.min(initial=0.0)), float(present.max(initial=0.0))
    return -period / 2 if low < -slack and high <= period / 2 + slack else 0.0


def seen_period(column: Column, groups: Sequence[Group]) -> float | None:
    """The period of a column whose neighbours jump by nearly a whole turn while others are close; None for others."""
    steps = np.concatenate([np.diff(own[np.isfinite(own)]) for g in groups if (own := column.values[g.rows]).size])
    present = column.values[np.isfinite(column.values)]
    if steps.size < 5:
        return None
    low, high = float(present.min()), float(present.max())
    called = bool(set(words_of(column.name)) & ANGLES) or column.unit in ("°", "deg", "degrees", "rad", "grad")
    for turn in TURNS:
        if not _in_turn(low, high, turn) or high - low < 0.9 * turn:
            continue
        sizes = np.abs(steps)
        jumps = int((sizes > 0.75 * turn).sum())
        wrapped = np.abs((steps + turn / 2) % turn - turn / 2)
        smooth = np.quantile(wrapped, 0.95) < turn / 8
        between = int(((sizes > 0.35 * turn) & (sizes < 0.65 * turn)).sum())
        # an angle passes all directions; what is switched to and fro does not
        directions = len(np.unique(np.floor(present % turn / turn * 8)))
        if jumps >= 2 and smooth and between == 0 and directions >= 7:
            return turn
        if called and jumps >= 1 and np.median(wrapped) < turn / 6:
            return turn
    return None
