"""Advice from the command line: what it prints, leaves and returns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pynode.cli import main
from pynode.studies.advice.recommendation import GOALS
from pynode.wording import COMMAND


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("advise", "PROBLEM is missing: name one, such as spiral"),
        ("advise spirl", "did you mean 'spiral'?"),
        ("advise spiral --budget 0", "0 is not a number of seconds above 0"),
        ("advise spiral --set width=3", "spiral takes no options"),
        ("advise spiral --data nosuch.csv", "spiral brings its own data"),
        ("advise --data nosuch.csv", "nosuch.csv"),
        ("advise spiral --at nosuch", "--at = nosuch: there is no such directory"),
        ("advise nosuch.py:Mine", "there is no file nosuch.py"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def advised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Advice on a run of the spiral."""
    top = tmp_path_factory.mktemp("advice")
    short = ["--iterations", "20", "--no-checks", "--out", str(top / "spiral"), "--methods", "disc-opt"]
    assert main(["compare", "spiral", *short]) == 0
    run = next((top / "spiral" / "runs").iterdir())
    words = ["--budget", "6", "--iterations", "20", "--at", str(run), "--out", str(top / "out")]
    assert main(["advise", "spiral", *words]) == 0
    return top / "out"


def test_leaves_records_tables_and_a_figure(advised: Path) -> None:
    lines = [json.loads(line) for line in (advised / "advice_weights.jsonl").read_text().splitlines()]
    assert [line["weights"] for line in lines] == ["untrained", "rehearsed", "disc-opt-rk4-x1-seed0"]
    assert lines[0]["environment"]["packages"]["torch"]
    assert lines[0]["config"]["line"] == "compare spiral"
    assert (advised / "environment.json").is_file()
    assert (advised / "figures" / "advice.png").is_file()
    tables = (advised / "tables.md").read_text()
    assert all(goal in tables for goal in GOALS.values())
    assert f"`{COMMAND} compare spiral --methods " in tables
    assert f"`{COMMAND}" not in (advised / "report.html").read_text()


def test_is_shown_again_from_records_alone(advised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (advised / "tables.md").read_bytes()
    (advised / "tables.md").unlink()
    assert main(["show", str(advised)]) == 0
    assert (advised / "tables.md").read_bytes() == before
    assert "Advice: spiral" in capsys.readouterr().out


def test_the_line_to_paste_runs(advised: Path, tmp_path: Path) -> None:
    line = next(line for line in (advised / "tables.md").read_text().splitlines() if f"`{COMMAND} compare" in line)
    words = line.split("`")[1].removeprefix(COMMAND).split()
    assert words[0] == "compare"
    assert main([*words, "--iterations", "2", "--no-checks", "--out", str(tmp_path / "out")]) == 0


OWN = '''
import torch
from pynode import MLP
from pynode.problems.series.spiral import Spiral

class Mine(Spiral):
    """A spiral of my own."""
    name = "mine"

    @property
    def field_spec(self):
        return MLP((2, 8, 2), "tanh")
'''


def test_a_problem_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_problem.py").write_text(OWN)
    assert main(["advise", "my_problem.py:Mine", "--budget", "3", "--iterations", "5", "--out", "out"]) == 0
    assert "compare" in (tmp_path / "out" / "tables.md").read_text()


def test_a_flow_in_numpys_format_as_it_was_trained(tmp_path: Path) -> None:
    table, top = tmp_path / "mine.npy", tmp_path / "trained"
    np.save(table, np.random.default_rng(0).standard_normal((200, 2)))
    words = ["--set", "hidden=8,4", "--set", "blocks=2", "--data", str(table), "--seed", "3"]
    short = ["--iterations", "3", "--no-checks", "--methods", "disc-opt", "--out", str(top)]
    assert main(["compare", "table", *words, *short]) == 0
    run = next((top / "runs").iterdir())
    words = ["--set", "batch=40", "--budget", "8", "--iterations", "5", "--at", str(run)]
    assert main(["advise", "--data", str(table), *words, "--out", str(tmp_path / "out")]) == 0
    asked = json.loads((tmp_path / "out" / "advice_weights.jsonl").read_text().splitlines()[0])["config"]["line"]
    assert asked.startswith("density ")
    for part in (f"--data {table}", "--set hidden=8,4", "--set blocks=2", "--set batch=40", "--seeds 3"):
        assert part in asked
    assert "sha256" not in asked
