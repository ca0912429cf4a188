"""The line that trains a problem again gives back the problem's options."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import pytest

from pynode.cli import main
from pynode.cli.as_typed import OF_TABLES
from pynode.cli.density import LISTS, PLAIN
from pynode.cli.training_line import training_line


def test_other_problems_are_compared() -> None:
    assert training_line("spiral", {}, 0) == "compare spiral"
    line = training_line("8gaussians", {"hidden": (32, 32), "batch": 50}, 3)
    assert line == "compare 8gaussians --set hidden=32,32 --set batch=50 --seeds 3"


def test_series_have_a_command_and_options_of_its_own() -> None:
    options = {"data": "/a b/rats.csv", "sha256": "ff", "time": "day", "values": ("a", "b,c"), "header": False}
    words = shlex.split(training_line("series", {**options, "given": 2, "window": None}, 0))
    assert words[:3] == ["series", "--data", "/a b/rats.csv"]
    assert words[3:] == ["--time", "day", "--values", 'a,"b,c"', "--no-header", "--given", "2"]


def test_knows_the_options_that_density_has_itself() -> None:
    assert set(OF_TABLES) == {*LISTS, *PLAIN}


def test_tables_are_trained_by_density() -> None:
    options = {"data": "t.csv", "sha256": "ff", "condition": ("kind",), "hidden": (32,)}
    assert training_line("table", options, 1) == ("density --data t.csv --condition kind --set hidden=32 --seeds 1")


@pytest.mark.parametrize("name", ["series", "table"])
def test_the_line_is_a_command_that_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my rows.csv"
    rows = [f"{k},{math.sin(k / 5)!r},{math.cos(k / 3)!r},{k % 2}" for k in range(60)]
    file.write_text("\n".join(["day,a,b,kind", *rows]))
    own = {"time": "day", "values": ("a", "b")} if name == "series" else {"drop": ("day",), "condition": ("kind",)}
    line = training_line(name, {"data": str(file), **own}, 2)
    assert main([*shlex.split(line), "--methods", "disc-opt", "--steps", "2", "--explain"]) == 0
    assert "disc-opt" in capsys.readouterr().out
