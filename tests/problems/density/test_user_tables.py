"""A user's file as a problem: its options reach the reader, and likelihood and samples are in the file's units."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pynode.cli.planning import problem_options
from pynode.datasets import cache
from pynode.datasets.errors import DataError
from pynode.datasets.splits import PARTS, Splits
from pynode.errors import InvalidArgument, UsageError
from pynode.problems.base import options_from_json
from pynode.problems.density.public_tables import Miniboone
from pynode.problems.density.user_tables import CsvTable
from pynode.sweeps.axes import check_axes

N = 300


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """An index, two measurements, a count, dates and a gap, with semicolons and decimal commas."""
    generator = np.random.default_rng(0)
    height, weight = generator.normal(170, 10, N), generator.normal(70, 8, N)
    children = generator.poisson(2, N)
    lines = ["# a survey", ";height, cm;weight;children;day"]
    for k in range(N):
        cells = f"{k};{height[k]:.3f};{weight[k]:.3f};{children[k]};2024-01-{k % 28 + 1:02d}"
        lines.append(cells.replace(".", ","))
    lines[7] = f"5;{160.5!s};;1;2024-01-06".replace(".", ",")
    path = tmp_path / "survey.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def problem(path: Path, *settings: str) -> CsvTable:
    """As the command line makes it."""
    options = problem_options("csv", ["batch=50", "hidden=8", *settings], path)
    return CsvTable(options=options_from_json(CsvTable, options))


def test_each_refusal_names_the_option_that_helps(survey: Path) -> None:
    """From error to error until the table is read."""
    steps = [
        (["drop=day"], "line 8, column 3 .'weight'.: an empty cell .*missing=drop"),
        (["drop=day", "missing=drop"], r"column 4 \('children'\) has \d+ different integers.*dequantise=children"),
    ]
    with pytest.raises(DataError, match=r"line 3, column 5 \('day'\): '2024-01-01' .*drop=day"):
        problem(survey).check()
    for settings, message in steps:
        with pytest.raises(DataError, match=message):
            problem(survey, *settings).check()
    final = problem(survey, "drop=day", "missing=drop", "dequantise=children")
    final.check()
    assert final.splits.names == ("height, cm", "weight", "children")
    assert [len(final.splits.train), len(final.splits.validation), len(final.splits.test)] == [243, 27, 29]


def test_notices_are_logged_once(survey: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pynode"):
        for _ in range(2):
            problem(survey, "drop=day", "missing=drop", "dequantise=auto").check()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(set(told)) == 4
    for part in (
        "is an index",
        "decimal comma",
        "1 row with missing",
        r"the values of column 4 ('children') (steps of 1)",
    ):
        assert sum(part in line for line in told) == 1, part


def test_likelihood_and_samples_are_in_units_of_the_file(survey: Path) -> None:
    """With a known density, and for whole numbers of children."""
    here = problem(survey, "drop=day", "missing=drop", "dequantise=auto")
    model = here.model(0)
    model.set_theta(torch.zeros_like(model.theta()))  # the flow does nothing: a normal density in standard units
    evaluation = here.evaluate_further(model, 3.0)
    assert here.splits.std is not None
    expected = 3.0 + float(np.log(here.splits.std).sum())
    assert evaluation.metrics["test_nll_raw"] == pytest.approx(expected, abs=1e-12)
    assert evaluation.series["dequantised_columns"] == [2]
    assert evaluation.series["dequantised_units"] == [0.0, 0.0, 1.0]
    rows = here.in_raw_units(model.sample(200, seed=0))
    assert np.array_equal(rows[:, 2], np.round(rows[:, 2]))
    assert rows[:, 0].mean() == pytest.approx(170, abs=3)
    assert not np.array_equal(rows[:, 0], np.round(rows[:, 0]))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("drop=a,3", ("a", "3")),
        ("dequantise=auto", ("auto",)),
        ("header=false", False),
        ("index=keep", "keep"),
        ("decimal=,", ","),
        ("missing=drop", "drop"),
        ("hidden=4,5", (4, 5)),
    ],
)
def test_options_from_text_and_back_from_a_record(setting: str, value: Any) -> None:
    options = problem_options("csv", [setting], None)
    assert options == {setting.partition("=")[0]: value}
    stored = {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}
    assert getattr(options_from_json(CsvTable, stored), setting.partition("=")[0]) == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "first"}, "index = 'first': unknown; use one of 'drop', 'keep'"),
        ({"missing": "mask"}, "missing = 'mask': unknown"),
        ({"decimal": ";"}, "decimal = ';': unknown"),
        ({"header": "perhaps"}, "header = 'perhaps'"),
        ({"drop": 3}, "drop = 3: not names; give names or numbers of columns as text"),
        ({"dequantise": [1]}, r"dequantise = \(1,\): 1 is not a name; give names or numbers of columns as text"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        options_from_json(CsvTable, options)


def test_options_as_axes_of_a_sweep() -> None:
    axes = check_axes({"problem": "csv", "set.drop": "day", "set.dequantise": [["a", "b"], ["auto"]]})
    assert axes.of_problems == {"drop": [["day"]], "dequantise": [["a", "b"], ["auto"]]}


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_public_rows_that_are_not_finite(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a damaged cache has them; found before training."""
    monkeypatch.setenv("PYNODE_DATA", str(tmp_path))
    parts = {name: np.random.default_rng(0).normal(size=(60, 43)).astype("f4") for name in PARTS}
    parts[part][3, 5] = np.nan
    cache.store(Splits("miniboone", parts["train"], parts["validation"], parts["test"]), tmp_path)
    with pytest.raises(UsageError, match=f"the {part} rows of miniboone, row 4, column 6: nan is not a finite number"):
        Miniboone(options=options_from_json(Miniboone, {"batch": 20})).check()
