"""The table of all published records: seeds, engines, commits, days and load."""

from __future__ import annotations

from experiments.benchmarks.load import Load, load_in
from experiments.study.page.markdown import table
from experiments.study.page.problem_tables import commits_text
from experiments.study.page.published import folders, linked, place_of, runs_of
from pynode.studies.load import load_and_threads, load_text
from pynode.studies.reduction.study import engine_of


def records() -> str:
    """How each folder was made."""
    return table(["folder", "seeds", "engine", "commit", "load"], [_row(folder) for folder in folders()])


def _row(folder: str) -> list[str]:
    part = runs_of(folder)
    seeds = str(len({run.seed for run in part.runs})) if part else "–"
    engines = ", ".join(sorted({engine_of(run.summary or {}) for run in part.runs})) if part else "–"
    load = load_text(*load_and_threads(part.runs)) if part else _load_of_benchmark(folder)
    return [linked(folder), seeds, engines, commits_text(folder).removeprefix("commit "), load]


def _load_of_benchmark(folder: str) -> str:
    """What benchmarks and the cost model say of the load; a dash for others, and where they don't."""
    place = place_of(folder) if folder.startswith(("bench", "scale")) else None
    load = Load() if place is None else load_in(place)
    return load.text if load.known else "–"
