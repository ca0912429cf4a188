"""Forecasts without a model, to hold a model's errors against: last value, straight line, mean curve.

Each takes what is known of a trajectory, `times` `(n,)` and `values` `(n, values)` with NaN where nothing was observed,
and gives `(k, values)` at the times `at` `(k,)`.  A column of which nothing is known is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pynode.trajectories.errors import Array, Periods, shorter_way

NAIVE, LINEAR, MEAN = "naive", "linear", "mean curve"
"""Names of the baselines in records: last value held, straight line, mean of the training trajectories."""


def last_value(times: Array, values: Array, at: Array) -> Array:
    """The last observed value of each column, held."""
    del times
    forecast = np.full((len(at), values.shape[1]), np.nan)
    for k, column in enumerate(values.T):
        seen = column[~np.isnan(column)]
        if seen.size:
            forecast[:, k] = seen[-1]
    return forecast


def straight_line(times: Array, values: Array, at: Array, periods: Periods = None) -> Array:
    """The least-squares line through all observed values of each column; of a single one, that value.

    Circular columns are unrolled before, each step the shorter way round, and the line is rolled up again.
    """
    forecast = np.full((len(at), values.shape[1]), np.nan)
    for k, column in enumerate(values.T):
        seen = ~np.isnan(column)
        if not seen.any():
            continue
        period = periods[k] if periods else None
        known = column[seen]
        if period is not None:
            steps = shorter_way(np.diff(known), period)
            known = known[0] + np.concatenate([[0.0], np.cumsum(steps)])
        line = _line(times[seen], known, at)
        forecast[:, k] = line if period is None else line % period
    return forecast


def _line(times: Array, values: Array, at: Array) -> Array:
    since = times - times[0]  # exact, so that milliseconds since 1970 lose no digits
    middle = since.mean()
    shifted = since - middle
    spread = float(np.square(shifted).sum())
    slope = float((shifted * (values - values.mean())).sum()) / spread if spread > 0 else 0.0
    return np.asarray(values.mean() + slope * (at - times[0] - middle))


def mean_curve(training: Sequence[tuple[Array, Array]], at: Array, periods: Periods = None) -> Array:
    """The mean of the training trajectories at the times `at`, each interpolated between its own observations.

    `training` holds times and values of each, on a common clock with `at`.  At a time the mean is over those that were
    observed before and after it; where there are none, over all with their nearest value.
    """
    columns = training[0][1].shape[1] if training else 0
    means = np.full((len(at), columns), np.nan)
    for k in range(columns):
        period = periods[k] if periods else None
        parts = [(t[seen], v[seen, k]) for t, v in training if (seen := ~np.isnan(v[:, k])).any()]
        if not parts:
            continue
        inside = np.array([(at >= t[0]) & (at <= t[-1]) for t, _ in parts])
        weights = np.where(inside.any(axis=0), inside, True).astype(float)
        if period is None:
            means[:, k] = _weighted([np.interp(at, t, v) for t, v in parts], weights)
            continue
        turn = 2 * np.pi / period
        cosine = _weighted([np.interp(at, t, np.cos(turn * v)) for t, v in parts], weights)
        sine = _weighted([np.interp(at, t, np.sin(turn * v)) for t, v in parts], weights)
        means[:, k] = (np.arctan2(sine, cosine) / turn) % period
    return means


def _weighted(curves: Sequence[Array], weights: Array) -> Array:
    return np.asarray((np.array(curves) * weights).sum(axis=0) / weights.sum(axis=0))
