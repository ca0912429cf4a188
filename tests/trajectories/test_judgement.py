"""What a run records of its fit and its forecasts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pynode.trajectories.judgement import Judged, judged, metrics

NAN = float("nan")
TIMES = np.array([0.0, 1.0, 2.0, 3.0])


def part(name: str, observed: list[float], predicted: list[float], known: int, *, held_out: bool = False) -> Judged:
    columns = np.array(observed)[:, None], np.array(predicted)[:, None]
    return Judged(name, TIMES[: len(observed)], *columns, known=known, held_out=held_out)


def test_split_by_time() -> None:
    record = judged([part("a", [0, 2, 4, 6], [0, 2, 4, 5], 3), part("b", [1, NAN, 1], [1, 9, 1], 3)], ["x"], {})
    assert record["errors"]["fit"]["model"]["x"] == {"rmse": 0, "mae": 0, "mase": 0, "count": 5}
    ahead = record["errors"]["forecast"]
    assert set(ahead) == {"model", "last value", "straight line"}
    assert ahead["model"]["x"]["rmse"] == pytest.approx(1)
    assert ahead["last value"]["x"]["rmse"] == pytest.approx(2)
    assert ahead["straight line"]["x"]["rmse"] == pytest.approx(0)
    assert record["naive_steps"]["x"] == pytest.approx(4 / 3)
    assert record["trajectories"][1]["observed"] == [[1.0], [None], [1.0]]
    json.dumps(record, allow_nan=False)


def test_split_by_trajectory_has_the_mean_curve() -> None:
    training = [part("a", [0, 1, 2, 3], [0, 1, 2, 3], 4), part("b", [2, 3, 4, 5], [0, 1, 2, 3], 4)]
    record = judged([*training, part("c", [5, 6, 7, 8], [5, 6, 7, 8], 2, held_out=True)], ["x"], {})
    ahead = record["errors"]["forecast"]
    assert ahead["mean curve"]["x"]["rmse"] == pytest.approx(4)
    assert ahead["model"]["x"]["rmse"] == 0
    assert record["errors"]["fit"]["model"]["x"]["count"] == 8, "rows that a held-out one is given are no fit"
    assert metrics(record)["forecast_error"] == 0
    assert metrics(record)["fit_error"] == pytest.approx(np.sqrt(2) / np.std([0, 1, 2, 3, 2, 3, 4, 5]))


def test_the_mean_curve_counts_from_the_beginning_where_the_times_have_nothing_in_common() -> None:
    late = Judged("c", TIMES + 100, np.array([[1.0]] * 4), np.array([[1.0]] * 4), known=1, held_out=True)
    record = judged([part("a", [0, 1, 2, 3], [0, 1, 2, 3], 4), late], ["x"], {})
    assert record["errors"]["forecast"]["mean curve"]["x"]["rmse"] == pytest.approx(np.sqrt((0 + 1 + 4) / 3))


def test_nothing_held_out() -> None:
    record = judged([part("a", [0, 2, 4, 6], [0, 2, 4, 6], 4)], ["x"], {})
    assert record["errors"]["forecast"] == {}
    assert metrics(record) == {"fit_error": 0.0}


def test_a_forecast_that_blew_up_is_no_small_error() -> None:
    record = judged([part("a", [0, 2, 4, 6], [0, 2, 4, np.inf], 3)], ["x"], {})
    assert record["errors"]["forecast"]["model"]["x"]["rmse"] is None
    assert metrics(record)["forecast_error"] == np.inf
    json.dumps(record, allow_nan=False)
