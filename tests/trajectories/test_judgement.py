"""The error rows that a run records."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pynode.records.forecast import check_lengths
from pynode.records.run_files import EvaluationKeys
from pynode.records.schema import convert
from pynode.trajectories.judgement import Judged, error_rows, judged, mean_relative, metrics

NAN = float("nan")
TIMES = np.array([0.0, 1.0, 2.0, 3.0])


def part(observed: list[float], predicted: list[float], used: str) -> Judged:
    """A trajectory of one column; `used` has a letter a row: training, validation, given, held out."""
    words = {"t": "training", "v": "validation", "g": "given", "h": "held out"}
    columns = np.array(observed)[:, None], np.array(predicted)[:, None]
    return Judged("", TIMES[: len(observed)], *columns, known=0, part=[words[letter] for letter in used])


def only(rows: list[dict[str, Any]], forecaster: str, part: str) -> dict[str, Any]:
    (row,) = (r for r in rows if (r["forecaster"], r["part"]) == (forecaster, part))
    return row


def test_split_by_time() -> None:
    rows = error_rows([part([0, 2, 4, 6], [0, 2, 4, 5], "ttth"), part([1, NAN, 1], [1, 9, 1], "ttt")], ["x"], {})
    fit = only(rows, "model", "training")
    assert (fit["rows"], fit["rmse"], fit["mae"], fit["mase"], fit["relative"]) == (5, 0, 0, 0, 0)
    ahead = {r["forecaster"]: r for r in rows if r["part"] == "held out"}
    assert set(ahead) == {"model", "naive", "linear"}
    assert [ahead[name]["rmse"] for name in ("model", "naive", "linear")] == pytest.approx([1, 2, 0])
    assert ahead["model"]["mase"] == pytest.approx(1 / (4 / 3)), "changes by 2, 2 and 0"
    assert ahead["model"]["relative"] == pytest.approx(1 / np.std([0, 2, 4, 1, 1]))
    json.dumps(rows, allow_nan=False)


def test_split_by_trajectory_has_the_mean_curve() -> None:
    training = [part([0, 1, 2, 3], [0, 1, 2, 3], "tttt"), part([2, 3, 4, 5], [0, 1, 2, 3], "tttt")]
    rows = error_rows([*training, part([5, 6, 7, 8], [5, 6, 7, 8], "gghh")], ["x"], {})
    assert only(rows, "mean curve", "held out")["rmse"] == pytest.approx(4)
    assert only(rows, "model", "held out")["rmse"] == 0
    assert only(rows, "model", "training")["rows"] == 8, "rows that a held-out one is given are no fit"
    assert mean_relative(rows, "model", "held out") == 0
    assert mean_relative(rows, "model", "training") == pytest.approx(np.sqrt(2) / np.std([0, 1, 2, 3, 2, 3, 4, 5]))
    assert mean_relative(rows, "nobody", "training") is None


def test_validation_rows_are_known_but_no_training() -> None:
    rows = error_rows([part([0, 1, 7, 7], [0, 1, 0, 7], "ttvh")], ["x"], {})
    assert only(rows, "model", "training")["rmse"] == 0
    assert only(rows, "naive", "held out")["rmse"] == 0


def test_the_mean_curve_counts_from_the_beginning_where_the_times_have_nothing_in_common() -> None:
    late = Judged("late", TIMES + 100, np.ones((4, 1)), np.ones((4, 1)), known=1, held_out=True)
    rows = error_rows([part([0, 1, 2, 3], [0, 1, 2, 3], "tttt"), late], ["x"], {})
    assert only(rows, "mean curve", "held out")["rmse"] == pytest.approx(np.sqrt((0 + 1 + 4) / 3))


def test_nothing_held_out() -> None:
    rows = error_rows([part([0, 2, 4, 6], [0, 2, 4, 6], "tttt")], ["x"], {})
    assert [r["part"] for r in rows] == ["training"]


def test_nothing_given_has_no_last_value() -> None:
    rows = error_rows([part([0, 1, 2, 3], [0, 1, 2, 3], "tttt"), part([0, 1, 2, 3], [0, 1, 2, 3], "hhhh")], ["x"], {})
    assert {r["forecaster"] for r in rows} == {"model", "mean curve"}


def test_a_forecast_that_blew_up_is_no_small_error() -> None:
    rows = error_rows([part([0, 2, 4, 6], [0, 2, 4, np.inf], "ttth")], ["x"], {})
    assert only(rows, "model", "held out")["rmse"] is None
    assert mean_relative(rows, "model", "held out") == np.inf
    json.dumps(rows, allow_nan=False)


def test_the_record_has_fit_forecast_and_curve_of_every_trajectory() -> None:
    ahead = Judged("a", TIMES, np.array([[0.0], [NAN], [4.0], [6.0]]), np.array([[0.0], [2.0], [4.0], [5.0]]), known=3)
    record = judged([ahead, replace(ahead, name="b", known=4)], ["x"], {})
    first, second = record["trajectories"]
    assert first["part"] == ["training"] * 3 + ["held out"]
    assert first["observed"] == [[0.0], [None], [4.0], [6.0]]
    assert first["fitted"] == [[0.0], [2.0], [4.0], [None]]
    assert first["forecast"] == [[None], [None], [None], [5.0]]
    assert (first["cut"], second["cut"]) == (3.0, None)
    assert first["curve_times"] == TIMES.tolist(), "the rows where there is no denser curve"
    json.dumps(record, allow_nan=False)
    evaluation = {"metrics": metrics(record), "series": {"forecast": record}}
    convert(evaluation, EvaluationKeys)
    check_lengths(record)
    assert set(metrics(record)) == {
        "fit_error", "forecast_error", "forecast_error_naive", "forecast_error_linear", "forecast_mase"
    }  # fmt: skip


def test_a_held_out_trajectory_is_given_its_first_rows() -> None:
    assert Judged("a", TIMES, np.ones((4, 1)), np.ones((4, 1)), known=1, held_out=True).parts == [
        "given",
        *["held out"] * 3,
    ]


def test_angles_are_held_against_their_spread_about_the_circular_mean() -> None:
    rows = error_rows([part([359, 1, 359, 1], [359, 1, 359, 3], "ttth")], ["wind"], {"wind": 360.0})
    spread = np.std([-1.0, 1.0, -1.0])
    assert only(rows, "model", "held out")["relative"] == pytest.approx(2 / spread, rel=1e-3)


def two(observed: list[list[float]], predicted: list[list[float]], known: int) -> Judged:
    return Judged("", TIMES[: len(observed)], np.array(observed), np.array(predicted), known=known)


def test_a_column_that_one_trajectory_never_observes_before_has_a_baseline() -> None:
    usual = two([[0, 2], [1, 4], [2, 6], [3, 8]], [[0, 2], [1, 4], [2, 6], [3, 8]], 3)
    late = two([[0, NAN], [1, NAN], [2, NAN], [3, 9]], [[0, 0], [1, 0], [2, 0], [3, 0]], 3)
    rows = error_rows([usual, late], ["x", "y"], {})
    for name, first in (("naive", 8 - 6), ("linear", 0)):
        (row,) = (r for r in rows if (r["forecaster"], r["column"]) == (name, "y"))
        assert row["rmse"] == pytest.approx(np.sqrt((first**2 + 5**2) / 2)), "the mean of 2, 4 and 6 is forecast"
    assert np.isfinite(metrics({"errors": rows})["forecast_error_naive"])


def test_a_column_never_observed_in_training_rows_gives_no_free_win() -> None:
    only_ahead = two([[0, NAN], [1, NAN], [2, NAN], [3, 9]], [[0, 0], [1, 0], [2, 0], [3, 0]], 3)
    rows = error_rows([only_ahead], ["x", "y"], {})
    assert not [r for r in rows if r["column"] == "y" and r["forecaster"] != "model"]
    assert np.isfinite(metrics({"errors": rows})["forecast_error_naive"])


def test_a_column_that_changes_only_in_held_out_rows_counts() -> None:
    rows = error_rows([part([5, 5, 10, 9], [5, 5, 5, 5], "tthh")], ["x"], {})
    assert mean_relative(rows, "model", "held out") == pytest.approx(1), "as good as holding the constant"
    assert mean_relative(rows, "naive", "held out") == pytest.approx(1)
    still = error_rows([part([5, 5, 5, 5], [5, 5, 5, 5], "tthh")], ["x"], {})
    assert mean_relative(still, "model", "held out") is None
