"""The JSON files of a run: what is read of each, and which values can not be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pynode.errors import RecordError
from pynode.records.files import write_json
from pynode.records.run_files import read_config, read_evaluation, read_summary

CONFIG: dict[str, Any] = {
    "problem": "spiral",
    "method": {"method": "disc-opt", "steps": 1},
    "seed": 0,
    "faithful": False,
    "iterations": 1,
}
SUMMARY: dict[str, Any] = {"status": "finished", "iterations": 4, "best_validation_loss": None}
SERIES: dict[str, Any] = {
    "t": [0.0, 1.0, 2.0],
    "truth": [[1.0, 2.0]] * 3,
    "model": [[1.0, None]] * 3,
    "data_t": [0.0, 1.0],
    "data": [[1.0, 2.0]] * 2,
    "grid": [-1.0, 1.0],
    "density": [[1.0, 2.0], [3.0, 4.0]],
    "trajectories": [[[1.0, 2.0]] * 5, [[3.0, 4.0]] * 5],
}

READ = {"config.json": read_config, "summary.json": read_summary, "evaluation.json": read_evaluation}


def refused(directory: Path, name: str, content: Any, said: str) -> None:
    """Fails unless the file is refused with these words and the remedy of a run."""
    write_json(directory / name, content)
    wanted = f"^{re.escape(str(directory / name))} is damaged: {re.escape(said)}; .*--resume"
    with pytest.raises(RecordError, match=wanted):
        READ[name](directory)


def test_files_come_back_as_written(tmp_path: Path) -> None:
    """Also with keys that no schema knows; what is not known of a summary is a metric."""
    for name, content in (
        ("config.json", {**CONFIG, "other": [1]}),
        ("config.json", {**CONFIG, "method": {"method": "opt-disc", "rtol": 1e-3}}),
        ("config.json", {**CONFIG, "method": {"method": "disc-opt", "steps": [1, 4]}}),
        ("summary.json", {**SUMMARY, "lost_records": 4, "fit_loss": 0.5}),
        ("evaluation.json", {"metrics": {"nll": 1.5, "none": None}, "series": SERIES}),
        ("evaluation.json", {"metrics": {}, "series": {}}),
    ):
        write_json(tmp_path / name, content)
        assert READ[name](tmp_path) == content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
        ({"iterations": 0}, "iterations: expected an integer >= 1, got 0"),
        ({"problem": "spirale"}, "unknown problem 'spirale'; did you mean 'spiral'?"),
        ({"method": {"method": "disc_opt", "steps": 1}}, "'disc_opt'; did you mean 'disc-opt'?"),
        ({"method": {"method": "disc-opt"}}, "method has neither rtol nor steps"),
        ({"method": {"method": "disc-opt", "steps": 0}}, "method.steps: expected an integer >= 1, got 0"),
        ({"method": {"method": "opt-disc", "rtol": 0.0}}, "method.rtol: expected a number > 0.0, got 0.0"),
    ],
)
def test_a_configuration_that_can_not_be(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    write_json(tmp_path / "config.json", {**CONFIG, **change})
    with pytest.raises(RecordError, match=re.escape(said)):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lost_records": 5}, "lost_records = 5 of 4 iterations"),
        ({"fit_loss": "low"}, '"fit_loss": expected a number or null, got "low"'),
        ({"status": "done"}, 'status: unknown value "done"'),
        ({"seconds_forward": -1.0}, "seconds_forward: expected a number >= 0.0, got -1.0"),
    ],
)
def test_a_summary_that_can_not_be(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    write_json(tmp_path / "summary.json", {**SUMMARY, **change})
    with pytest.raises(RecordError, match=re.escape(f"{said}; run the same command with --resume")):
        read_summary(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"truth": [[1.0, 2.0]] * 4}, "series.truth has 4 rows, but series.t 3 entries"),
        ({"model": [[1.0, 2.0]] * 2}, "series.model has 2 rows, but series.t 3 entries"),
        ({"data": [[1.0, 2.0]] * 3}, "series.data has 3 rows, but series.data_t 2 entries"),
        ({"truth": [[1.0, 2.0], [1.0, 2.0], [1.0]]}, "series.truth: its rows differ in length"),
        ({"trajectories": [[[1.0, 2.0]] * 5, [[1.0, 2.0]] * 4]}, "series.trajectories: its rows differ in length"),
        ({"trajectories": [[[1.0, 2.0]], [[1.0]]]}, "series.trajectories: its rows differ in length"),
        ({"truth": [[1.0, 2.0, 3.0]] * 3}, "series: truth, model and data do not have the same columns, two or more"),
        ({"density": [[1.0, 2.0]]}, "series.density is no square"),
        ({"density": [[1.0], [2.0]]}, "series.density is no square"),
    ],
)
def test_an_evaluation_whose_series_do_not_fit(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    refused(tmp_path, "evaluation.json", {"metrics": {}, "series": {**SERIES, **change}}, said)


def test_a_series_in_time_has_two_columns_or_more(tmp_path: Path) -> None:
    one = {name: [[1.0]] * len(SERIES[name]) for name in ("truth", "model", "data")}
    said = "series: truth, model and data do not have the same columns, two or more"
    refused(tmp_path, "evaluation.json", {"metrics": {}, "series": {**SERIES, **one}}, said)
    # without times they are samples, which may have one
    samples = {"data": [[1.0]] * 3, "model": [[1.0, 2.0]] * 3}
    write_json(tmp_path / "evaluation.json", {"metrics": {}, "series": samples})
    assert read_evaluation(tmp_path)["series"] == samples


def test_metrics_are_numbers(tmp_path: Path) -> None:
    refused(
        tmp_path,
        "evaluation.json",
        {"metrics": {"nll": "low"}, "series": {}},
        '"nll": expected a number or null, got "low"',
    )


@pytest.mark.parametrize("name", ["columns", "shift", "scale"])
def test_what_is_said_of_columns_is_said_of_each(tmp_path: Path, name: str) -> None:
    """Names and units of a user's table: one entry for each column of its rows."""
    known: dict[str, Any] = {"data": [[1.0, 2.0]] * 3, "columns": ["a", "b"], "shift": [0.0, 1.0], "scale": [1.0, 2.0]}
    write_json(tmp_path / "evaluation.json", {"metrics": {}, "series": known})
    assert read_evaluation(tmp_path)["series"] == known
    wrong = {**known, name: known[name][:1]}
    said = f"series.{name} has not one entry for each column of series.data"
    refused(tmp_path, "evaluation.json", {"metrics": {}, "series": wrong}, said)
