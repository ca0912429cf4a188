"""The cross-check as a matrix: relative differences between all gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pynode.figures.style import new_figure, styled
from pynode.records.crosscheck import BROKEN, CrosscheckRecord
from pynode.records.results import Results

LOWEST, HIGHEST = 1e-16, 1.0
"""Ends of the colours; smaller differences have the lowest, larger ones the highest."""

COLOURS, MARK = "YlGnBu", "#C00000"
"""Dark is far apart; what is broken is marked in a red that is no part of the scale."""


@styled
def draw(results: Results) -> Figure | None:
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
    figure.suptitle(f"Every gradient against every other: {of}\n{verdict}", fontsize=10)
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
