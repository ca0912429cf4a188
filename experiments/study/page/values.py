"""Numbers and facts that sentences take from the records, by name: what stands in braces in texts/*.md."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from statistics import median

from experiments.study.page import quantities as q
from experiments.study.page.cost_model import model
from experiments.study.page.published import DISC, OPT, checks_of, folders, place_of, runs_of, seeds_of
from experiments.study.page.questions import own_loss
from experiments.study.page.sections import comparisons_in
from experiments.study.spiral_differences.records import read
from experiments.study.spiral_differences.report import TRAINED, ahead
from pynode.errors import UsageError
from pynode.problems import PROBLEMS
from pynode.problems.density.toys import Toy
from pynode.records.runs import Run
from pynode.studies.base import number, percent
from pynode.studies.base import over_seeds as over_runs
from pynode.studies.invertibility.study import Invertibility
from pynode.studies.losses import Spent
from pynode.studies.reduction.spread import percent_with_range
from pynode.studies.suite.study import Comparison, distinct
from pynode.studies.winners.record import cells

WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@cache
def every_comparison() -> tuple[Comparison, ...]:
    """All comparisons of Disc-Opt with Opt-Disc that have records, without repeats."""
    return tuple(distinct([c for folder in folders() for c in comparisons_in(folder)])[0])


def comparison(folder: str, engine: str) -> Comparison:
    """The comparison in a folder on an engine; raises `UsageError` where there is none."""
    found = [c for c in comparisons_in(folder) if c.engine == engine]
    if not found:
        raise UsageError(f"there is no published comparison in {folder} on {engine}; take its numbers out of the page")
    return found[0]


def word(count: int) -> str:
    """A small number as a word."""
    return WORDS[count] if count < len(WORDS) else f"{count:,}"


def less(folder: str, engine: str, kind: str) -> str:
    """A reduction, in brackets its range over seeds; `kind` is time, nfe or evaluation."""
    return percent_with_range(comparison(folder, engine).reduction, f"{kind}_reduction")


def fewest(kind: str) -> str:
    """The smallest reduction of a kind over all comparisons and seeds."""
    return percent(min(entry[f"{kind}_reduction"] for c in every_comparison() for entry in c.reduction["seeds"]))


def count_comparisons() -> str:
    """How many comparisons there are."""
    return word(len(every_comparison()))


def count_problems() -> str:
    """How many problems these are of."""
    return word(len({c.problem for c in every_comparison()}))


def count_seeds(folder: str) -> str:
    """How many seeds a folder has."""
    return word(len({run.seed for run in seeds_of(folder, DISC)}))


def of_run(folder: str, method: str, key: str) -> str:
    """The median over seeds, with its range, of an entry of the summaries."""
    runs = seeds_of(folder, method)
    return q.over_seeds(runs, q.summary(key), q.digits_of(runs))


def middle_of(folder: str, key: str) -> str:
    """The median over seeds of an entry of the summaries, where both methods agree in it."""
    both = [seeds_of(folder, method) for method in (DISC, OPT)]
    values = {number(over_runs(runs, q.summary(key)), q.digits_of(runs)) for runs in both}
    if len(values) > 1:
        raise UsageError(f"{key} in {folder} differs between the methods: {', '.join(sorted(values))}; name both")
    return values.pop()


def last(folder: str, method: str) -> str:
    """The median over seeds, with its range, of the last validation loss."""
    runs = seeds_of(folder, method)
    return q.over_seeds(runs, q.last, q.digits_of(runs))


def exploded(folder: str, method: str) -> str:
    """In how many seeds the last validation loss is more than ten times the best one, which is positive."""
    pairs = [(q.best(run), q.last(run)) for run in seeds_of(folder, method)]
    return word(sum(best is not None and end is not None and end > 10 * best > 0 for best, end in pairs))


def worse_best(folder: str) -> str:
    """In how many seeds Disc-Opt's best validation loss is above Opt-Disc's."""
    return word(sum(a > b for a, b in _pairs(folder, q.best)))


def worse_last(folder: str) -> str:
    """In how many seeds Disc-Opt's last validation loss is above Opt-Disc's."""
    return word(sum(a > b for a, b in _pairs(folder, q.last)))


def slower(folder: str, engine: str) -> str:
    """In how many seeds Disc-Opt takes longer until the matched loss."""
    return word(sum(entry["time_reduction"] < 0 for entry in _seeds(comparison(folder, engine))))


def _pairs(folder: str, pick: q.Pick) -> list[tuple[float, float]]:
    disc, opt = ([pick(run) for run in seeds_of(folder, m)] for m in (DISC, OPT))
    return [(a, b) for a, b in zip(disc, opt, strict=True) if a is not None and b is not None]


def error_of_own_loss() -> str:
    """Disc-Opt's gradient against finite differences of its own loss, on the spiral."""
    error = own_loss()
    if error is None:
        raise UsageError("no gradient errors of the spiral are published; take them out of the page")
    return f"{error:.0e}"


