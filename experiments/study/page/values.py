"""Numbers that sentences take from the records, by name: what stands in braces in texts/*.md."""

from __future__ import annotations

from collections.abc import Callable

from experiments.study.page import invertible, overfit, reductions
from experiments.study.page import quantities as q
from experiments.study.page.cost_model import model
from experiments.study.page.differences import differences
from experiments.study.page.published import DISC, OPT, checks_of, seeds_of
from experiments.study.page.questions import own_loss, ratios_of_map
from experiments.study.page.words import word
from experiments.study.spiral_differences.report import TRAINED, ahead, always_ahead
from experiments.study.spiral_differences.variants import single_changes
from pynode.errors import UnknownName, UsageError
from pynode.problems import PROBLEMS
from pynode.problems.density.base import Density
from pynode.studies.base import number
from pynode.studies.gradients.record import STEADY

ENGINES_IN_WORDS = {"fused": "compiled kernels", "eager": "torch operators", "julia": "Julia"}


def count_seeds(folder: str) -> str:
    """How many seeds a folder has."""
    return word(len({run.seed for run in seeds_of(folder, DISC)}))


def of_run(folder: str, method: str, key: str) -> str:
    """The median over seeds, with its range, of an entry of the summaries."""
    runs = seeds_of(folder, method)
    return q.over_seeds(runs, q.summary(key), q.digits_of(runs))


def last(folder: str, method: str) -> str:
    """The median over seeds, with its range, of the last validation loss."""
    runs = seeds_of(folder, method)
    return q.over_seeds(runs, q.last, q.digits_of(runs))


def exploded(folder: str, method: str) -> str:
    """In how many seeds the last validation loss is more than ten times the best one, which is positive."""
    return word(q.exploded(seeds_of(folder, method)))


def worse_best(folder: str) -> str:
    """In how many seeds Disc-Opt's best validation loss is above Opt-Disc's."""
    return word(sum(a > b for a, b in _pairs(folder, q.best)))


def worse_last(folder: str) -> str:
    """In how many seeds Disc-Opt's last validation loss is above Opt-Disc's."""
    return word(sum(a > b for a, b in _pairs(folder, q.last)))


def apart(folder: str) -> str:
    """The largest difference between the methods' validation losses at the same iteration and seed."""
    disc, opt = ({run.seed: run.quality() for run in seeds_of(folder, m)} for m in (DISC, OPT))
    pairs = [pair for seed in disc for pair in zip(disc[seed], opt.get(seed, ()), strict=False)]
    gaps = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    if not gaps:
        raise UsageError(f"the methods in {folder} have no validation in common; take the number out of the text")
    return number(max(gaps), 2)


def engine_in_words(folder: str) -> str:
    """What the runs of a folder were made by, in words."""
    engines = {str(record.engine) for run in seeds_of(folder, DISC) for record in run.records}
    if len(engines) != 1 or not engines <= set(ENGINES_IN_WORDS):
        raise UsageError(f"the runs in {folder} have the engines {sorted(engines)}, not one; write what they are")
    return ENGINES_IN_WORDS[engines.pop()]


def _pairs(folder: str, pick: q.Pick) -> list[tuple[float, float]]:
    """Disc-Opt's value and Opt-Disc's for each seed that has both."""
    disc, opt = ({run.seed: pick(run) for run in seeds_of(folder, m)} for m in (DISC, OPT))
    both = [(value, opt.get(seed)) for seed, value in disc.items()]
    return [(a, b) for a, b in both if a is not None and b is not None]


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


def seeds_of_map() -> str:
    """How many seeds of weights the map has."""
    checks = checks_of("map")
    return word(len({record.seed for record in checks.winners}) if checks else 0)


def seeds_of_stability() -> str:
    """How many seeds the map's backward solves have."""
    checks = checks_of("map")
    return word(len({record.seed for record in checks.stability}) if checks else 0)


def steady() -> str:
    """The scatter of repeated times above which they are taken again, in percent."""
    return f"{100 * STEADY:.0f}"


def abstract() -> str:
    """The reductions in the study's abstract, as the cost model records them."""
    ranges = {r.published.partition(",")[0] for r in model().references if r.unit == "%"}
    if len(ranges) != 1:
        raise UsageError(
            f"the cost model has {len(ranges)} ranges of reductions, not one; name the problem in the text"
        )
    return ranges.pop()


def configured(folder: str, method: str, key: str) -> str:
    """A number in the runs' configuration, their method's or their problem's options; of equal widths the one width."""
    config = seeds_of(folder, method)[0].config
    entries = {**(config.get("options") or {}), **config["method"], **config}
    if key not in entries:
        raise UnknownName("entry of a configuration", key, tuple(entries))
    value = entries[key]
    if isinstance(value, list) and len(set(value)) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{key} of {method} in {folder} is {value}, not a number; write it out")
    return _short(value) if isinstance(value, float) and value < 1e-2 else f"{value:,}"


def batch(folder: str) -> str:
    """Samples of an iteration."""
    config = seeds_of(folder, DISC)[0].config
    if chosen := (config.get("options") or {}).get("batch"):
        return f"{chosen:,}"
    kind = PROBLEMS.load(config["problem"])
    if not issubclass(kind, Density):
        raise UsageError(f"{config['problem']} in {folder} has no batches; take them out of the text")
    return f"{kind.batch_size:,}"


def ahead_of_authors(variant: str, iteration: str) -> str:
    """For how many seeds of a variant of the spiral Disc-Opt's training loss is the smaller one."""
    count, total = ahead(differences(), variant, int(iteration), TRAINED)
    return f"{count} of {total}"


def most_ahead() -> str:
    """Of single changes, the most seeds for which Disc-Opt is ahead at all of the authors' iterations; of how many."""
    seeds_ahead = [always_ahead(differences(), name) for name in single_changes()]
    count, total = max(seeds_ahead, key=lambda pair: pair[0] / pair[1] if pair[1] else 0.0)
    return f"{count} of {total}"


def levels(folder: str) -> str:
    """The step counts of multilevel training."""
    *first, finest = seeds_of(folder, f"{DISC}-multilevel")[0].config["multilevel"]["steps"]
    return f"{', '.join(map(str, first))} and {finest}"


def tolerance_of_stability() -> str:
    """The tolerance of the backward solves of the map."""
    checks = checks_of("map")
    if checks is None or not checks.stability:
        raise UsageError("no backward solves are published; take them out of the page")
    return _short(checks.stability[0].rtol)


def _short(value: float) -> str:
    """A small number in as few digits as tell it: `1e-7`, `2.5e-3`."""
    digits = next((n for n in range(6) if float(f"{value:.{n}e}") == value), 6)
    return f"{value:.{digits}e}".replace("e-0", "e-")


VALUES: dict[str, Callable[..., str]] = {
    "abstract": abstract,
    "ahead": ahead_of_authors,
    "apart": apart,
    "batch": batch,
    "cells": cells_of_map,
    "cells_won": cells_won,
    "configured": configured,
    "engine": engine_in_words,
    "exploded": exploded,
    "last": last,
    "levels": levels,
    "most_ahead": most_ahead,
    "of_run": of_run,
    "own_loss": error_of_own_loss,
    "seeds": count_seeds,
    "seeds_of_map": seeds_of_map,
    "seeds_of_stability": seeds_of_stability,
    "steady": steady,
    "tolerance_of_stability": tolerance_of_stability,
    "worse_best": worse_best,
    "worse_last": worse_last,
    **invertible.VALUES,
    **overfit.VALUES,
    **reductions.VALUES,
}
"""What `{name argument ...}` in a text stands for."""
