"""How good a fit and its forecasts are, beside forecasts without a model: what a run records, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pynode.trajectories.baselines import LAST, LINE, MEAN, last_value, mean_curve, straight_line
from pynode.trajectories.errors import Array, Periods, column_errors, naive_steps

MODEL = "model"
"""Name of the trained model beside those of the baselines."""

FIT, FORECAST = "fit", "forecast"
"""The two sets of errors: on training observations, and on those that were held out."""


@dataclass(frozen=True)
class Judged:
    """One trajectory and what the model says of it; entries of `observed` that are NaN are missing.

    The first `known` rows were given to the model: trained on, or, of a trajectory that was `held_out` as a whole, used
    to find its state.  Rows from there on are forecasts.  `curve` are the model's values at the times `curve_times`
    for a figure, None where those at `times` will do.
    """

    name: str
    times: Array
    """`(n,)`, the file's own numbers."""
    observed: Array
    """`(n, values)`."""
    predicted: Array
    """`(n, values)`."""
    known: int
    held_out: bool = False
    curve_times: Array | None = None
    curve: Array | None = None


def judged(parts: Sequence[Judged], columns: Sequence[str], periods: Mapping[str, float]) -> dict[str, Any]:
    """Errors, spreads and curves of all trajectories as plain values, for the entry `forecast` of an evaluation.

    `columns` names the value columns, `periods` gives the period of each that is circular.
    """
    turns = [periods.get(name) for name in columns]
    trained = [part for part in parts if not part.held_out]
    known = [part.observed[: part.known] for part in trained]
    steps, spreads = naive_steps(known, turns), _spreads(known, len(columns))
    fit = column_errors([p.predicted[: p.known] for p in trained], known, steps, turns)
    errors = {FIT: {MODEL: _plain(fit, columns)}, FORECAST: _forecast_errors(parts, columns, turns, steps)}
    return {
        "columns": list(columns),
        "periods": dict(periods),
        "spreads": dict(zip(columns, _numbers(spreads), strict=True)),
        "naive_steps": dict(zip(columns, _numbers(steps), strict=True)),
        "errors": errors,
        "trajectories": [_trajectory(part) for part in parts],
    }


def metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Single numbers of what `judged` gives, for a summary; infinite where a forecast isn't finite.

    `fit_error` and `forecast_error` are root mean squares over the columns of RMSE / standard deviation of the training
    observations, `forecast_mase` the mean of MASE.  What can't be told, as without held-out rows, is left out.
    """
    result = {}
    for name in (FIT, FORECAST):
        model = record["errors"][name].get(MODEL, {})
        shares = [
            math.inf if model[c]["rmse"] is None else model[c]["rmse"] / spread
            for c, spread in record["spreads"].items()
            if c in model and model[c]["count"] and spread
        ]
        if shares:
            result[f"{name}_error"] = math.sqrt(sum(s * s for s in shares) / len(shares))
    scaled = [e["mase"] for e in record["errors"][FORECAST].get(MODEL, {}).values() if e["mase"] is not None]
    if scaled:
        result["forecast_mase"] = sum(scaled) / len(scaled)
    return result


def _forecast_errors(
    parts: Sequence[Judged], columns: Sequence[str], periods: Periods, steps: Array
) -> dict[str, dict[str, Any]]:
    """Errors on held-out rows, of the model and of each baseline that has a forecast for all of them."""
    ahead = [part for part in parts if part.known < len(part.times)]
    if not ahead:
        return {}
    observed = [p.observed[p.known :] for p in ahead]
    forecasts: dict[str, list[Array]] = {MODEL: [p.predicted[p.known :] for p in ahead]}
    if all(part.known for part in ahead):
        known = [(p.times[: p.known], p.observed[: p.known], p.times[p.known :]) for p in ahead]
        forecasts[LAST] = [last_value(*each) for each in known]
        forecasts[LINE] = [straight_line(*each, periods) for each in known]
    trained = [part for part in parts if not part.held_out]
    if trained and all(part.held_out for part in ahead):
        clock = _clock(trained, ahead)
        curves = [(p.times[: p.known] - clock(p), p.observed[: p.known]) for p in trained]
        forecasts[MEAN] = [mean_curve(curves, p.times[p.known :] - clock(p), periods) for p in ahead]
    return {
        name: _plain(column_errors(forecast, observed, steps, periods), columns) for name, forecast in forecasts.items()
    }


def _clock(trained: Sequence[Judged], ahead: Sequence[Judged]) -> Any:
    """What to subtract from the times of a trajectory, so that those of several can be compared.

    Nothing where the held-out trajectories lie within the times of the training ones, else their first time.
    """
    first, last = min(p.times[0] for p in trained), max(p.times[-1] for p in trained)
    if all(first <= p.times[0] and p.times[-1] <= last for p in ahead):
        return lambda part: 0.0  # noqa: ARG005
    return lambda part: part.times[0]


def _spreads(values: Sequence[Array], columns: int) -> Array:
    """The standard deviation of each column over all training observations, `(values,)`."""
    together = np.concatenate(values) if values else np.empty((0, columns))
    seen = [column[~np.isnan(column)] for column in together.T]
    return np.array([column.std() if column.size else np.nan for column in seen])


def _plain(errors: Sequence[Any], columns: Sequence[str]) -> dict[str, Any]:
    return {
        name: {key: value if isinstance(value, int) else _number(value) for key, value in asdict(each).items()}
        for name, each in zip(columns, errors, strict=True)
    }


def _trajectory(part: Judged) -> dict[str, Any]:
    has_curve = part.curve_times is not None and part.curve is not None
    return {
        "name": part.name,
        "held_out": part.held_out,
        "known": part.known,
        "times": part.times.tolist(),
        "observed": [_numbers(row) for row in part.observed],
        "predicted": [_numbers(row) for row in part.predicted],
        "curve_times": part.curve_times.tolist() if has_curve and part.curve_times is not None else [],
        "curve": [_numbers(row) for row in part.curve] if has_curve and part.curve is not None else [],
    }


def _numbers(values: Array) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
