"""The published records, read once."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from statistics import median
from typing import Any

from experiments.benchmarks.records import Benchmark
from experiments.benchmarks.records import read as read_benchmark
from pynode.records.files import read_json
from pynode.records.runs import Run
from pynode.studies.base import over_seeds
from pynode.studies.losses import Spent, spent_until
from pynode.studies.results import Results, load_results
from tests.readme.pages import ROOT

PUBLISHED = ROOT / "experiments" / "published"


@cache
def suite() -> Results:
    """All folders with runs."""
    return load_results(PUBLISHED)


@cache
def checks(folder: str) -> Results:
    """A folder without runs: gradient errors or the map."""
    return load_results(PUBLISHED / folder)


@cache
def benchmark(folder: str) -> Benchmark:
    """A folder of `bench`."""
    return read_benchmark(PUBLISHED / folder)


@cache
def lines(folder: str, file: str) -> list[dict[str, Any]]:
    """The lines of a file of records as plain values."""
    text = (PUBLISHED / folder / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def part(folder: str) -> Results:
    """A folder with runs."""
    return suite().parts[folder]


def runs(folder: str, method: str) -> list[Run]:
    """The runs of one method, one a seed."""
    return sorted((r for r in part(folder).runs if r.method == method), key=lambda r: r.seed)


def value(folder: str, method: str, key: str, scale: float = 1.0) -> float | None:
    """Median over seeds of an entry of the runs' summaries."""

    def scaled(run: Run) -> float | None:
        found = (run.summary or {}).get(key)
        return None if found is None else scale * float(found)

    return over_seeds(runs(folder, method), scaled)


def last(run: Run) -> float:
    """The validation loss at the end of a run."""
    return next(q for q in reversed(run.quality()) if q is not None)


def best(run: Run) -> float:
    """The smallest validation loss of a run."""
    return min(q for q in run.quality() if q is not None)


def spent(run: Run, target: float) -> Spent:
    """Cost until a validation loss is first reached."""
    found = spent_until(run, target)
    assert found is not None, f"{run.label} never reached {target}"
    return found


def matched(folder: str, seed: int, *methods: str) -> float:
    """The worse of the methods' best validation losses, of one seed."""
    return max(best(r) for m in methods for r in runs(folder, m) if r.seed == seed)


def middle(folder: str, method: str, of: Callable[[Run], float]) -> float:
    """Median over seeds."""
    return median(of(run) for run in runs(folder, method))


def environments(folder: str) -> list[dict[str, Any]]:
    """All that is recorded on how a folder was made."""
    found: list[dict[str, Any]] = []
    for path in sorted((PUBLISHED / folder).rglob("environment.json")):
        entry = read_json(path)
        found += entry if isinstance(entry, list) else [entry]
    return found
