"""Puts the rows of each trajectory together, and refuses what no model can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.names import as_argument
from pynode.trajectories.axis import TimeAxis
from pynode.trajectories.data import Input, InputKind, Trajectory
from pynode.trajectories.inputs import input_of
from pynode.trajectories.order import Group, check_twice
from pynode.wording import counted, verb


@dataclass(frozen=True)
class Parts:
    """What the trajectories of a file are made of: `times` `(rows,)`, columns of values and of inputs."""

    frame: Frame
    times: Array
    axis: TimeAxis
    values: Sequence[Column]
    inputs: Sequence[Column]
    kinds: tuple[InputKind, ...]
    hint: str


def assembled(parts: Parts, groups: Sequence[Group], covariates: Array) -> tuple[tuple[Trajectory, ...], list[str]]:
    """The trajectories, and what to say about rows that were joined and trajectories without values.

    Raises `DataError` for times that occur twice, and for a trajectory of one point: one row with values, and no other
    with inputs.
    """
    if not parts.values:
        raise DataError(f"{parts.frame.path}: no value changes over time; give a column that does")
    each, empty, joined, single = [], [], 0, []
    for n, group in enumerate(groups):
        trajectory, merged = _trajectory(parts, group, covariates[n])
        joined += merged
        points = len(trajectory.times)
        elsewhere = any(len(np.setdiff1d(i.times, trajectory.times)) for i in trajectory.inputs)
        if not points:
            empty.append(group)
        elif points == 1 and not elsewhere:
            single.append((group, trajectory))
        else:
            each.append(trajectory)
    if single:
        raise DataError(_one_point(parts, [(g.name, int(t.lines[0])) for g, t in single]))
    if not each:
        raise DataError(f"{parts.frame.path} has no row with both a time and a value; give at least two")
    notices = []
    if joined:
        notices.append(
            f"{counted(joined, 'row')} of a time that occurs twice {verb(joined, 'is', 'are')} joined to one"
        )
    if empty:
        told = ", ".join(group.name for group in empty[:8])
        notices.append(f"{counted(len(empty), 'trajectory', 'trajectories')} without any value left out ({told})")
    return tuple(each), notices


def _one_point(parts: Parts, single: Sequence[tuple[str, int]]) -> str:
    name, line = single[0]
    if not name:
        return f"{parts.frame.path}, line {line}: the file has one point only; give at least two"
    more = f" (as {len(single) - 1:,} others)" if len(single) > 1 else ""
    shown = as_argument([*(name for name, _ in single[:20]), *(["..."] if len(single) > 20 else [])])
    return (
        f"{parts.frame.path}, line {line}: trajectory '{name}' has one point only{more}; give at least two, or leave "
        f"it out (leave_out={shown})"
    )


def _trajectory(parts: Parts, group: Group, covariates: Array) -> tuple[Trajectory, int]:
    """The trajectory of a group, and how many of its rows were joined to others."""
    rows = group.rows
    times = parts.times[rows]
    columns = [*parts.values, *parts.inputs]
    table = np.stack([column.values[rows] for column in columns], axis=1)
    known = np.isfinite(table)
    if len(rows) > 1:
        check_twice(parts.frame, group, times, parts.axis, known, parts.hint)
    n = len(parts.values)
    observed = known[:, :n].any(axis=1)
    own_times, starts = np.unique(times[observed], return_index=True)
    values = np.full((len(own_times), n), np.nan)
    where = np.searchsorted(own_times, times[observed])
    for c in range(n):
        there = known[observed, c]
        values[where[there], c] = table[observed, c][there]
    inputs = tuple(_input(c, k, parts, rows) for c, k in zip(parts.inputs, parts.kinds, strict=True))
    merged = int(observed.sum()) - len(own_times)
    lines = parts.frame.lines[rows][observed][starts]
    name = group.name or parts.frame.path.stem
    return Trajectory(name, own_times, values, inputs, np.asarray(covariates), lines, group.identity), merged


def _input(column: Column, kind: InputKind, parts: Parts, rows: Array) -> Input:
    return input_of(column, kind, parts.times, rows)
