"""Trained flows under other discretisations: inverse error and likelihood against steps and tolerance."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pynode.figures.style import DASHES, MARKERS, legend_below, looks, new_figure, styled
from pynode.records.rediscretisation import RediscretisationRecord
from pynode.records.results import Results

Pick = Callable[[RediscretisationRecord], "float | None"]


@styled
def draw(results: Results) -> Figure | None:
    """Four panels: inverse error (above) and NLL beyond the best (below), over steps (left) and tolerance (right)."""
    found = results.rediscretised
    if not found:
        return None
    figure, panels = new_figure(2, rows=2, height=5.2)
    methods = list(dict.fromkeys(r.trained_by for r in found))
    schemes = list(dict.fromkeys(r.scheme for r in found if not r.adaptive))
    style = looks(methods)
    best = {m: _best(found, m) for m in methods}
    for method in methods:
        for column, adaptive in enumerate((False, True)):
            for k, scheme in enumerate(schemes if not adaptive else [""]):
                part = [
                    r
                    for r in found
                    if r.trained_by == method and r.adaptive == adaptive and (adaptive or r.scheme == scheme)
                ]
                name = f"{method}, {scheme}" if scheme else method
                line: dict[str, Any] = {
                    "color": style[method].color,
                    "linestyle": DASHES[k % len(DASHES)],
                    "marker": MARKERS[k % len(MARKERS)],
                    "markersize": 3.5,
                }
                panels[column].plot(*_curve(part, lambda r: r.inverse), label=name, **line)
                excess = _curve(part, lambda r, m=method: _excess(r, best[m]))  # type: ignore[misc]
                panels[2 + column].plot(*excess, label=name, **line)
    for axes in panels:
        axes.set_xscale("log")
        if any(np.size(line.get_xdata()) for line in axes.get_lines()):  # an empty axis has no logarithm
            axes.set_yscale("log")
    bound = found[0].bound
    for axes in panels[:2]:
        axes.axhline(bound, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(f"bound {bound:g}", (0.02, bound), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
    panels[0].set_ylabel("inverse error (mean 2-norm)")
    panels[2].set_ylabel("|NLL - NLL at the finest| (nats)")
    for axes, label in ((panels[2], "steps per block"), (panels[3], "rtol = atol of dopri5")):
        axes.set_xlabel(label)
    steps = sorted({r.setting for r in found if not r.adaptive})
    for axes in (panels[0], panels[2]):
        axes.set_xticks(steps, [f"{s:.0f}" for s in steps])
        axes.set_xticks([], minor=True)
    panels[3].set_xlim(panels[1].get_xlim())
    panels[0].set_title("fixed steps")
    panels[1].set_title("adaptive")
    for axes in (panels[1], panels[3]):
        axes.invert_xaxis()
    figure.suptitle(f"{results.problem}: trained flows under other discretisations (colour: trained by)", fontsize=10)
    legend_below(figure, panels[0], columns=3)
    return figure


def _curve(records: list[RediscretisationRecord], pick: Pick) -> tuple[list[float], list[float]]:
    """Settings and the median over seeds of what `pick` gives, where there is something to show."""
    found: dict[float, list[float]] = {}
    for record in records:
        value = pick(record)
        if value is not None and value > 0:
            found.setdefault(record.setting, []).append(value)
    settings = sorted(found)
    return settings, [median(found[s]) for s in settings]


def _best(records: list[RediscretisationRecord], method: str) -> dict[int, float]:
    """By seed, the likelihood at the tightest tolerance (or most steps)."""
    found: dict[int, float] = {}
    for seed in {r.seed for r in records}:
        part = [r for r in records if r.trained_by == method and r.seed == seed and r.nll is not None]
        tight = sorted((r for r in part if r.adaptive), key=lambda r: r.setting)
        fine = sorted((r for r in part if not r.adaptive), key=lambda r: -r.setting)
        for record in (*tight, *fine):
            found.setdefault(seed, float(record.nll or 0.0))
    return found


def _excess(record: RediscretisationRecord, best: dict[int, float]) -> float | None:
    if record.nll is None or record.seed not in best:
        return None
    return abs(record.nll - best[record.seed])
