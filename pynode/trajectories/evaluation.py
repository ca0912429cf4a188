"""What a run records of its model: errors, fits and forecasts of every trajectory, and decisions in sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.build import Prepared
from pynode.trajectories.checks import without_window
from pynode.trajectories.forecast import fitted, forecasts
from pynode.trajectories.judgement import Judged, judged
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.parts import Parts

POINTS = 400
"""Of a curve for a figure."""
LONGEST_CURVE = 400
"""Rows before the forecast that a curve begins at most."""


def evaluated(model: SeriesModel, prepared: Prepared, parts: Parts) -> dict[str, Any]:
    """The entry `forecast` of an evaluation, by `judged`: fit at rows of training, forecasts at held-out rows."""
    series = prepared.series
    predicted = fitted(model, prepared, parts.training)
    ahead = [k for k, known in enumerate(parts.known) if not known.all()]
    curves: dict[int, tuple[Array, Array]] = {}
    if ahead:
        times = [_ahead(series.each[k].times[~parts.known[k]]) for k in ahead]
        values = forecasts(model, prepared, [series.each[k] for k in ahead], times, [parts.known[k] for k in ahead])
        for k, at, value in zip(ahead, times, values, strict=True):
            rows = ~parts.known[k]
            predicted[k][rows] = value[np.searchsorted(at, series.each[k].times[rows])]
            curves[k] = at, value
    result, alone = [], without_window(prepared)
    for k, (each, training, known) in enumerate(zip(series.each, parts.training, parts.known, strict=True)):
        whole = not training.any() or k in alone
        words = ["held out" if not seen else "given" if whole else "training" for seen in known.tolist()]
        curve = _curve(each.times, predicted[k], known, curves.get(k))
        result.append(
            Judged(
                each.name,
                each.times,
                each.values,
                predicted[k],
                known=int(known.sum()),
                held_out=whole,
                curve_times=curve[0],
                curve=curve[1],
                part=words,
            )
        )
    return judged(result, series.values, series.periods)


def _ahead(held_out: Array) -> Array:
    """The held-out times, and some in between for a smooth curve."""
    if len(held_out) > POINTS:
        return held_out
    return np.union1d(held_out, np.linspace(held_out[0], held_out[-1], POINTS))


def _curve(times: Array, predicted: Array, known: Array, ahead: tuple[Array, Array] | None) -> tuple[Array, Array]:
    """Times and values of a line for a figure: the fit at the rows, then the forecast."""
    rows = np.flatnonzero(known)[-LONGEST_CURVE:]
    rows = rows[np.isfinite(predicted[rows]).any(1)]
    at, values = times[rows], predicted[rows]
    if ahead is None:
        return at, values
    return np.concatenate((at, ahead[0])), np.concatenate((values, ahead[1]))
