"""Reductions in sentences: of one comparison, and over the study's problems on one engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from experiments.study.page.sections import SECTIONS, SEVEN, comparison, without_repeats
from experiments.study.page.words import listed, word
from pynode.errors import UnknownName, UsageError
from pynode.studies.base import number, percent
from pynode.studies.reduction.spread import percent_with_range
from pynode.studies.suite.study import Comparison

KINDS = {"time": "time_reduction", "nfe": "nfe_reduction", "evaluation": "evaluation_reduction"}
"""Kinds of reductions in texts, and their entries in a comparison."""


def less(folder: str, engine: str, kind: str) -> str:
    """A reduction, in brackets its range over seeds; `kind` is time, nfe or evaluation."""
    return percent_with_range(comparison(folder, engine).reduction, _entry(kind))


def slower(folder: str, engine: str) -> str:
    """In how many seeds Disc-Opt takes longer until the matched loss."""
    return word(sum(seed["time_reduction"] < 0 for seed in comparison(folder, engine).reduction["seeds"]))


def most(engine: str, kind: str) -> str:
    """The largest reduction of the study's problems on an engine, medians."""
    return percent(max(c.reduction[_entry(kind)] for _, c in _of_the_study(engine)))


def not_faster(engine: str) -> str:
    """The study's problems on an engine whose median reduction of time is not positive: `spiral and POWER`."""
    return _named((problem, c) for problem, c in _of_the_study(engine) if c.reduction["time_reduction"] <= 0)


def ratio(folder: str, engine: str, factor: str) -> str:
    """Opt-Disc over Disc-Opt in a factor of the seconds until the matched loss, of the medians in the table of factors.

    `factor` is iterations, evaluations (of an iteration), per_evaluation, optimiser or seconds.
    """
    reduction = comparison(folder, engine).reduction
    factors = reduction["factors"]
    if factor not in factors:
        raise UnknownName("factor of the time", factor, tuple(factors))
    base, other = (factors[factor][reduction[end]] for end in ("baseline", "method"))
    if base is None or not other:
        raise UsageError(f"{folder} on {engine} has no {factor} for both methods; take it out of the page")
    return number(base / other, 2)


def _entry(kind: str) -> str:
    if kind not in KINDS:
        raise UnknownName("kind of reduction", kind, tuple(KINDS))
    return KINDS[kind]


def _of_the_study(engine: str) -> list[tuple[str, Comparison]]:
    """Problem and comparison for each of the study's problems on an engine, as in the table of all problems."""
    kept = [(problem, c) for problem in SEVEN for c in without_repeats(problem) if c.engine == engine]
    with_reduction = [(problem, c) for problem, c in kept if c.reduction["time_reduction"] is not None]
    if not with_reduction:
        raise UsageError(f"no problem of the study is compared on the engine {engine}; take it out of the page")
    return with_reduction


def _named(pairs: Iterable[tuple[str, Comparison]]) -> str:
    """The problems by their titles, or by the folder where that is not the problem's main one on its engine."""
    names = [
        SECTIONS[problem].title if c.folder in (problem, f"{problem}-{c.engine}") else c.folder for problem, c in pairs
    ]
    return listed(names) or "none"


VALUES: dict[str, Callable[..., str]] = {
    "less": less,
    "most": most,
    "not_faster": not_faster,
    "ratio": ratio,
    "slower": slower,
}
"""Values of texts on reductions."""
