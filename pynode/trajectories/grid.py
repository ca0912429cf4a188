"""The times at which a trajectory's solve stops: rows, changes of inputs, and what lies between rows far apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.data import InputKind, Trajectory
from pynode.trajectories.scaling import Scaling

LONGEST = 0.5
"""Longest interval in the model's unit of time."""
MOST_PARTS = 64
"""Parts that one gap is divided into at most."""
MOST_CHANGES = 16
"""Changes of inputs between two rows that a solve stops at; of more, about as many, or one in `SHORTEST`."""
SHORTEST = 0.125
"""Distance of thinned changes in the model's unit of time; an input counts with its mean in between."""


@dataclass(frozen=True)
class Grid:
    """Nodes of one trajectory in the model's units, and the intervals between them.

    An input that goes on between its rows has a value at both ends of each interval, `starts` and `ends`; impulses
    `jumps` happen at nodes, after the value that is observed there.
    """

    times: Array
    """`(nodes,)`, in the file's units."""
    values: Array
    """`(nodes, columns)`, NaN where nothing is observed."""
    lengths: Array
    """`(nodes - 1,)`, in the model's unit of time."""
    starts: Array
    """`(nodes - 1, inputs)`."""
    ends: Array
    """`(nodes - 1, inputs)`."""
    jumps: Array
    """`(nodes, impulses)`."""
    covariates: Array
    """`(covariates,)`."""
    rows: Array
    """`(rows,)`: the node of each row of the trajectory."""


def make_grid(
    trajectory: Trajectory,
    scaling: Scaling,
    kinds: Sequence[InputKind],
    *,
    further: Array | None = None,
    longest: float = LONGEST,
) -> Grid:
    """The grid of `trajectory`, on to the times `further` `(k,)` after its last row, if given (nodes without values).

    It begins at the first row, or at an impulse before it.
    """
    ahead = np.empty(0) if further is None else further
    last = max(trajectory.times[-1], ahead.max(initial=-np.inf))
    first = trajectory.times[0]
    stops = [trajectory.times, ahead]
    for known, kind in zip(trajectory.inputs, kinds, strict=True):
        if kind == "jumps":
            doses = known.times[known.values != 0]
            first = min(first, doses.min(initial=np.inf))
            stops.append(doses[doses <= last])
    changes = [np.empty(0)]
    for known, kind in zip(trajectory.inputs, kinds, strict=True):
        if kind != "jumps":
            moves = np.append(True, np.diff(known.values) != 0) if kind == "steps" and known.values.size else True
            changes.append(known.times[(known.times > first) & (known.times < last) & moves])
    times = _with_changes(np.unique(np.concatenate(stops)), np.unique(np.concatenate(changes)), scaling.time)
    times = _divided(times, longest * scaling.time)
    rows = np.searchsorted(times, trajectory.times)
    values = np.full((len(times), scaling.columns), np.nan)
    values[rows] = scaling.to_model(trajectory.values)
    continuous = [k for k, kind in enumerate(kinds) if kind != "jumps"]
    impulses = [k for k, kind in enumerate(kinds) if kind == "jumps"]
    starts, ends = np.zeros((2, len(times) - 1, len(continuous)))
    for column, k in enumerate(continuous):
        starts[:, column], ends[:, column] = _on_intervals(trajectory, scaling, k, kinds[k], times)
    jumps = np.zeros((len(times), len(impulses)))
    for column, k in enumerate(impulses):
        known = trajectory.inputs[k]
        within = known.times <= last
        np.add.at(jumps[:, column], np.searchsorted(times, known.times[within]), known.values[within])
        jumps[:, column] = scaling.inputs_to_model(k, jumps[:, column])
    return Grid(
        times,
        values,
        np.diff(times) / scaling.time,
        starts,
        ends,
        jumps,
        scaling.covariates_to_model(trajectory.covariates),
        rows,
    )


def longest_interval(kinds: Sequence[InputKind]) -> float:
    """The longest interval of a grid, in the model's unit of time: without inputs solves do not stop at its nodes."""
    return LONGEST if kinds else np.inf


def known_until(trajectory: Trajectory, kinds: Sequence[InputKind]) -> tuple[float, int]:
    """The last time up to which all inputs are known, and which one ends there; infinite, and -1, without any.

    Steps last until the next row, so they are known as long as the trajectory's rows go on; no impulses are expected
    after those that are given.
    """
    limit, which = np.inf, -1
    for k, (known, kind) in enumerate(zip(trajectory.inputs, kinds, strict=True)):
        if kind == "jumps" or not known.times.size:
            continue
        end = float(known.times[-1])
        if kind == "steps":
            end = max(end, float(trajectory.times[-1]))
        if end < limit:
            limit, which = end, k
    return limit, which


def _on_intervals(
    trajectory: Trajectory, scaling: Scaling, index: int, kind: InputKind, times: Array
) -> tuple[Array, Array]:
    """The input's values at the beginning and at the end of each interval."""
    known = trajectory.inputs[index]
    values = scaling.inputs_to_model(index, known.values)
    if not len(values):
        return np.zeros(len(times) - 1), np.zeros(len(times) - 1)
    if kind == "steps":
        starts = ends = values[np.clip(np.searchsorted(known.times, times[:-1], side="right") - 1, 0, None)]
    else:
        at = np.interp(times, known.times, values)
        starts, ends = at[:-1], at[1:]
    passed = np.searchsorted(known.times, times[1:], side="left") > np.searchsorted(known.times, times[:-1], "right")
    if passed.any():
        means = np.diff(_integral(known.times, values, kind, times)) / np.diff(times)
        starts, ends = np.where(passed, means, starts), np.where(passed, means, ends)
    return starts, ends


def _integral(knots: Array, values: Array, kind: InputKind, at: Array) -> Array:
    """The integral of an input from its first row to each time `at`."""
    following = values[:-1] if kind == "steps" else (values[:-1] + values[1:]) / 2
    sums = np.concatenate(([0.0], np.cumsum(following * np.diff(knots))))
    index = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, None)
    ends = values[index] if kind == "steps" else np.interp(at, knots, values)
    return np.asarray(sums[index] + (values[index] + ends) / 2 * (at - knots[index]))


def _with_changes(stops: Array, changes: Array, unit: float) -> Array:
    """`stops` with the `changes` of inputs between them, thinned in gaps with more than `MOST_CHANGES`."""
    changes = np.setdiff1d(changes, stops)
    if len(stops) < 2 or not len(changes):
        return np.union1d(stops, changes)
    gap = np.searchsorted(stops, changes, side="right") - 1
    lengths = np.diff(stops)
    width = np.clip(lengths / MOST_CHANGES, SHORTEST * unit, LONGEST * unit)[gap]
    slot = np.floor((changes - stops[gap]) / width)
    is_first = (np.diff(slot, prepend=-1.0) != 0) | (np.diff(gap, prepend=-1) != 0)
    few = np.bincount(gap, minlength=len(lengths))[gap] <= MOST_CHANGES
    return np.union1d(stops, changes[few | (is_first & (slot > 0))])


def _divided(times: Array, longest: float) -> Array:
    """`times` with nodes added in gaps longer than `longest`."""
    parts = np.clip(np.ceil(np.diff(times) / longest - 1e-9), 1, MOST_PARTS).astype(int)
    if not len(parts) or parts.max() == 1:
        return times
    pieces = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(times, times[1:], parts, strict=False)]
    return np.append(np.concatenate(pieces), times[-1])
