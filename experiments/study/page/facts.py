"""What sentences without numbers claim, checked against the records: `{check name argument ...}` in texts/*.md."""

from __future__ import annotations

from collections.abc import Callable

from experiments.study.page.sections import SEVEN, compared, comparisons_in, runs_in
from experiments.study.page.values import comparison, every_comparison, ratios_of_map
from pynode.records.runs import Run


def fewer_evaluations_everywhere() -> bool:
    """Disc-Opt needs fewer evaluations in every comparison and seed."""
    return all(e["evaluation_reduction"] > 0 for c in every_comparison() for e in c.reduction["seeds"])


def saves_time(folder: str, engine: str) -> bool:
    """Disc-Opt takes less time, every seed."""
    return all(entry["time_reduction"] > 0 for entry in comparison(folder, engine).reduction["seeds"])


def saves_no_time(folder: str, engine: str) -> bool:
    """Disc-Opt takes no less time, by the median."""
    return float(comparison(folder, engine).reduction["time_reduction"]) <= 0


def saves_half(folder: str, engine: str, other: str, other_engine: str) -> bool:
    """The first comparison saves less than half of what the other saves of the time, by the medians."""
    first, second = comparison(folder, engine), comparison(other, other_engine)
    return float(first.reduction["time_reduction"]) < float(second.reduction["time_reduction"]) / 2


def several_seeds(*names: str) -> bool:
    """These comparisons, and no other, have more than one seed; a name is FOLDER:ENGINE."""
    return sorted(f"{c.folder}:{c.engine}" for c in every_comparison() if c.seeds > 1) == sorted(names)


def only_converged(*folders: str) -> bool:
    """Of all comparisons only these have every run past its best validation, or stopped by the rule."""
    converged = {c.folder for c in every_comparison() if all(_is_past_its_best(run) for run in _runs(c.folder))}
    return sorted(converged) == sorted(folders)


def _runs(folder: str) -> list[Run]:
    return [run for c in comparisons_in(folder) for runs in runs_in(c) for run in runs]


def _is_past_its_best(run: Run) -> bool:
    losses = [q for q in run.quality() if q is not None]
    return bool((run.summary or {}).get("stopped_early")) or min(losses) < losses[-1]


def wins_every_cell(target: str, quantity: str) -> bool:
    """Disc-Opt needs less of a quantity in every cell of the map that both methods reach."""
    return all(ratio > 1 for ratio in ratios_of_map(target, quantity))


def wins_few_cells(target: str, quantity: str) -> bool:
    """Disc-Opt needs less of a quantity in less than half of these cells."""
    ratios = ratios_of_map(target, quantity)
    return sum(ratio > 1 for ratio in ratios) < len(ratios) / 2


def without_records(*problems: str) -> bool:
    """Of the study's seven problems these, and no others, have no comparison."""
    return [problem for problem in SEVEN if not compared(problem)] == list(problems)


FACTS: dict[str, Callable[..., bool]] = {
    "fewer_evaluations_everywhere": fewer_evaluations_everywhere,
    "only_converged": only_converged,
    "saves_half": saves_half,
    "saves_no_time": saves_no_time,
    "saves_time": saves_time,
    "several_seeds": several_seeds,
    "wins_every_cell": wins_every_cell,
    "wins_few_cells": wins_few_cells,
    "without_records": without_records,
}
"""What `{check name argument ...}` in a text demands."""
