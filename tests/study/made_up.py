"""Comparisons and results that are made up, for tests of the page."""

from __future__ import annotations

from pathlib import Path

from pynode.records.runs import Run
from pynode.studies.results import Results
from pynode.studies.suite.study import Comparison, comparisons
from tests.studies.reduction.test_study import run


def opt_disc(seed: int = 0, *, losses: tuple[float, ...] = (8.0, 4.0, 2.0, 1.0)) -> Run:
    """A run of Opt-Disc: 10 s and 200 evaluations an iteration."""
    return run("opt-disc", list(losses), seconds=10.0, nfe=100, seed=seed)


def disc_opt(seed: int = 0, *, seconds: float, losses: tuple[float, ...] = (8.0, 4.0, 2.0, 1.0)) -> Run:
    """A run of Disc-Opt: 80 evaluations an iteration."""
    return run("disc-opt", list(losses), seconds=seconds, nfe=40, seed=seed)


def compared_in(folder: str, *runs: Run, engine: str = "fused") -> Comparison:
    """The comparison of runs in a folder, all on one engine."""
    for each in runs:
        (each.summary or {}).update(engine=engine)
        each.config["problem"] = folder  # so that no comparison repeats another one
    (made,) = comparisons(Results(Path("nowhere"), parts={folder: Results(Path("nowhere"), list(runs))}))
    return made
