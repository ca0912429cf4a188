"""Cross-check: does every method and backend give the same gradient, to what its settings justify?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pynode.studies.base import Study, Table, accuracy, number
from pynode.studies.crosscheck.record import AGREES, BROKEN, UNAVAILABLE, CrosscheckRecord
from pynode.studies.results import Results
from pynode.studies.style import headline, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST, HIGHEST = 1e-16, 1.0
"""Ends of the colours; smaller differences have the lowest, larger ones the highest."""

COLOURS, MARK = "YlGnBu", "#C00000"
"""Dark is far apart; what is broken is marked in a red that is no part of the scale."""


class Crosscheck(Study):
    """Every gradient against the continuous problem's, its twins', and all others."""

    name: ClassVar[str] = "crosscheck"
    question: ClassVar[str] = "Do all methods and backends give the same gradient?"

    def tables(self, results: Results) -> list[Table]:
        judged, missing = _split(results)
        if not results.crosscheck:
            return []
        tables = [_summary(results.title, judged, _left_out(missing))]
        if broken := [r for r in judged if r.verdict == BROKEN]:
            tables.append(_broken(broken))
        return [*tables, _everything(results.title, judged)]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {"crosscheck": draw_matrix(results)}

    def finding(self, results: Results) -> str | None:
        judged, _ = _split(results)
        if not judged:
            return None
        if (sentence := broken_bounds(judged)) is not None:
            return f"{sentence[0].upper()}{sentence[1:]}."
        agreeing = [r for r in judged if r.verdict == AGREES]
        others = Counter(r.verdict for r in judged if r.verdict != AGREES)
        rest = "".join(f"; {n} {verdict}" for verdict, n in others.items())
        cases = len({r.case for r in judged})
        of = f" of {cases} cases" if cases > 1 else ""
        return f"{len(agreeing)} of {len(judged)} gradients{of} agree within their bounds{rest}."


def broken_bounds(records: list[CrosscheckRecord]) -> str | None:
    """How many gradients broke a bound, and which, in one line; None where none did."""
    broken = [r for r in records if r.verdict == BROKEN]
    if not broken:
        return None
    cases = dict.fromkeys(r.case for r in broken)
    listed = "; ".join(f"{case} ({_groups([r for r in broken if r.case == case])})" for case in cases)
    return f"{len(broken)} of {len(records)} gradients broke a bound: {listed}"


def _groups(broken: list[CrosscheckRecord]) -> str:
    counted = Counter(r.group for r in broken)
    return ", ".join(f"{n} of {group}" if n > 1 else group for group, n in counted.items())


def repl_line(directory: Path, file: str) -> str:
    """What to paste into a Julia REPL to open a case file of `directory`; it prints a table and no value."""
    path = (directory / file).as_posix().replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'using PyNODE; case = load_case("{path}"); compare(case);'


def _split(results: Results) -> tuple[list[CrosscheckRecord], list[CrosscheckRecord]]:
    """The rows that were tried, and those that could not be."""
    records = results.crosscheck
    return [r for r in records if r.case], [r for r in records if not r.case]


def _left_out(missing: list[CrosscheckRecord]) -> list[str]:
    """A line for each reason why methods did not take part."""
    reasons = dict.fromkeys(r.reason for r in missing)
    return [f"{', '.join(r.entry for r in missing if r.reason == why)}: {UNAVAILABLE}: {why}" for why in reasons]


def _summary(problem: str, judged: list[CrosscheckRecord], notes: list[str]) -> Table:
    """One row a gradient: where it comes nearest to its bound, over all cases."""
    entries: dict[str, list[CrosscheckRecord]] = {}
    for record in judged:
        entries.setdefault(record.entry, []).append(record)
    rows = []
    for records in entries.values():
        worst = max(records, key=lambda r: r.ratio or 0.0)
        apart = max((r.twin_difference for r in records if r.twin_difference is not None), default=None)
        cells = [_short(worst.error), _short(worst.bound), _short(apart), _verdicts(records)]
        rows.append([worst.group, _accuracy(worst), *cells])
    cases = len({r.case for r in judged})
    notes = [
        "error: relative to the continuous problem's, of loss, theta gradient or y0 gradient, whichever comes nearest "
        f"to its bound{f', the nearest of {cases} cases' if cases > 1 else ''}.",
        "bound: what rtol (times growth) and the method's own error estimate justify, whichever is less.",
        "twin: the same discrete program run by other code; 1e-10 is allowed.",
        *notes,
    ]
    columns = ["gradient", "accuracy", "error", "bound", "off twin", "verdict"]
    return Table(f"Cross-check of gradients: {problem}", columns, rows, notes)


def _accuracy(record: CrosscheckRecord) -> str:
    if record.adaptive and not record.setting:
        return "–"
    return accuracy(record.setting, adaptive=record.adaptive)


def _verdicts(records: list[CrosscheckRecord]) -> str:
    """The verdict, or how many there are of each."""
    counted = Counter(r.verdict for r in records)
    if len(counted) == 1:
        return records[0].verdict
    return ", ".join(f"{verdict} {n}" for verdict, n in sorted(counted.items(), reverse=True))


def _broken(broken: list[CrosscheckRecord]) -> Table:
    rows = [[f"{r.case}: {r.entry}", r.reason or ""] for r in broken]
    files = list(dict.fromkeys(file for r in broken for file in r.files))
    notes = [f"for a Julia REPL: {', '.join(files)}"] if files else []
    return Table("Cross-check: broken bounds", ["gradient", "why"], rows, notes)


def _everything(problem: str, judged: list[CrosscheckRecord]) -> Table:
    """One row a gradient and case."""
    rows = [
        [
            f"{r.case}: {r.entry}",
            *(_short(e) for e in (r.error_loss, r.error_theta, r.error_y0, r.bound, r.twin_difference)),
            number(r.order, 2),
            r.verdict if r.reason is None else f"{r.verdict}: {r.reason}",
        ]
        for r in judged
    ]
    columns = ["gradient", "loss", "theta", "y0", "bound", "off twin", "order", "verdict"]
    return Table(f"Cross-check of gradients, case by case: {problem}", columns, rows, long=True)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


@styled
def draw_matrix(results: Results) -> Figure | None:
    """One heat map of pairwise relative differences on a log scale, the largest over all cases; None without records.

    Gradients are grouped by method; those that broke a bound in some case have a red cross before their name and a red
    frame around their row.
    """
    records = [r for r in results.crosscheck if r.differences]
    groups = list(dict.fromkeys(r.group for r in records))
    group_of = {r.entry: r.group for r in sorted(records, key=lambda r: groups.index(r.group)) if _has_numbers(r)}
    entries = list(group_of)
    if len(entries) < 2:
        return None
    n, small = len(entries), len(entries) > 24
    size = 0.155 if small else 0.21
    figure, (axes,) = new_figure(1, width=3.6 + size * n, height=2.6 + size * n)
    norm = LogNorm(LOWEST, HIGHEST, clip=True)
    image = axes.imshow(np.clip(largest(records, entries), LOWEST, HIGHEST), norm=norm, cmap=COLOURS)
    broken = {r.entry for r in records if r.verdict == BROKEN}
    _label(axes, entries, broken, fontsize=5.5 if small else 6.5)
    for k in range(1, n):
        if group_of[entries[k]] != group_of[entries[k - 1]]:
            axes.axhline(k - 0.5, color="black", linewidth=0.5)
            axes.axvline(k - 0.5, color="black", linewidth=0.5)
    for k in (k for k, entry in enumerate(entries) if entry in broken):
        axes.add_patch(Rectangle((-0.5, k - 0.5), n, 1, fill=False, edgecolor=MARK, linewidth=1.0))
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, ticks=[10.0**k for k in range(-16, 1, 2)])
    bar.ax.minorticks_off()
    bar.set_label("relative difference of loss and gradients")
    cases = list(dict.fromkeys(r.case for r in records))
    of = f"the largest of {len(cases)} cases" if len(cases) > 1 else cases[0]
    verdict = f"✗ {len(broken)} broke a bound" if broken else "no bound is broken"
    headline(figure, f"Every gradient against every other: {of}\n{verdict}")
    return figure


def largest(records: list[CrosscheckRecord], entries: list[str]) -> npt.NDArray[np.float64]:
    """The largest difference of each pair over the cases `(n, n)`; NaN where there is none, and on the diagonal."""
    place = {entry: k for k, entry in enumerate(entries)}
    matrix = np.full((len(entries), len(entries)), np.nan)
    cases: dict[str, list[CrosscheckRecord]] = {}
    for record in records:
        cases.setdefault(record.case, []).append(record)
    for members in cases.values():
        for record in members:
            # differences stand in the order of the case's records
            for other, difference in zip(members, record.differences, strict=False):
                if difference is not None and other is not record:
                    at = place[record.entry], place[other.entry]
                    matrix[at] = np.fmax(matrix[at], difference)
    return matrix


def _has_numbers(record: CrosscheckRecord) -> bool:
    return any(d is not None for d in record.differences)


def _label(axes: Axes, entries: list[str], broken: set[str], *, fontsize: float) -> None:
    """The names of the entries on both axes."""
    words = [f"✗ {entry}" if entry in broken else entry for entry in entries]
    axes.set_xticks(range(len(entries)), words, rotation=90, fontsize=fontsize)
    axes.set_yticks(range(len(entries)), words, fontsize=fontsize)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        for label, entry in zip(labels, entries, strict=True):
            label.set_color(MARK if entry in broken else "black")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