def cells_of_map(target: str) -> str:
    """In how many cells of the map both methods reach a gradient error."""
    return str(len(ratios_of_map(target, "evaluations")))


def cells_won(target: str, quantity: str) -> str:
    """In how many of them Disc-Opt needs less of a quantity (evaluations or seconds)."""
    return str(sum(ratio > 1 for ratio in ratios_of_map(target, quantity)))


def ratios_of_map(target: str, quantity: str) -> list[float]:
    """Opt-Disc over Disc-Opt in a quantity, for the cells of the map that both methods reach."""
    found = checks_of("map")
    all_cells = cells(found.winners) if found else []
    return [r for c in all_cells if (r := c.ratio(float(target), quantity)) is not None]


def seeds_of_map() -> str:
    """How many seeds of weights the map has."""
    found = checks_of("map")
    return word(len({record.seed for record in found.winners}) if found else 0)


def coarsest(folder: str, scheme: str) -> str:
    """The fewest steps of a scheme that leave an inverse for every seed, for flows trained by either method."""
    part = runs_of(folder)
    rows = Invertibility().tables(part)[0].rows if part is not None and part.rediscretised else []
    settings = {row[2] for row in rows if row[1] == scheme and row[2] != "none"}
    if len(settings) != 1:
        raise UsageError(f"{folder} has {len(settings)} answers for {scheme}, not one; name the method in the text")
    return settings.pop()


def bound(folder: str) -> str:
    """The inverse error that counts as invertible."""
    part = runs_of(folder)
    if part is None or not part.rediscretised:
        raise UsageError(f"{folder} was not re-discretised; take its numbers out of the page")
    return _short(part.rediscretised[0].bound)


def abstract() -> str:
    """The reductions in the study's abstract, as the cost model records them."""
    return model().references[0].published.partition(",")[0]


def configured(folder: str, method: str, key: str) -> str:
    """An entry of the runs' configuration, or of their method's."""
    config = seeds_of(folder, method)[0].config
    value = config[key] if key in config else config["method"][key]
    return _short(value) if isinstance(value, float) and value < 1e-2 else f"{value:,}"


def batch(folder: str) -> str:
    """Samples of an iteration."""
    config = seeds_of(folder, DISC)[0].config
    kind = PROBLEMS.load(config["problem"])
    chosen = (config.get("options") or {}).get("batch")
    return str(chosen or (kind.batch_size if issubclass(kind, Toy) else "?"))


def ahead_of_authors(variant: str, iteration: str) -> str:
    """For how many seeds of a variant of the spiral Disc-Opt's training loss is the smaller one."""
    place = place_of("spiral-differences")
    if place is None:
        raise UsageError("no variants of the spiral are published; take them out of the page")
    count, total = ahead(read(place), variant, int(iteration), TRAINED)
    return f"{count} of {total}"


def levels(folder: str) -> str:
    """The step counts of multilevel training."""
    *first, finest = seeds_of(folder, f"{DISC}-multilevel")[0].config["multilevel"]["steps"]
    return f"{', '.join(map(str, first))} and {finest}"


def tolerance_of_stability() -> str:
    """The tolerance of the backward solves of the map."""
    found = checks_of("map")
    if found is None or not found.stability:
        raise UsageError("no backward solves are published; take them out of the page")
    return _short(found.stability[0].rtol)


def slowest_seed(folder: str, method: str) -> str:
    """How many times as long as the median seed the slowest one took per iteration."""
    part = runs_of(folder)
    target = {e["seed"]: e["matched_loss"] for c in comparisons_in(folder) for e in _seeds(c)}
    runs = [run for run in (part.runs if part else []) if run.method == method]
    each = [s.seconds / s.iterations for run in runs if (s := _spent(run, target))]
    return number(max(each) / median(each), 2)


def _seeds(c: Comparison) -> list[dict[str, float]]:
    seeds: list[dict[str, float]] = c.reduction["seeds"]
    return seeds


def _spent(run: Run, target: dict[float, float]) -> Spent | None:
    return q.spent(run, target[run.seed]) if run.seed in target else None


def _short(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")


VALUES: dict[str, Callable[..., str]] = {
    "abstract": abstract,
    "ahead": ahead_of_authors,
    "batch": batch,
    "bound": bound,
    "cells": cells_of_map,
    "cells_won": cells_won,
    "coarsest": coarsest,
    "comparisons": count_comparisons,
    "configured": configured,
    "exploded": exploded,
    "fewest": fewest,
    "last": last,
    "less": less,
    "levels": levels,
    "middle_of": middle_of,
    "of_run": of_run,
    "own_loss": error_of_own_loss,
    "problems": count_problems,
    "seeds": count_seeds,
    "seeds_of_map": seeds_of_map,
    "slower": slower,
    "slowest_seed": slowest_seed,
    "tolerance_of_stability": tolerance_of_stability,
    "worse_best": worse_best,
    "worse_last": worse_last,
}
"""What `{name argument ...}` in a text stands for."""
