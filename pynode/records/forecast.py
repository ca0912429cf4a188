"""The entry `forecast` of an evaluation: what a model of a user's series says of every trajectory, and its errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

import msgspec

from pynode.records.schema import Count, NonNegative

Row = list[float | None]
Part = Literal["training", "validation", "given", "held out"]


class ErrorKeys(TypedDict):
    """Errors of one forecaster on one part of one column: a row of `pynode.trajectories.judgement.error_rows`."""

    forecaster: str
    column: str
    part: str
    rows: Count
    rmse: NonNegative | None
    mae: NonNegative | None
    mase: NonNegative | None
    relative: NonNegative | None


class TrajectoryKeys(TypedDict):
    """One trajectory, in the units of the file: what was observed, fitted and forecast at each of its times.

    `fitted` is null at held-out rows and `forecast` at all others; the curve is denser, a fit until the time `cut` and
    a forecast from there on; `cut` is null where nothing is held out.
    """

    name: str
    times: list[float]
    observed: list[Row]
    part: list[Part]
    fitted: list[Row]
    forecast: list[Row]
    curve_times: list[float]
    curve: list[Row]
    cut: float | None


class _TimeKeys(TypedDict):
    column: str
    kind: str
    unit: str


class TimeKeys(_TimeKeys, total=False):
    """The time axis: its column and unit in words; for dates, seconds of a unit, and number 0 in seconds since 1970."""

    seconds: float | None
    origin: float


class _ForecastKeys(TypedDict):
    columns: Annotated[list[str], msgspec.Meta(min_length=1)]
    errors: list[ErrorKeys]
    trajectories: Annotated[list[TrajectoryKeys], msgspec.Meta(min_length=1)]


class ForecastKeys(_ForecastKeys, total=False):
    """Columns, errors and trajectories, and how the file was read and split.

    `without_field`: trajectories that were not trained on are forecast from the curves of others alone.
    """

    constants: list[tuple[str, float]]
    periods: dict[str, float]
    hidden: list[str]
    split: Annotated[list[str], msgspec.Meta(min_length=1)]
    notices: list[str]
    time: TimeKeys
    id_column: str | None
    inputs: list[str]
    covariates: list[str]
    without_field: bool


TABLES = (("observed", "times"), ("fitted", "times"), ("forecast", "times"), ("curve", "curve_times"))
"""Tables of a trajectory, and what each has a row for."""


def check_lengths(forecast: dict[str, Any]) -> None:
    """Raises `ValueError` where rows don't belong to the times or the columns of a trajectory."""
    columns = len(forecast["columns"])
    for trajectory in forecast["trajectories"]:
        for table, times in (*TABLES, ("part", "times")):
            rows, of = trajectory[table], f"series.forecast: {table} of {trajectory['name']!r}"
            if len(rows) != len(trajectory[times]):
                raise ValueError(f"{of} has {len(rows)} rows, but its {times} {len(trajectory[times])} entries")
            if table != "part" and any(len(row) != columns for row in rows):
                raise ValueError(f"{of} does not have {columns} columns in every row")
