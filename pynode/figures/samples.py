"""Reads the series that figures of densities show: one run a method."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pynode.records.results import Results, Run

Array = npt.NDArray[np.float64]


def shown_runs(results: Results, *needed: str) -> dict[str, Run]:
    """The first evaluated run of each method that has the series `needed`; none for a sweep over accuracies."""
    chosen: dict[str, Run] = {}
    for run in results.runs if not results.is_sweep else ():
        if run.evaluation and set(needed) <= set(run.evaluation["series"]):
            chosen.setdefault(run.method, run)
    return chosen


def series(run: Run, name: str) -> Array:
    """A series as an array; what was not finite is NaN."""
    assert run.evaluation is not None  # `shown_runs` leaves others out
    values: list[Any] = run.evaluation["series"][name]
    return np.array(values, dtype=np.float64)


def seeds(runs: dict[str, Run]) -> str:
    """The seeds of the shown runs, for a title."""
    return ", ".join(str(s) for s in dict.fromkeys(run.seed for run in runs.values()))
