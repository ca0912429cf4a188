"""How good a fit and its forecasts are, beside forecasts without a model: what a run records, as plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pynode.trajectories.baselines import LINEAR, MEAN, NAIVE, last_value, mean_curve, straight_line
from pynode.trajectories.errors import Array, Periods, column_errors, naive_steps, shorter_way

Chosen: TypeAlias = NDArray[np.bool_]

MODEL = "model"
"""The trained model, beside the names of the baselines."""

TRAINING, HELD_OUT, GIVEN = "training", "held out", "given"
"""What rows are used for: training, forecasts, to find the state of a held-out trajectory; others for validation."""


@dataclass(frozen=True)
class Judged:
    """One trajectory and what the model says of it, in the units of the file; NaN in `observed` is missing.

    The first `known` rows were given to the model: trained on, or, of a trajectory that was `held_out` as a whole, used
    to find its state.  Rows from there on are forecasts.  `part` may say of every row what it was used for instead:
    "training", "validation", "given" or "held out".  `curve` is a denser curve for figures.
    """

    name: str
    times: Array
    """`(n,)`, the file's own numbers."""
    observed: Array
    """`(n, values)`."""
    predicted: Array
    """`(n, values)`: the fit, and the forecast at rows that are held out."""
    known: int
    held_out: bool = False
    curve_times: Array | None = None
    curve: Array | None = None
    part: Sequence[str] | None = None

    @property
    def parts(self) -> list[str]:
        """What every row was used for."""
        if self.part is not None:
            return list(self.part)
        return [(GIVEN if self.held_out else TRAINING) if k < self.known else HELD_OUT for k in range(len(self.times))]

    def rows(self, *parts: str) -> Chosen:
        """Which rows belong to one of `parts`, `(n,)`."""
        return np.isin(np.array(self.parts, dtype=str), parts)

    @property
    def seen(self) -> Chosen:
        """Which rows were not held out, `(n,)`."""
        return ~self.rows(HELD_OUT)


def judged(parts: Sequence[Judged], columns: Sequence[str], periods: Mapping[str, float]) -> dict[str, Any]:
    """Errors, observations and curves of all trajectories as plain values, for the entry `forecast` of an evaluation.

    `columns` names the value columns, `periods` gives the period of each that is circular.
    """
    return {
        "columns": list(columns),
        "periods": dict(periods),
        "errors": error_rows(parts, columns, periods),
        "trajectories": [_trajectory(part) for part in parts],
    }


def metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Single numbers of what `judged` gives, for a summary; infinite where a forecast isn't finite.

    `fit_error` and `forecast_error` are means over columns of `relative` in `error_rows`,
    `forecast_error_naive`, `_linear` and `_mean_curve` those of the baselines, `forecast_mase` the mean of MASE.  What
    can't be told, as without held-out rows, is left out.
    """
    rows = record["errors"]
    values = {"fit_error": mean_relative(rows, MODEL, TRAINING), "forecast_error": mean_relative(rows, MODEL, HELD_OUT)}
    for name in (NAIVE, LINEAR, MEAN):
        values[f"forecast_error_{name.replace(' ', '_')}"] = mean_relative(rows, name, HELD_OUT)
    scaled = [row["mase"] for row in rows if (row["forecaster"], row["part"]) == (MODEL, HELD_OUT)]
    if scaled and None not in scaled:
        values["forecast_mase"] = sum(scaled) / len(scaled)
    return {name: value for name, value in values.items() if value is not None}


def error_rows(parts: Sequence[Judged], columns: Sequence[str], periods: Mapping[str, float]) -> list[dict[str, Any]]:
    """Errors of model and baselines, one row a forecaster, part and column, as plain values.

    Each row has `forecaster`, `column`, `part`, `rows` (how many entries), `rmse`, `mae`, `mase` (null where undefined,
    or where a forecast is not finite) and `relative`: `rmse` over the standard deviation of the training observations,
    of a circular column that about its circular mean.  A column that does not change there is held against the root
    mean square distance of the held-out observations from it.  A baseline that can't be had, such as a last value of a
    trajectory of which nothing is given, has no rows; where only a column of it was never seen in what is known of a
    trajectory, it forecasts the mean of the training observations.
    `periods` gives the period of each column that is circular.
    """
    turns = [periods.get(name) for name in columns]
    trained = [(part, part.rows(TRAINING)) for part in parts]
    observed = [part.observed[rows] for part, rows in trained if rows.any()]
    ahead = [part for part in parts if part.rows(HELD_OUT).any()]
    truth = [part.observed[part.rows(HELD_OUT)] for part in ahead]
    centres = _means(observed, turns)
    steps, spreads = naive_steps(observed, turns), _scales(observed, truth, centres, turns)

    def told(forecaster: str, part: str, forecasts: Sequence[Array], seen: Sequence[Array]) -> list[dict[str, Any]]:
        errors = column_errors(forecasts, seen, steps, turns)
        return [
            {
                "forecaster": forecaster,
                "column": column,
                "part": part,
                "rows": each.count,
                "rmse": _number(each.rmse),
                "mae": _number(each.mae),
                "mase": _number(each.mase),
                "relative": _number(each.rmse / spread) if spread > 0 else None,
            }
            for column, each, spread in zip(columns, errors, spreads.tolist(), strict=True)
        ]

    fit = told(MODEL, TRAINING, [part.predicted[rows] for part, rows in trained if rows.any()], observed)
    if not ahead:
        return fit
    held_out = told(MODEL, HELD_OUT, [part.predicted[part.rows(HELD_OUT)] for part in ahead], truth)
    for name, forecasts in _baselines(parts, ahead, turns).items():
        filled = [np.where(np.isnan(forecast), centres, forecast) for forecast in forecasts]
        rows = told(name, HELD_OUT, filled, truth)
        held_out += [row for row, centre in zip(rows, centres.tolist(), strict=True) if math.isfinite(centre)]
    return fit + held_out


def mean_relative(rows: Sequence[Mapping[str, Any]], forecaster: str, part: str) -> float | None:
    """The mean over columns of `relative` in the rows of `forecaster` and `part`; None where there is none.

    Infinite where an error was not finite.
    """
    mine = [row for row in rows if (row["forecaster"], row["part"]) == (forecaster, part) and row["rows"]]
    shares = [math.inf if row["rmse"] is None else row["relative"] for row in mine]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


def _baselines(parts: Sequence[Judged], ahead: Sequence[Judged], periods: Periods) -> dict[str, list[Array]]:
    """Forecasts without a model at the held-out rows of `ahead`, by name."""
    forecasts: dict[str, list[Array]] = {}
    if all(part.seen.any() for part in ahead):
        known = [(p.times[p.seen], p.observed[p.seen], p.times[p.rows(HELD_OUT)]) for p in ahead]
        forecasts[NAIVE] = [last_value(*each) for each in known]
        forecasts[LINEAR] = [straight_line(*each, periods) for each in known]
    trained = [part for part in parts if part.rows(TRAINING).any()]
    if trained and not any(part.rows(TRAINING).any() for part in ahead):
        begin = _clock(trained, ahead)
        curves = [(p.times[p.seen] - begin(p), p.observed[p.seen]) for p in trained]
        forecasts[MEAN] = [mean_curve(curves, p.times[p.rows(HELD_OUT)] - begin(p), periods) for p in ahead]
    return forecasts


def _clock(trained: Sequence[Judged], ahead: Sequence[Judged]) -> Callable[[Judged], float]:
    """What to subtract from the times of a trajectory, so that those of several can be compared.

    Nothing where the held-out trajectories lie within the times of the training ones, else their first time.
    """
    first, last = min(p.times[0] for p in trained), max(p.times[-1] for p in trained)
    if all(first <= p.times[0] and p.times[-1] <= last for p in ahead):
        return lambda part: 0.0  # noqa: ARG005
    return lambda part: float(part.times[0])


def _means(values: Sequence[Array], periods: Sequence[float | None]) -> Array:
    """The mean of each column over all training observations, `(values,)`, circular where it is; NaN without one."""
    means = np.full(len(periods), np.nan)
    for k, (column, period) in enumerate(zip(_pooled(values, len(periods)), periods, strict=True)):
        if column.size and period is not None:
            turns = np.exp(2j * np.pi * column / period).mean()
            means[k] = float(np.angle(turns)) * period / (2 * np.pi) % period
        elif column.size:
            means[k] = column.mean()
    return means


def _scales(
    trained: Sequence[Array], held_out: Sequence[Array], means: Array, periods: Sequence[float | None]
) -> Array:
    """What errors of each column are held against, `(values,)`; NaN or 0 where no observation changes.

    The root mean square distance from `means` of the training observations, or where that is 0 of the held-out ones.
    """
    scales = np.full(len(periods), np.nan)
    columns = zip(_pooled(trained, len(periods)), _pooled(held_out, len(periods)), periods, strict=True)
    for k, (known, ahead, period) in enumerate(columns):
        centre = means[k] if known.size else ahead.mean() if ahead.size else np.nan
        for observed in (known, ahead):
            away = observed - centre
            if period is not None:
                away = shorter_way(away, period)
            if away.size and not scales[k] > 1e-12 * abs(centre):
                scales[k] = np.sqrt(np.mean(away**2))
    return scales


def _pooled(values: Sequence[Array], columns: int) -> list[Array]:
    """The observations of each column, of all trajectories together."""
    together = np.concatenate(values) if values else np.empty((0, columns))
    return [column[~np.isnan(column)] for column in together.T]


def _trajectory(part: Judged) -> dict[str, Any]:
    held_out = part.rows(HELD_OUT)
    curve_times, curve = part.curve_times, part.curve
    if curve_times is None or curve is None:
        curve_times, curve = part.times, part.predicted
    return {
        "name": part.name,
        "times": part.times.tolist(),
        "observed": _rows(part.observed),
        "part": part.parts,
        "fitted": _rows(np.where(held_out[:, None], np.nan, part.predicted)),
        "forecast": _rows(np.where(held_out[:, None], part.predicted, np.nan)),
        "curve_times": curve_times.tolist(),
        "curve": _rows(curve),
        "cut": float(part.times[held_out][0]) if held_out.any() else None,
    }


def _rows(table: Array) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in table.tolist()]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
