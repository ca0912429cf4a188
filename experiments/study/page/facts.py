"""What sentences without numbers claim, checked against the records: `{check name argument ...}` in texts/*.md."""

from __future__ import annotations

from collections.abc import Callable

from experiments.study.page.differences import differences
from experiments.study.page.published import checks_of
from experiments.study.page.questions import ratios_of_map
from experiments.study.page.sections import SEVEN, compared, comparison, comparisons_in, every_comparison, runs_in
from experiments.study.spiral_differences.report import always_ahead
from experiments.study.spiral_differences.variants import single_changes
from pynode.errors import UsageError
from pynode.records.runs import Run
from pynode.studies.winners.record import TARGETS, cells


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
    """Disc-Opt needs less of a quantity in every cell of the map that both methods reach, and there are some."""
    ratios = ratios_of_map(target, quantity)
    return bool(ratios) and all(ratio > 1 for ratio in ratios)


def wins_few_cells(target: str, quantity: str) -> bool:
    """Disc-Opt needs less of a quantity in less than half of these cells."""
    ratios = ratios_of_map(target, quantity)
    return sum(ratio > 1 for ratio in ratios) < len(ratios) / 2


def reaches_no_target(method: str, axis: str) -> bool:
    """At the largest value of an axis of the map a method reaches no target in any seed."""
    found = checks_of("map")
    last = [c for c in cells(found.winners if found else []) if c.axis == axis]
    if not last:
        raise UsageError(f"the published map has no axis {axis}; take it out of the text")
    cell = max(last, key=lambda c: c.value)
    return all(cell.lacking(method, target) == len(cell.seeds) for target in TARGETS)


def no_single_change_gives_the_authors_order(share: str = "0.75") -> bool:
    """No variant of the spiral that differs from `faithful` in one thing has the authors' order for most seeds.

    That order is Disc-Opt ahead at all of the iterations of their pictures, "most" the `share` of the seeds.
    """
    found = [always_ahead(differences(), name) for name in single_changes()]
    return all(count < float(share) * total for count, total in found)


def without_records(*problems: str) -> bool:
    """Of the study's seven problems these, and no others, have no comparison."""
    return [problem for problem in SEVEN if not compared(problem)] == list(problems)


FACTS: dict[str, Callable[..., bool]] = {
    "fewer_evaluations_everywhere": fewer_evaluations_everywhere,
    "no_single_change_gives_the_authors_order": no_single_change_gives_the_authors_order,
    "only_converged": only_converged,
    "reaches_no_target": reaches_no_target,
    "saves_half": saves_half,
    "saves_no_time": saves_no_time,
    "saves_time": saves_time,
    "several_seeds": several_seeds,
    "wins_every_cell": wins_every_cell,
    "wins_few_cells": wins_few_cells,
    "without_records": without_records,
}
"""What `{check name argument ...}` in a text demands."""
