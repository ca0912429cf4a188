"""What sentences without numbers claim, checked against the records: `{check name argument ...}` in texts/*.md."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from experiments.study.page.differences import differences
from experiments.study.page.published import DISC, OPT, checks_of, seeds_of
from experiments.study.page.reductions import not_faster
from experiments.study.page.sections import SEVEN, compared, comparison, comparisons_in, every_comparison, runs_in
from experiments.study.spiral_differences.report import always_ahead
from experiments.study.spiral_differences.variants import single_changes
from pynode.errors import UsageError
from pynode.records.runs import Run
from pynode.studies.winners.record import TARGETS, cells


def fewer_evaluations(engine: str) -> bool:
    """Disc-Opt needs fewer evaluations in every comparison on an engine, for every seed."""
    mine = [c for c in every_comparison() if c.engine == engine]
    return bool(mine) and all(e["evaluation_reduction"] > 0 for c in mine for e in c.reduction["seeds"])


def _runs(folder: str) -> list[Run]:
    return [run for c in comparisons_in(folder) for runs in runs_in(c) for run in runs]


def falls_to_the_end(folder: str) -> bool:
    """The best validation of every run, by either method, is its last one."""
    losses = [[q for q in run.quality() if q is not None] for run in _runs(folder)]
    return bool(losses) and all(run and run[-1] == min(run) for run in losses)


def none_stopped(*folders: str) -> bool:
    """Every run went on to the last iteration of its configuration: none reached the stopping rule, none failed."""
    return all(
        bool(runs := _runs(folder)) and all(r.finished and not (r.summary or {}).get("stopped_early") for r in runs)
        for folder in folders
    )


def reduction_grows(*folders: str) -> bool:
    """In kernels, Disc-Opt saves more time until the matched loss than until the first loss, by the medians."""
    pairs = [comparison(folder, "fused").reduction for folder in folders]
    firsts = [r["targets"][0]["time_reduction"] for r in pairs]
    return all(first is not None and r["time_reduction"] > first for r, first in zip(pairs, firsts, strict=True))


def same_quality(folder: str, nats: str = "0.01") -> bool:
    """The medians of the methods' test NLL differ by less than `nats`."""
    both = [[(run.summary or {}).get("test_nll") for run in seeds_of(folder, method)] for method in (DISC, OPT)]
    known = [[float(nll) for nll in values if nll is not None] for values in both]
    return all(known) and abs(median(known[0]) - median(known[1])) < float(nats)


def slower_at_first(folder: str, engine: str) -> bool:
    """Until the largest loss of its table Disc-Opt takes longer, in every seed."""
    first = comparison(folder, engine).reduction["targets"][0]
    span = first["ranges"]["time_reduction"]
    return span is not None and bool(span[1] < 0)


def reaches_no_target(method: str, axis: str) -> bool:
    """At the largest value of an axis of the map a method reaches no target in any seed."""
    checks = checks_of("map")
    last = [c for c in cells(checks.winners if checks else []) if c.axis == axis]
    if not last:
        raise UsageError(f"the published map has no axis {axis}; take it out of the text")
    cell = max(last, key=lambda c: c.value)
    return all(cell.lacking(method, target) == len(cell.seeds) for target in TARGETS)


def no_single_change_gives_the_authors_order(share: str = "0.75") -> bool:
    """No variant of the spiral that differs from `faithful` in one thing has the authors' order for most seeds.

    That order is Disc-Opt ahead at all of the iterations of their pictures, "most" the `share` of the seeds.
    """
    seeds_ahead = [always_ahead(differences(), name) for name in single_changes()]
    return all(count < float(share) * total for count, total in seeds_ahead)


def all_seven_compared(engine: str) -> bool:
    """Each of the study's seven problems has a comparison with a reduction on an engine."""
    there = {problem: [c for c in compared(problem) if c.engine == engine] for problem in SEVEN}
    return all(any(c.reduction["time_reduction"] is not None for c in comparisons) for comparisons in there.values())


def saves_no_time(engine: str) -> bool:
    """There are problems on which Disc-Opt does not save time on an engine: a sentence may name them."""
    return not_faster(engine) != "none"


def saves_time(engine: str, *folders: str) -> bool:
    """By the median over seeds Disc-Opt takes less time on an engine in each of these folders."""
    return all(comparison(folder, engine).reduction["time_reduction"] > 0 for folder in folders)


def undecided(folder: str, engine: str) -> bool:
    """Which method takes less time until the matched loss differs between seeds."""
    signs = {seed["time_reduction"] > 0 for seed in comparison(folder, engine).reduction["seeds"]}
    return len(signs) == 2


FACTS: dict[str, Callable[..., bool]] = {
    "all_seven_compared": all_seven_compared,
    "falls_to_the_end": falls_to_the_end,
    "fewer_evaluations": fewer_evaluations,
    "no_single_change_gives_the_authors_order": no_single_change_gives_the_authors_order,
    "none_stopped": none_stopped,
    "reaches_no_target": reaches_no_target,
    "reduction_grows": reduction_grows,
    "same_quality": same_quality,
    "saves_no_time": saves_no_time,
    "saves_time": saves_time,
    "slower_at_first": slower_at_first,
    "undecided": undecided,
}
"""What `{check name argument ...}` in a text demands."""
