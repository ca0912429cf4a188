"""Smooth curves through each column of each trajectory, the noise about them, and how fast they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.data import Trajectories
from pynode.trajectories.scaling import Scaling
from pynode.trajectories.smoothing import Curve, smoothed

Path = Callable[[Array, int], Array]
"""Values, or derivatives of this order, at times `(k,)` in the file's units."""

LEAST_NOISE = 0.01
"""Noise, in standard deviations of a column, that is assumed at least."""
UNKNOWN_NOISE = 0.1


@dataclass(frozen=True)
class Curves:
    """One path for each trajectory and model column (None where a trajectory has no value of it), and what is known of
    them: `smooth` says which are more than straight lines between values, `noise` `(columns,)` is in the model's units,
    `noisy` whether that was measured rather than assumed."""

    paths: tuple[tuple[Path | None, ...], ...]
    smooth: tuple[tuple[bool, ...], ...]
    noise: Array
    rows: tuple[Array, ...]
    """The times of the rows that they were made from."""

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """First and last time of each trajectory's rows; 0 where there are none."""
        return tuple((float(t[0]), float(t[-1])) if len(t) else (0.0, 0.0) for t in self.rows)

    def states(self, trajectory: int, times: Array, order: int = 0) -> Array:
        """Values or derivatives `(k, columns)` at `times` `(k,)`; 0, the mean, where a column has no values."""
        columns = [np.zeros(len(times)) if path is None else path(times, order) for path in self.paths[trajectory]]
        return np.stack(columns, -1)


def make_curves(series: Trajectories, scaling: Scaling, masks: Sequence[Array]) -> Curves:
    """Curves through the rows of each trajectory that `masks` `(n,)` mark, in the model's units of value.

    Trajectories with impulses are joined by straight lines: a smooth curve would not jump.
    """
    jumping = [
        any(
            kind == "jumps" and (known.values != 0).sum() > 0
            for known, kind in zip(each.inputs, series.input_kinds, strict=True)
        )
        for each in series.each
    ]
    paths: list[list[Path | None]] = [[] for _ in series.each]
    smooth: list[list[bool]] = [[] for _ in series.each]
    values = [scaling.to_model(each.values) for each in series.each]
    noise = np.full(scaling.columns, np.nan)
    unit, slow = _pace([each.times[mask] for each, mask in zip(series.each, masks, strict=True)])
    for column in range(scaling.columns):
        points = []
        for each, value, mask in zip(series.each, values, masks, strict=True):
            seen = mask & np.isfinite(value[:, column])
            points.append((each.times[seen], value[seen, column]))
        clocks = [Clock(t[0], unit, slow) if len(t) else Clock(0.0, unit, slow) for t, _ in points]
        usable = [
            (clock(t), y) if not jumps else (t[:0], y[:0])
            for clock, (t, y), jumps in zip(clocks, points, jumping, strict=True)
        ]
        curves, noise[column] = smoothed(usable)
        for k, (curve, (t, y)) in enumerate(zip(curves, points, strict=True)):
            smooth[k].append(curve is not None)
            if curve is not None:
                paths[k].append(_smooth_path(curve, clocks[k]))
            else:
                paths[k].append(_line(t, y))
    known = np.where(np.isnan(noise), UNKNOWN_NOISE, np.maximum(noise, LEAST_NOISE))
    rows = tuple(each.times[mask] for each, mask in zip(series.each, masks, strict=True))
    return Curves(tuple(map(tuple, paths)), tuple(map(tuple, smooth)), known, rows)


@dataclass(frozen=True)
class Clock:
    """A time that splines work with: (t - start) / unit, or, where rows are ever farther apart, its logarithm."""

    start: float
    unit: float
    slow: bool

    def __call__(self, times: Array) -> Array:
        passed = (times - self.start) / self.unit
        return np.log1p(np.maximum(passed, -0.9)) * 4 if self.slow else passed


def _pace(times: Sequence[Array]) -> tuple[float, bool]:
    """A length of time of the order of the gaps between rows, and whether the gaps grow with time, as after a dose."""
    gaps = [np.diff(t) for t in times if len(t) > 2]
    if not gaps:
        return 1.0, False
    since = np.concatenate([t[:-1] - t[0] for t in times if len(t) > 2])
    together = np.concatenate(gaps)
    ranks = np.corrcoef(np.argsort(np.argsort(since)), np.argsort(np.argsort(together)))[0, 1]
    early, late = np.quantile(together, (0.1, 0.9))
    if ranks > 0.6 and late > 8 * early:
        return float(early), True
    return float(np.median(together)), False


def _smooth_path(curve: Curve, clock: Clock) -> Path:
    def path(at: Array, order: int) -> Array:
        if not clock.slow:
            return curve(clock(at), order) / clock.unit**order
        if order == 0:
            return curve(clock(at))
        step = 0.02 * (clock.unit + np.maximum(at - clock.start, 0))
        return np.asarray((path(at + step, order - 1) - path(at - step, order - 1)) / (2 * step))

    return path


def _line(times: Array, values: Array) -> Path | None:
    """Straight lines between the values."""
    if not len(times):
        return None

    def path(at: Array, order: int) -> Array:
        if order == 0:
            return np.interp(at, times, values)
        if order > 1 or len(times) < 2:
            return np.zeros(len(at))
        slopes = np.diff(values) / np.diff(times)
        return np.asarray(slopes[np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(slopes) - 1)])

    return path


def dense_times(curves: Curves, total: int = 3000) -> list[Array]:
    """Times `(k,)` over the rows of each trajectory with two or more, about `total` together, dense where
    its rows are."""
    every = max(sum(len(rows) for rows in curves.rows), 1)
    result = []
    for rows in curves.rows:
        count = int(np.clip(total * len(rows) / every, 30, 3000))
        places = np.linspace(0, len(rows) - 1, count)
        result.append(np.interp(places, np.arange(len(rows)), rows) if len(rows) > 1 else np.empty(0))
    return result


def unit_of_time(curves: Curves, series: Trajectories) -> float:
    """The time in which standardised values change by about 1: one over the root mean square of their slopes.

    Between a thousandth of the longest span and that span.
    """
    longest = max(last - first for first, last in curves.spans)
    longest = longest or max(float(np.ptp(each.times)) for each in series.each) or 1.0
    squares, count = 0.0, 0
    for k, times in enumerate(dense_times(curves)):
        if not len(times):
            continue
        if all(curves.smooth[k]):
            slopes = curves.states(k, times, 1)
        else:  # slopes between rows that lie close together are noise: the way that was gone, over the time it took
            rows = curves.rows[k]
            gone = np.abs(np.diff(curves.states(k, rows), axis=0)).sum(0)
            slopes = np.tile(gone / (rows[-1] - rows[0]), (len(times), 1))
        squares, count = squares + float((slopes**2).sum()), count + slopes.size
    speed = np.sqrt(squares / count) if count else 0.0
    return float(np.clip(1 / max(speed, 1e-300), longest / 1000, longest))
