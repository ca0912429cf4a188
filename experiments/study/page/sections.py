"""The problems of the page, the folders that hold their records, and the comparisons in these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from experiments.study.page.published import PUBLISHED, folders, runs_of
from pynode.errors import UsageError
from pynode.records.runs import Run
from pynode.studies.results import Results
from pynode.studies.suite.study import Comparison, comparisons, distinct


@dataclass(frozen=True)
class Section:
    """One problem: its name on the page, and its folders; what is not there is left out.

    `problem` is the registered problem whose net the runs have where their options name none.
    """

    title: str
    problem: str
    folders: tuple[str, ...]


SECTIONS = {
    section.problem: section
    for section in (
        Section("spiral", "spiral", ("spiral", "spiral-eager", "spiral-converged", "spiral-julia")),
        Section("8gaussians", "8gaussians", ("8gaussians", "8gaussians-eager")),
        Section("POWER", "power", ("power", "power-eager")),
        Section("GAS", "gas", ("gas", "gas-eager")),
        Section("HEPMASS", "hepmass", ("hepmass", "hepmass-eager")),
        Section("MINIBOONE", "miniboone", ("miniboone", "miniboone-eager")),
        Section("BSDS300", "bsds300", ("bsds300", "bsds300-eager", "bsds300-full")),
        Section("digits", "digits", ("digits",)),
    )
}

SEVEN = ("spiral", "8gaussians", "power", "gas", "hepmass", "miniboone", "bsds300")
"""The problems of the study, in its order."""


@cache
def compared(problem: str) -> tuple[Comparison, ...]:
    """Every comparison of Disc-Opt with Opt-Disc in the folders of a problem, in their order."""
    return tuple(c for name in SECTIONS[problem].folders for c in comparisons_in(name))


@cache
def comparisons_in(folder: str) -> tuple[Comparison, ...]:
    """Every comparison of Disc-Opt with Opt-Disc in one folder."""
    part = runs_of(folder)
    return () if part is None else tuple(comparisons(Results(PUBLISHED, parts={folder: part})))


def without_repeats(problem: str) -> tuple[Comparison, ...]:
    """The comparisons of a problem, of those with the same engine and settings the one with most seeds."""
    return tuple(distinct(list(compared(problem)))[0])


@cache
def every_comparison() -> tuple[Comparison, ...]:
    """All comparisons of Disc-Opt with Opt-Disc that have records, without repeats.

    Those in which a method was at its best before its first iteration are left out: they have no reduction.
    """
    kept, _ = distinct([c for folder in folders() for c in comparisons_in(folder)])
    return tuple(c for c in kept if c.reduction["time_reduction"] is not None)


def comparison(folder: str, engine: str) -> Comparison:
    """The comparison in a folder on an engine; raises `UsageError` where there is none, or no reduction in it."""
    of_engine = [c for c in comparisons_in(folder) if c.engine == engine]
    if not of_engine:
        raise UsageError(f"there is no published comparison in {folder} on {engine}; take its numbers out of the page")
    if of_engine[0].reduction["time_reduction"] is None:
        raise UsageError(f"in {folder} on {engine} a seed has no reduction; take its numbers out of the page")
    return of_engine[0]


def runs_in(c: Comparison) -> tuple[list[Run], list[Run]]:
    """The runs of Disc-Opt and of Opt-Disc behind a comparison, by seed; failed ones too."""
    part = runs_of(c.folder)
    runs = [] if part is None else sorted(part.runs, key=lambda run: run.seed)
    disc, opt = ([r for r in runs if r.method == end.method] for end in (c.method, c.baseline))
    return disc, opt
