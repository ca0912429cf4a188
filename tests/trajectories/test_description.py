"""What was taken of a file, in lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pynode.trajectories.axis import TimeAxis
from pynode.trajectories.data import Trajectories, Trajectory
from pynode.trajectories.description import describe, duration
from tests.trajectories.axes import DAYS, NUMBERS, WHOLE


def series(times: list[float]) -> Trajectories:
    at = np.array(times)
    values = np.stack([at, np.where(at > at[0], at, np.nan)], axis=1)
    each = Trajectory("", at, values, (), np.empty(0), np.arange(len(at)))
    return Trajectories((each,), NUMBERS, ("x", "y"), path=Path("/data/mine.csv"))


def test_rows_times_and_roles() -> None:
    lines = describe(series([0, 1, 2, 4]))
    assert lines == [
        "mine.csv: 4 rows, 1 trajectory",
        "time: hours, 0 to 4, usually 1 apart",
        "values: x, y (1 missing)",
    ]


def test_all_that_there_can_be() -> None:
    one = series([0, 1, 2])
    each = (one.each[0], replace(one.each[0], name="b", times=np.array([5.0, 6.0]), values=np.ones((2, 2))))
    lines = describe(
        replace(
            one,
            each=each,
            id_columns=("patient",),
            inputs=("dose",),
            input_kinds=("jumps",),
            covariates=("age",),
            periods={"x": 360.0},
            notices=("first row left out: units", "'hours' is the time (units of hours)"),
        )
    )
    assert lines[0] == "mine.csv: 5 rows, 2 trajectories by patient of 2 to 3 rows"
    assert lines[2:] == [
        "values: x (period 360), y (1 missing)",
        "inputs: dose (jumps)",
        "covariates: age",
        "first row left out: units",
    ]


def test_lengths_of_time() -> None:
    assert duration(WHOLE, 250.0) == "250 milliseconds"
    assert duration(DAYS, 2 * 86_400.0) == "2 days"
    assert duration(DAYS, 5_400.0) == "1.5 hours"
    assert duration(NUMBERS, 0.25) == "0.25"
    assert duration(DAYS, 3_600.0) == "1 hour"
    years = TimeAxis("year", "number", "years", "integer", 365.25 * 86_400.0)
    assert duration(years, 1.0) == "1 year"
    assert duration(years, 1 / 12) == "30.44 days"
