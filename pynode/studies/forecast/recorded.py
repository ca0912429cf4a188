"""What a run has recorded of its forecasts, as arrays; what was not finite, or not observed, is NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pynode.records.runs import Run
from pynode.studies.results import Results

Array: TypeAlias = npt.NDArray[np.float64]

HELD_OUT = "held out"

BASELINES = {"naive": "last value", "linear": "straight line", "mean curve": "mean curve"}
"""Forecasts without a model, by their names in records, and as tables call them."""

DATES = (np.datetime64("0001-01-02", "ms"), np.datetime64("9999-12-30", "ms"))
"""Dates that matplotlib can draw."""


@dataclass(frozen=True)
class Path:
    """One trajectory: tables `(n, values)` at `times` `(n,)`, and a dense curve: a fit until `cut`, then a forecast."""

    name: str
    times: Array
    observed: Array
    fitted: Array
    forecast: Array
    is_held_out: npt.NDArray[np.bool_]
    curve_times: Array
    curve: Array
    cut: float | None

    @property
    def predicted(self) -> Array:
        """The fit, and the forecast at rows that were held out."""
        return np.where(self.is_held_out[:, None], self.forecast, self.fitted)


@dataclass(frozen=True)
class Clock:
    """How times are drawn: as dates where the numbers stand for dates, else as they are."""

    label: str
    seconds: float | None
    origin: float

    def shown(self, times: Array) -> Any:
        """Times for an axis of matplotlib: numbers, or `datetime64`."""
        if self.seconds is None:
            return times
        since = np.round(1e3 * (self.origin + times * self.seconds))
        if not np.isfinite(since).all() or np.abs(since).max(initial=0.0) > 4e14:
            return times
        dates = since.astype("int64").astype("datetime64[ms]")
        if dates.size and not (DATES[0] <= dates.min() and dates.max() <= DATES[1]):
            return times
        return dates


def shown_runs(results: Results) -> dict[str, Run]:
    """The first run of each method that has forecasts; none for a sweep over accuracies."""
    chosen: dict[str, Run] = {}
    for run in results.runs if not results.is_sweep else ():
        if run.evaluation and "forecast" in run.evaluation["series"]:
            chosen.setdefault(run.method, run)
    return chosen


def record_of(run: Run) -> dict[str, Any]:
    """The entry `forecast` of a run's evaluation, as `pynode.records.forecast` describes it."""
    assert run.evaluation is not None  # `shown_runs` leaves others out
    record: dict[str, Any] = run.evaluation["series"]["forecast"]
    return record


def paths(record: Mapping[str, Any]) -> list[Path]:
    """All trajectories of a record."""
    columns = len(record["columns"])
    return [
        Path(
            str(entry["name"]),
            np.array(entry["times"], dtype=np.float64),
            _table(entry["observed"], columns),
            _table(entry["fitted"], columns),
            _table(entry["forecast"], columns),
            np.array([part == HELD_OUT for part in entry["part"]], dtype=np.bool_),
            np.array(entry["curve_times"], dtype=np.float64),
            _table(entry["curve"], columns),
            entry["cut"],
        )
        for entry in record["trajectories"]
    ]


def clock(record: Mapping[str, Any]) -> Clock:
    """The time axis of a record."""
    time = record.get("time") or {}
    seconds = time.get("seconds")
    if seconds is None and time.get("kind") == "date":
        seconds = 1.0
    column, unit = time.get("column") or "time", time.get("unit") or ""
    numbers = unit and unit not in (column, f"units of {column}") and seconds is None
    return Clock(f"{column} ({unit})" if numbers else column, seconds, float(time.get("origin") or 0.0))


def file_name(results: Results) -> str:
    """The file that the runs were trained on, without its folder, for titles."""
    return results.file or results.title


def broken_at_turns(values: Array, period: float | None) -> Array:
    """Values of a line `(n,)`; NaN in place of those where an angle jumps from one end of its circle to the other."""
    if period is None or len(values) < 2:
        return values
    jumps = np.abs(np.diff(values)) > period / 2
    return np.where(np.concatenate([[False], jumps]), np.nan, values)


def _table(rows: list[list[Any]], columns: int) -> Array:
    return np.array(rows, dtype=np.float64).reshape(len(rows), columns)
