"""A sweep of twelve short cells, the same runs without a sweep, and a sweep in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pynode.records.files import read_lines
from pynode.records.iteration import IterationRecord, is_timed
from pynode.sweeps.grid import make_cells
from pynode.sweeps.specification import specify
from pynode.training.config import RunConfig
from pynode.training.trainer import train

RUN = Path(__file__).parents[2] / "experiments" / "run.py"

AXES: dict[str, Any] = {
    "problem": ["spiral", "oscillator"],
    "method": ["disc-opt", "opt-disc-fixed"],
    "seed": [0, 1, 2],
    "set.horizon": 1.0,
    "iterations": 20,
    "checkpoint_every": 6,
    "validate_every": 10,
    "engine": "eager",  # loads no compiled kernels, so that processes are quick to start
}

Numbers = dict[str, list[dict[str, Any]]]
"""Records by the names of cells, without seconds."""


def numbers(out: Path) -> Numbers:
    """All that two runs of one configuration share."""
    by_run: Numbers = {}
    for path in sorted(out.glob("*/runs/*/records.jsonl")):
        name = f"{path.parts[-4]}/{path.parent.name}"
        rows = [asdict(record) for record in read_lines(path, IterationRecord)]
        by_run[name] = [{k: v for k, v in row.items() if not is_timed(k)} for row in rows]
    return by_run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """The numbers of the twelve runs, made by `train` in this very process."""
    out = tmp_path_factory.mktemp("undisturbed")
    specification = specify(AXES)
    for cell in make_cells(specification.axes, specification.needs):
        train(RunConfig.from_json(cell.config), cell.directory(out))
    by_run = numbers(out)
    assert len(by_run) == 12
    assert all(len(records) == 20 for records in by_run.values())
    return by_run


@pytest.fixture
def read_numbers() -> Callable[[Path], Numbers]:
    """Reads the numbers of a sweep."""
    return numbers


@pytest.fixture
def begin_sweep(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Begins the sweep of twelve in `out` with further arguments, in a process whose output is kept."""

    def begin(out: Path, *arguments: str) -> subprocess.Popen[str]:
        file = tmp_path / "sweep.toml"
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in AXES.items()))
        return subprocess.Popen(
            [sys.executable, str(RUN), "sweep", str(file), "--out", str(out), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return begin


@pytest.fixture
def worker_in_the_middle() -> Callable[[Path], tuple[str, int] | None]:
    """The name of some cell that has 7 to 15 of its 20 records and the process that works on it; None where none is."""

    def find(out: Path) -> tuple[str, int] | None:
        for path in out.glob("*/runs/*/records.jsonl"):
            attempts = path.parents[2] / "attempts" / f"{path.parent.name}.jsonl"
            if 7 <= path.read_bytes().count(b"\n") <= 15:
                lines = attempts.read_text().splitlines()
                return f"{path.parts[-4]}/{path.parent.name}", int(json.loads(lines[-1])["pid"])
        return None

    return find
