"""Published records, some of them of earlier versions, are read by today's schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks import records as benchmarks
from experiments.scale import records as scale
from pynode.studies.crosscheck.case import read_case
from pynode.studies.results import load_results
from pynode.training.restore import config_of

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "experiments" / "published"
BENCHMARKS = sorted(path.parent.name for path in PUBLISHED.glob("*/workloads.jsonl"))
NO_RESULTS = {*BENCHMARKS, "scale", "figures"}
RESULTS = sorted(path.name for path in PUBLISHED.iterdir() if path.is_dir() and path.name not in NO_RESULTS)


@pytest.mark.parametrize("name", RESULTS)
def test_results(name: str) -> None:
    results = load_results(PUBLISHED / name)
    assert len(results.runs) == len(list((PUBLISHED / name / "runs").glob("*")))
    assert all(run.records and run.finished for run in results.runs)
    for run in results.runs:
        assert config_of(PUBLISHED / name / "runs" / run.label).problem == results.problem


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks(name: str) -> None:
    assert benchmarks.read(PUBLISHED / name).workloads


def test_the_cost_model() -> None:
    model = scale.read(PUBLISHED / "scale")
    assert model.cells
    assert model.trials


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "reference").glob("*.json")), ids=lambda path: path.stem)
def test_recorded_cases(path: Path) -> None:
    assert read_case(path).reference is not None
