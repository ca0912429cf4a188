"""Runs and sweeps that an earlier version left behind go on to the numbers that it would have given.

`continued.json` holds those: the earlier version resumed the same runs (`record.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynode.cli import main
from pynode.engines.fused import unavailable
from pynode.records.events import EVENTS, Event
from pynode.records.files import read_json, read_lines
from pynode.records.iteration import IterationRecord
from pynode.sweeps.cells import Cell
from pynode.sweeps.grid import make_cells
from pynode.sweeps.layout import check_resumes, check_runs, read_values
from pynode.sweeps.specification import specify
from pynode.training.config import RunConfig
from pynode.training.trainer import train

HERE = Path(__file__).parent
RUNS = HERE / "runs"
CONTINUED: dict[str, dict[str, dict[str, list[Any]]]] = json.loads((HERE / "continued.json").read_text())
UNFINISHED = {f"{name}/runs/{label}" for name in CONTINUED for label in CONTINUED[name] if "interrupted" in name}
LONGER = {f"{name}/runs/{label}" for name in CONTINUED for label in CONTINUED[name] if "sweep" not in name} - UNFINISHED

ROUNDING = 1e-11
"""Of losses after seven to thirty iterations, relative: sums in another order were seen to change them by 5e-14."""


def check_numbers(run: Path, then: Mapping[str, list[Any]]) -> None:
    """The records of `run` are those of the earlier version: to rounding, or where steps adapt to their tolerances."""
    method = RunConfig.from_json(read_json(run / "config.json")).method
    now = read_lines(run / "records.jsonl", IterationRecord)
    bound = 30 * float(method.setting) if method.adaptive else ROUNDING
    assert [r.loss for r in now] == pytest.approx(then["loss"], rel=bound)
    assert [r.validation_loss for r in now] == [
        None if loss is None else pytest.approx(loss, rel=bound) for loss in then["validation_loss"]
    ]
    if not method.adaptive:
        assert [r.nfe_forward for r in now] == then["nfe_forward"]
        assert [r.nfe_backward for r in now] == then["nfe_backward"]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of all runs that a test may change."""
    return Path(shutil.copytree(RUNS, tmp_path / "runs"))


def needs_kernels(method: Mapping[str, Any]) -> None:
    """Skips the test where the run needs kernels and there are none."""
    if (method.get("engine") == "fused" or method.get("solver") == "tsit5") and (reason := unavailable()):
        pytest.skip(reason)


@pytest.mark.parametrize("path", sorted(LONGER))
def test_a_finished_run_is_made_longer(copied: Path, path: str) -> None:
    name, _, label = path.split("/")
    then = read_json(copied / path / "config.json")
    needs_kernels(then["method"])
    config = replace(RunConfig.from_json(then), iterations=7)
    assert train(config, copied / path, resume=True)["iterations"] == 7
    check_numbers(copied / path, CONTINUED[name][label])


@pytest.mark.parametrize("name", ["interrupted-disc-opt", "interrupted-opt-disc"])
def test_an_interrupted_command_goes_on(copied: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynode.studies.render.save", lambda *_: [])
    ((label, then),) = CONTINUED[name].items()
    run = copied / name / "runs" / label
    options = read_json(run / "environment.json")[0]["command"][1:]
    assert main([*options[: options.index("--out")], "--out", str(copied / name), "--resume"]) == 0
    assert [e.event for e in read_lines(run / EVENTS, Event)] == ["interrupted", "resumed"]
    check_numbers(run, then)


def cells_of(sweep: Path) -> list[Cell]:
    """The cells of a sweep from its file, checked against its run directories."""
    specification = specify(read_values(sweep))
    cells = make_cells(specification.axes, specification.needs)
    check_resumes(sweep, specification.axes, cells)
    check_runs(sweep, cells)
    return cells


def test_a_finished_sweep_stays_as_it_is(copied: Path) -> None:
    sweep = copied / "sweep"
    before = {path: path.read_bytes() for path in sweep.rglob("records.jsonl")}
    assert len(before) == len(cells_of(sweep)) == 4
    assert main(["sweep", "--resume", "--out", str(sweep), "--jobs", "1"]) == 0
    assert {path: path.read_bytes() for path in sweep.rglob("records.jsonl")} == before


def test_an_unfinished_sweep_goes_on(copied: Path) -> None:
    """One of its runs was interrupted, the other one never began."""
    sweep = copied / "interrupted-sweep"
    for cell in cells_of(sweep):
        train(RunConfig.from_json(cell.config), cell.directory(sweep), resume=True)
        check_numbers(cell.directory(sweep), CONTINUED["interrupted-sweep"][cell.label])
