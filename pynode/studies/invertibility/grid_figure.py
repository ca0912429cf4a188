"""The figure of trained flows under a grid of schemes, step counts and tolerances."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from pynode.studies.invertibility.record import RediscretisationRecord, others
from pynode.studies.results import Results
from pynode.studies.style import DASHES, MARKERS, headline, legend_below, looks, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pick = Callable[[RediscretisationRecord], "float | None"]


@styled
def draw_rediscretisation(results: Results) -> Figure | None:
    """Four panels: inverse error (above) and NLL beyond the best (below), over steps (left) and tolerance (right)."""
    records = others(results.rediscretised)
    if not records:
        return None
    figure, panels = new_figure(2, rows=2, height=5.2)
    methods = list(dict.fromkeys(r.trained for r in records))
    schemes = _shown_schemes(records)
    colors = _colors(records)
    best = {m: _best(records, m) for m in methods}
    for method in methods:
        for column, adaptive in enumerate((False, True)):
            for k, scheme in enumerate(schemes if not adaptive else [""]):
                part = [
                    r
                    for r in records
                    if r.trained == method and r.adaptive == adaptive and (adaptive or r.scheme == scheme)
                ]
                name = f"{method}, {scheme}" if scheme else method
                line: dict[str, Any] = {
                    "color": colors[method],
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
    for axes in panels[:2]:
        for bound in sorted({r.bound for r in records}):
            axes.axhline(bound, color="black", linewidth=0.8, linestyle=":")
            at = (0.02, bound)
            axes.annotate(f"bound {bound:g}", at, xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
    panels[0].set_ylabel("inverse error (mean 2-norm)")
    panels[2].set_ylabel("|NLL - NLL at the finest| (nats)")
    for axes, label in ((panels[2], "steps per block"), (panels[3], "rtol = atol of dopri5")):
        axes.set_xlabel(label)
    steps = sorted({r.setting for r in records if not r.adaptive})
    for axes in (panels[0], panels[2]):
        axes.set_xticks(steps, _tick_labels(steps))
        axes.set_xticks([], minor=True)
    panels[3].set_xlim(panels[1].get_xlim())
    panels[0].set_title("fixed steps")
    panels[1].set_title("adaptive")
    for axes in (panels[1], panels[3]):
        axes.invert_xaxis()
    headline(figure, f"{results.title}: trained flows under other discretisations (colour: trained by)")
    legend_below(figure, panels[0], columns=3)
    return figure


def _tick_labels(steps: list[float]) -> list[str]:
    """Step counts as text, empty for those that would touch the label before them on a logarithmic axis."""
    labels, last = [], 0.0
    for count in steps:
        clear = count >= 1.25 * last
        labels.append(f"{count:.0f}" if clear else "")
        last = count if clear else last
    return labels


def _curve(records: list[RediscretisationRecord], pick: Pick) -> tuple[list[float], list[float]]:
    """Settings and the median over seeds of what `pick` gives, where there is something to show."""
    by_setting: dict[float, list[float]] = {}
    for record in records:
        value = pick(record)
        if value is not None and value > 0:
            by_setting.setdefault(record.setting, []).append(value)
    settings = sorted(by_setting)
    return settings, [median(by_setting[s]) for s in settings]


def _best(records: list[RediscretisationRecord], method: str) -> dict[int, float]:
    """By seed, the likelihood at the tightest tolerance (or most steps)."""
    by_seed: dict[int, float] = {}
    for seed in {r.seed for r in records}:
        part = [r for r in records if r.trained == method and r.seed == seed and r.nll is not None]
        tight = sorted((r for r in part if r.adaptive), key=lambda r: r.setting)
        fine = sorted((r for r in part if not r.adaptive), key=lambda r: -r.setting)
        for record in (*tight, *fine):
            by_seed.setdefault(seed, float(record.nll or 0.0))
    return by_seed


def _excess(record: RediscretisationRecord, best: dict[int, float]) -> float | None:
    if record.nll is None or record.seed not in best:
        return None
    return abs(record.nll - best[record.seed])


def _colors(records: list[RediscretisationRecord]) -> dict[str, Any]:
    """The method's colour, or where it trained with several numbers of steps a scale from few (dark) to many."""
    by_method: dict[str, dict[str, int]] = {}
    for record in records:
        by_method.setdefault(record.trained_by, {})[record.trained] = record.trained_steps or 0
    style, colors = looks(by_method), {}
    for method, names in by_method.items():
        scale = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, len(names)))
        for name, color in zip(sorted(names, key=names.__getitem__), scale, strict=True):
            colors[name] = style[method].color if len(names) == 1 else tuple(color)
    return colors


def _shown_schemes(records: list[RediscretisationRecord]) -> list[str]:
    """The fixed schemes; only those of trainings where flows of several step counts would crowd the panels."""
    schemes = list(dict.fromkeys(r.scheme for r in records if not r.adaptive))
    if len({r.trained_steps for r in records if r.trained_steps is not None}) < 2:
        return schemes
    return [scheme for scheme in schemes if scheme in {r.trained_scheme for r in records}] or schemes
