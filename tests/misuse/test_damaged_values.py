"""Values that can not be, in every file that is read back: refused in one line that names file and key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pynode.sweeps.layout import FILE
from tests.misuse.damage import CASE, FOLDER, refused

pytestmark = pytest.mark.timeout(60)


@dataclass(frozen=True)
class Value:
    """A key of a file, the value that it is given, and what the message must say."""

    file: str
    key: str
    value: Any
    said: str


PATH: dict[str, Any] = {
    "name": "a",
    "times": [0.0],
    "observed": [[1.0]],
    "part": ["training"],
    "fitted": [[1.0]],
    "forecast": [[None]],
    "curve_times": [],
    "curve": [],
    "cut": None,
}
"""One trajectory of a forecast, as it should be."""


def forecast(**changes: Any) -> dict[str, Any]:
    """An evaluation's series with a forecast of one trajectory, with these `changes` to that."""
    return {"forecast": {"columns": ["x"], "errors": [], "trajectories": [PATH | changes]}}


VALUES = [
    Value("config.json", "seed", "0", 'seed: expected an integer, got "0"'),
    Value("config.json", "seed", -1, "seed: expected an integer >= 0, got -1"),
    Value("config.json", "iterations", None, "iterations: expected an integer, got null"),
    Value("config.json", "iterations", 2.5, "iterations: expected an integer, got 2.5"),
    Value("config.json", "faithful", 1, "faithful: expected true or false, got 1"),
    Value("config.json", "problem", "spirale", "unknown problem 'spirale'; did you mean 'spiral'?"),
    Value("config.json", "problem", ["spiral"], "problem: expected text, got a list"),
    Value("config.json", "method", "disc-opt", 'method: expected an object, got "disc-opt"'),
    Value("config.json", "method", {"method": "disc_opt", "steps": 1}, "did you mean 'disc-opt'?"),
    Value("config.json", "method", {"method": "disc-opt"}, "method has neither rtol nor steps"),
    Value("config.json", "method", {"method": "disc-opt", "steps": 0}, "method.steps: expected an integer >= 1, got 0"),
    Value("config.json", "multilevel", 3, "multilevel: expected an object or null, got 3"),
    Value("summary.json", "status", "done", 'status: unknown value "done"'),
    Value("summary.json", "status", None, "status"),
    Value("summary.json", "iterations", -4, "iterations: expected an integer >= 0, got -4"),
    Value("summary.json", "iterations", [4], "iterations: expected an integer, got a list"),
    Value("summary.json", "lost_records", 9, "lost_records = 9 of 4 iterations"),
    Value("summary.json", "lost_records", "none", "lost_records: expected an integer"),
    Value("summary.json", "best_validation_loss", "low", "best_validation_loss: expected a number or null"),
    Value("summary.json", "seconds_per_iteration", -1.0, "seconds_per_iteration: expected a number >= 0"),
    Value("summary.json", "training_seconds", {}, "training_seconds: expected a number"),
    Value("summary.json", "fit_loss", [], '"fit_loss": expected a number or null, got a list'),
    Value("summary.json", "test_nll", "nan", '"test_nll": expected a number or null, got "nan"'),
    Value("summary.json", "engine", 3, "engine: expected text, got 3"),
    Value("evaluation.json", "metrics", [], "metrics: expected an object, got a list"),
    Value("evaluation.json", "metrics", {"fit_loss": "x"}, '"fit_loss": expected a number or null'),
    Value("evaluation.json", "series", None, "series: expected an object, got null"),
    Value("evaluation.json", "series", {"t": "x"}, "series.t: expected a list"),
    Value("evaluation.json", "series", {"t": [0.0], "truth": [[1.0, 2.0]] * 2}, "series.truth has 2 rows"),
    Value("evaluation.json", "series", {"t": [0.0] * 2, "truth": [[1.0, 2.0], [1.0]]}, "its rows differ in length"),
    Value("evaluation.json", "series", {"t": [0.0], "truth": [[1.0]]}, "the same columns, two or more"),
    Value("evaluation.json", "series", {"t": [0.0], "model": [[1.0, "2"]]}, "series.model[0][1]: expected a number"),
    Value("evaluation.json", "series", {"forecast": 3}, "series.forecast: expected an object, got 3"),
    Value("evaluation.json", "series", forecast(times=["x"]), "times[0]: expected a number"),
    Value("evaluation.json", "series", forecast(part=["test"]), 'unknown value "test"'),
    Value("evaluation.json", "series", forecast(fitted=[]), "fitted of 'a' has 0 rows, but its times 1 entries"),
    Value("evaluation.json", "series", forecast(observed=[[1.0, 2.0]]), "observed of 'a' does not have 1 columns"),
    Value("evaluation.json", "series", forecast(curve=[[1.0]]), "curve of 'a' has 1 rows, but its curve_times 0"),
    Value("records.jsonl", "iteration", -1, "line 1 is damaged: iteration: expected an integer >= 0, got -1"),
    Value("records.jsonl", "iteration", 3, "its iterations are not in order"),
    Value("records.jsonl", "iteration", True, "line 1 is damaged: iteration: expected an integer, got true"),
    Value("records.jsonl", "loss", "1.0", 'loss: expected a number or null, got "1.0"'),
    Value("records.jsonl", "loss", [1.0], "loss: expected a number or null, got a list"),
    Value("records.jsonl", "loss", float("inf"), "Infinity is no number of JSON"),
    Value("records.jsonl", "loss", float("nan"), "NaN is no number of JSON"),
    Value("records.jsonl", "seconds_forward", -0.1, "seconds_forward: expected a number >= 0"),
    Value("records.jsonl", "nfe_forward", 1.5, "nfe_forward: expected an integer, got 1.5"),
    Value("records.jsonl", "n_rejected", None, "n_rejected: expected an integer"),
    Value("records.jsonl", "ranks", 0, "ranks: expected an integer >= 1, got 0"),
    Value("records.jsonl", "engine", 1, "engine: expected text, got 1"),
    Value("records.jsonl", "colour", "red", 'unknown key "colour"'),
]


