"""Tables and findings of the differences, from their records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from experiments.study.spiral_differences import figures
from experiments.study.spiral_differences.authors import ITERATIONS, LOSSES, SOURCE
from experiments.study.spiral_differences.records import DifferenceRecord, Differences, read
from experiments.study.spiral_differences.variants import METHODS, VARIANTS
from pynode.studies.base import Table, number
from pynode.studies.render import Rendered
from pynode.studies.render import write as write_files

TRAINED, ACCURATE = "best_loss", "best_accurate_loss"


def render(directory: Path, *, write: bool = True) -> Rendered:
    """Writes `directory`/tables.md and `directory`/figures/; raises `NoDifferences` where there are no records.

    Writes nothing with `write=False`.
    """
    differences = read(directory)
    made = [order(differences), compared_with_authors(differences), failures(differences)]
    rendered = Rendered(tables=[table for table in made if table.rows], findings=findings(differences))
    if write:
        drawn = {
            "spiral-differences": figures.curves(differences),
            "spiral-differences-order": figures.order(differences),
        }
        rendered.paths += write_files(rendered.tables, drawn, directory)
    return rendered


def losses_at(records: list[DifferenceRecord], iteration: int, quantity: str) -> list[float]:
    """The losses of the runs that have one."""
    values = [record.at(iteration, quantity) for record in records]
    return [value for value in values if value is not None]


def quantile_of(value: float, sample: list[float]) -> float | None:
    """The share of `sample` below `value`; None of an empty one."""
    return sum(v < value for v in sample) / len(sample) if sample else None


def ahead(differences: Differences, variant: str, iteration: int, quantity: str) -> tuple[int, int]:
    """The seeds for which Disc-Opt has the smaller loss, and those for which both have one."""
    disc_opt, opt_disc = ({r.seed: r.at(iteration, quantity) for r in differences.of(variant, m)} for m in METHODS)
    pairs = [(disc_opt[s], opt_disc[s]) for s in disc_opt if s in opt_disc]
    known = [(d, o) for d, o in pairs if d is not None and o is not None]
    return sum(d < o for d, o in known), len(known)


def always_ahead(differences: Differences, variant: str) -> tuple[int, int]:
    """For how many seeds Disc-Opt has the smaller training loss at every one of the authors' iterations; of how many.

    Seeds are counted for which both methods have a loss at all of them.
    """
    disc_opt, opt_disc = ({r.seed: r for r in differences.of(variant, m)} for m in METHODS)
    count = total = 0
    for seed in disc_opt.keys() & opt_disc.keys():
        pairs = [(disc_opt[seed].at(i, TRAINED), opt_disc[seed].at(i, TRAINED)) for i in recorded_of(differences)]
        known = [(d, o) for d, o in pairs if d is not None and o is not None]
        if pairs and len(known) == len(pairs):
            count, total = count + all(d < o for d, o in known), total + 1
    return count, total


def recorded_of(differences: Differences) -> list[int]:
    """The authors' iterations that are recorded."""
    return [i for i in ITERATIONS if i <= differences.config["iterations"]]


def order(differences: Differences) -> Table:
    """A row for each variant: medians of both methods, and for how many seeds Disc-Opt is ahead."""
    at = recorded_of(differences)
    columns = ["variant", "change", *(f"D-O / O-D, {i}" for i in at), "D-O ahead", "ahead, accurate"]
    rows = []
    for name in differences.variants if at else []:
        medians = [_medians(differences, name, i, TRAINED) for i in at]
        shares = [_shares([ahead(differences, name, i, q) for i in at]) for q in (TRAINED, ACCURATE)]
        rows.append([name, _change(name), *medians, *shares])
    if at:
        theirs = [f"{number(LOSSES['disc-opt'][i], 4)} / {number(LOSSES['opt-disc'][i], 4)}" for i in at]
        counts = _shares([(int(LOSSES["disc-opt"][i] < LOSSES["opt-disc"][i]), 1) for i in at])
        rows.append(["authors", "their pictures, one run", *theirs, counts, "–"])
    notes = [
        "Smallest training loss up to an iteration, as in the authors' pictures: medians over seeds of Disc-Opt (D-O) "
        f"and Opt-Disc (O-D). D-O ahead: for how many seeds Disc-Opt's is the smaller one, at {_listed(at)}; accurate: "
        "the same by the loss of an accurate solve against exact data at their own times, pynode's validation loss.",
        f"Authors: {SOURCE}.",
    ]
    return Table("Spiral: which method is ahead, by variant", columns, rows, notes)


def _change(name: str) -> str:
    variant = VARIANTS[name]
    return variant.change if variant.of in ("faithful", name) else f"{variant.of}, but: {variant.change}"


def _medians(differences: Differences, variant: str, iteration: int, quantity: str) -> str:
    by_method = [losses_at(differences.of(variant, m), iteration, quantity) for m in METHODS]
    return " / ".join(number(median(values)) if values else "–" for values in by_method)


def _shares(counts: list[tuple[int, int]]) -> str:
    """Counts of seeds at several iterations: "3, 4 of 4", or each with its total where these differ."""
    if not any(total for _, total in counts):
        return "–"
    if len({total for _, total in counts}) == 1:
        return f"{_listed([count for count, _ in counts])} of {counts[0][1]}"
    return ", ".join(f"{count} of {total}" for count, total in counts)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def compared_with_authors(differences: Differences) -> Table:
    """A row for each variant, method and iteration: median, range, and where the authors' number lies."""
    rows = []
    for name in differences.variants:
        for method in METHODS:
            for iteration in recorded_of(differences):
                sample = losses_at(differences.of(name, method), iteration, TRAINED)
                if not sample:
                    continue
                theirs = LOSSES[method][iteration]
                quantile = quantile_of(theirs, sample)
                rows.append(
                    [
                        f"{name} {method}",
                        str(iteration),
                        number(median(sample)),
                        f"{number(min(sample))} to {number(max(sample))}",
                        number(theirs, 4),
                        "–" if quantile is None else f"{quantile:.2f}",
                        str(len(sample)),
                    ]
                )
    columns = ["run", "iteration", "median", "range", "authors", "quantile", "seeds"]
    notes = ["Smallest training loss up to the iteration; quantile: share of seeds below the authors' number."]
    return Table("Spiral: the authors' numbers among pynode's seeds", columns, rows, notes, long=True)


def failures(differences: Differences) -> Table:
    """The runs that ended early."""
    failed = [r for r in differences.records if r.failure is not None]
    rows = [[f"{r.variant} {r.method}", str(r.seed), str(r.failure)] for r in failed]
    return Table("Spiral: runs that failed", ["run", "seed", "failure"], rows, long=True)


def findings(differences: Differences) -> list[str]:
    """A sentence for each variant: how often Disc-Opt is ahead from iteration 100 on, and what the seeds span."""
    at = [i for i in recorded_of(differences) if i >= 100]
    sentences = []
    for name in differences.variants if at else []:
        shares = [ahead(differences, name, i, TRAINED) for i in at]
        within = [
            (m, i)
            for m in METHODS
            for i in recorded_of(differences)
            if (sample := losses_at(differences.of(name, m), i, TRAINED)) and min(sample) <= LOSSES[m][i] <= max(sample)
        ]
        sentences.append(
            f"{name}: Disc-Opt ahead for {_shares(shares)} seeds after {_listed(at)} iterations; "
            f"{len(within)} of the authors' {2 * len(recorded_of(differences))} numbers lie in the range of the seeds."
        )
    return sentences
