"""What a run records of its model: errors, fits and forecasts of every trajectory, and decisions in sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.build import Prepared
from pynode.trajectories.checks import without_window
from pynode.trajectories.forecast import fitted, fitted_at, forecasts_and_approaches
from pynode.trajectories.judgement import Judged, judged
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.parts import Parts

POINTS = 400
"""Of a curve for a figure."""
LONGEST_CURVE = 440
"""Points of the fit before the forecast that a curve has at most."""


def evaluated(model: SeriesModel, prepared: Prepared, parts: Parts) -> dict[str, Any]:
    """The entry `forecast` of an evaluation, by `judged`: fit at rows of training, forecasts at held-out rows."""
    series = prepared.series
    predicted = fitted(model, prepared, parts.training)
    ahead = [k for k, known in enumerate(parts.known) if not known.all()]
    curves: dict[int, tuple[Array, Array]] = {}
    without_field = False
    if ahead:
        times = [_ahead(series.each[k].times, parts.known[k]) for k in ahead]
        each_ahead, known_ahead = [series.each[k] for k in ahead], [parts.known[k] for k in ahead]
        values, approaches = forecasts_and_approaches(model, prepared, each_ahead, times, known_ahead)
        without_field = all(approach.population == "curves" for approach in approaches)
        for k, at, value in zip(ahead, times, values, strict=True):
            rows = ~parts.known[k]
            predicted[k][rows] = value[np.searchsorted(at, series.each[k].times[rows])]
            curves[k] = at, value
    result, alone = [], without_window(prepared)
    for k, (each, training, known) in enumerate(zip(series.each, parts.training, parts.known, strict=True)):
        whole = not training.any() or k in alone
        words = ["held out" if not seen else "given" if whole else "training" for seen in known.tolist()]
        at, fit = each.times[known], predicted[k][known]
        if training.any() and len(at) > 1:
            dense = np.union1d(at, np.linspace(at[0], at[-1], POINTS))
            between = fitted_at(model, prepared, k, known, dense)
            at, fit = (at, fit) if between is None else (dense, between)
        curve = _curve(at, fit, curves.get(k))
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
    return judged(result, series.values, series.periods) | {"without_field": without_field}


def _ahead(times: Array, known: Array) -> Array:
    """The held-out times, and some from the last known one on, for a smooth curve."""
    held_out = times[~known]
    if len(held_out) > POINTS:
        return held_out
    start = times[known][-1] if known.any() else held_out[0]
    between = np.linspace(start, held_out[-1], POINTS)
    return np.union1d(held_out, between[between > start])


def _curve(times: Array, fit: Array, ahead: tuple[Array, Array] | None) -> tuple[Array, Array]:
    """Times and values of a line for a figure: the end of the fit `(n, values)`, then the forecast."""
    at, values = times[-LONGEST_CURVE:], fit[-LONGEST_CURVE:]
    finite = np.isfinite(values).any(1)
    at, values = at[finite], values[finite]
    if ahead is None:
        return at, values
    return np.concatenate((at, ahead[0])), np.concatenate((values, ahead[1]))
