"""The command as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.core import TyperCommand

from experiments.benchmarks import suites
from experiments.benchmarks.command import bench
from experiments.benchmarks.race import described
from experiments.benchmarks.records import EntryRecord, path_of, read
from experiments.benchmarks.suites import Task, own_workload
from pynode import clock
from pynode.errors import UsageError
from pynode.records.files import append_line

RUN = Path(__file__).parents[2] / "experiments" / "run.py"
CONTEXT = typer.Context(TyperCommand("bench"))
"""Of a call that has no command line."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"peers": "jaxx"}, "unknown peer 'jaxx'; did you mean 'jax'?"),
        ({"cases": "spirl"}, "unknown case 'spirl'; did you mean 'spiral'?"),
        ({"suite": "cpus"}, "unknown suite 'cpus'; did you mean 'cpu'?"),
        ({"threads": 0}, "--threads = 0: not a positive number"),
        ({"repeats": -1}, "--repeats = -1: not a positive number"),
        ({"show": Path("nosuch")}, "nosuch holds no benchmark"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    options: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said.replace("?", r"\?")) as caught:
        bench(CONTEXT, **options)  # type: ignore[arg-type]
    assert caught.value.exit_status == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_suite_needs_one(tmp_path: Path) -> None:
    said = "--suite gpu: torch sees no CUDA device here; run it on a machine with one, or take --suite cpu"
    with pytest.raises(UsageError, match=said) as caught:
        bench(CONTEXT, suite="gpu", out=tmp_path / "out")
    assert caught.value.exit_status == 2
    assert not (tmp_path / "out").exists()


def test_the_load_before_the_first_turn_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read before the suite begins, which is work itself."""
    loads = iter([0.25, 9.0])

    class Short(suites.Cpu):
        def run(self, task: Task) -> list[EntryRecord]:
            clock.load_average()
            append_line(path_of(task.directory, "workloads"), described(own_workload("spiral", 1)))
            return []

    monkeypatch.setattr(clock, "load_average", lambda: next(loads))
    monkeypatch.setattr(suites.SUITES, "load", lambda _: Short)
    bench(CONTEXT, out=tmp_path / "out")
    assert read(tmp_path / "out").environment["load_average"] == 0.25


@pytest.mark.slow
def test_a_quick_run_end_to_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--quick", "--cases", "spiral", "--peers", "pynode-eager,torchdiffeq", "--repeats", "2"]
    command = [sys.executable, str(RUN), "bench", *options, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torchdiffeq" in done.stdout
    entries = [json.loads(line) for line in (out / "entries.jsonl").read_text().splitlines()]
    assert [(e["entrant"], e["status"]) for e in entries] == [("pynode-eager", "timed"), ("torchdiffeq", "timed")]
    assert all(e["gradient_error"] < 1e-12 and e["trained_error"] < 1e-8 for e in entries)
    assert (out / "figures" / "seconds.png").exists()
    environment = json.loads((out / "environment.json").read_text())
    assert environment["packages"]["torch"]
    turns = [json.loads(line)["load_average"] for line in (out / "repeats.jsonl").read_text().splitlines()]
    assert len(turns) == 4
    assert {load is None for load in turns} == {environment["load_average"] is None}, "where the system keeps one"
    assert json.loads((out / "config.json").read_text())["suite"] == "cpu"
    # tables again from records alone, and nothing is overwritten
    before = (out / "tables.md").read_text()
    bench(CONTEXT, show=out)
    assert (out / "tables.md").read_text() == before
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "not empty" in again.stderr