def with_value(path: Path, key: str, value: Any) -> None:
    """Gives a key of a JSON file, or of the first line of a file of lines, another value, without a checksum."""
    lines = path.read_text().split("\n") if path.suffix == ".jsonl" else [path.read_text()]
    lines = [json.dumps({k: v for k, v in json.loads(x).items() if k != "checksum"}) if x.strip() else x for x in lines]
    lines[0] = json.dumps({**json.loads(lines[0]), key: value})
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("row", VALUES, ids=lambda row: f"{row.file}-{row.key}-{str(row.value)[:20]}")
def test_a_value_that_can_not_be(here: Path, row: Value, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "out" / FOLDER / row.file
    with_value(path, row.key, row.value)
    complaint = refused(["show", str(here / "out")], path, here, capsys)
    assert row.said in complaint
    assert "--resume" in complaint


OTHER_VALUES = [
    Value("taylor.jsonl", "method", "disc-opd", "did you mean 'disc-opt'?"),
    Value("taylor.jsonl", "h", [1.0], "h, e0 and e1 have 1, 2 and 2 entries"),
    Value("taylor.jsonl", "h", [1.0, -0.5], "h[1]: expected a number > 0"),
    Value("taylor.jsonl", "fitted", [0, 9], "is no range"),
    Value("taylor.jsonl", "passes", "yes", "passes: expected true or false"),
    Value("gradient_errors.jsonl", "error", "small", "error: expected a number"),
    Value("gradient_errors.jsonl", "error", -1.0, "error: expected a number >= 0"),
    Value("gradient_errors.jsonl", "method", None, "method: expected text, got null"),
    Value("rediscretisation.jsonl", "setting", 0, "setting: expected a number > 0"),
    Value("winners.jsonl", "method", "julia", 'method: unknown value "julia"'),
    Value("winners.jsonl", "evaluations", -5, "evaluations: expected an integer >= 0"),
    Value("stability.jsonl", "horizon", 0, "horizon: expected a number > 0"),
    Value("stability.jsonl", "horizon", {}, "horizon: expected a number"),
    Value("crosscheck.jsonl", "verdict", "fine", 'verdict: unknown value "fine"'),
    Value("crosscheck.jsonl", "differences", 3, "differences: expected a list, got 3"),
]


@pytest.mark.parametrize("row", OTHER_VALUES, ids=lambda row: f"{row.file}-{row.key}-{str(row.value)[:20]}")
def test_a_value_of_other_records(here: Path, row: Value, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "out" / row.file
    with_value(path, row.key, row.value)
    complaint = refused(["show", str(here / "out")], path, here, capsys)
    assert row.said in complaint
    assert "line 1 is damaged" in complaint


CASE_VALUES = [
    ("theta", "none", "theta: expected a list"),
    ("theta", [0.1] * 4, "theta has 4 entries, but 5 are needed"),
    ("theta", [0.1, None, 0.3, 0.4, 0.5], "theta[1]: expected a number, got null"),
    ("batch", 0, "batch: expected an integer >= 1"),
    ("batch", 10**18, "y0 has 1 entries"),
    ("batch", "1", "batch: expected an integer"),
    ("field", [], "field: expected an object"),
    ("field", {"architecture": "mlpp"}, "unknown field 'mlpp'"),
    ("field", {"architecture": "mlp", "widths": [1, 10**15, 1]}, "theta has 5 entries"),
    ("field", {"architecture": "mlp", "widths": "wide"}, "widths"),
    ("ts", [0.0], "ts"),
    ("ts", [0.0, 0.0], "ts"),
    ("ts", {"0": 1}, "ts: expected a list"),
    ("loss_form", {"kind": "linear"}, "loss_form.weights is missing"),
    ("loss_form", {"kind": "nll"}, "needs the state of a flow"),
    ("loss_form", 3, "loss_form: expected an object"),
    ("divergence", "hutchinson", "probes is missing"),
    ("reference", {"loss": 1.0}, "reference.grad_theta is missing"),
    ("results", [{"rtol": "x"}], "results[0].rtol: expected a number"),
    ("results", [{"loss": 1.0, "grad_theta": [0.0] * 5, "grad_y0": []}], "results[0].grad_y0 has 0 entries"),
    ("versions", {"torch": [2]}, "versions"),
    ("name", None, "name: expected text, got null"),
]


@pytest.mark.parametrize(("key", "value", "said"), CASE_VALUES, ids=lambda part: str(part)[:20])
def test_a_value_of_a_case(here: Path, key: str, value: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "case.json"
    path.write_text(json.dumps({**CASE, key: value}))
    complaint = refused(["crosscheck", "--case", str(path), "--out", str(here / "new")], path, here, capsys)
    assert said in complaint


SWEEP_VALUES = [
    ("axes", {"problem": "spiral"}, "axes"),
    ("axes", {"problem": ["spiral"], "colour": ["red"]}, "colour"),
    ("needs", {"cpus": "two"}, "cpus"),
    ("running", {"jobs": 0}, "jobs"),
    ("cells", [{"problem": "spiral", "label": "../x", "config": {}}], "is no name of a folder"),
    ("cells", [{"problem": "spiral", "label": "x", "config": {}}], "cells[0]"),
    ("cells", [{"problem": "spiral", "label": "x", "config": 3}], "cells[0]: config"),
    ("cells", 3, "cells: expected a list"),
]


@pytest.mark.parametrize(("key", "value", "said"), SWEEP_VALUES, ids=lambda part: str(part)[:20])
def test_a_value_of_a_sweep(here: Path, key: str, value: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "sweep" / FILE
    with_value(path, key, value)
    complaint = refused(["sweep", "--resume", "--out", str(path.parent)], path, here, capsys)
    assert said in complaint


def test_a_summary_of_more_iterations(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_value(here / "out" / FOLDER / "summary.json", "iterations", 5)
    path = here / "out" / FOLDER / "records.jsonl"
    complaint = refused(["show", str(here / "out")], path, here, capsys)
    assert "summary.json speaks of 5 iterations" in complaint
    assert "--resume" in complaint
