"""Figures of the differences, from their records alone."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.study.spiral_differences.authors import ITERATIONS, LOSSES
from experiments.study.spiral_differences.records import Differences
from experiments.study.spiral_differences.variants import METHODS
from pynode.studies.style import Look, legend_below, looks, new_figure, styled

SHOWN = {
    "faithful": "pynode --faithful, its own seeds",
    "authors-weights": "the same from the authors' weights",
    "as-authors": "authors' weights, data, Float32, Tsit5",
}
"""Variants whose curves are drawn, and the titles of their panels."""

NAMES = {"disc-opt": "Disc-Opt", "opt-disc": "Opt-Disc"}

GREY = "#777777"


@styled
def curves(differences: Differences) -> Figure | None:
    """The smallest loss so far against iterations: median and range of the seeds, and the authors' numbers."""
    shown = [name for name in SHOWN if name in differences.variants]
    if not shown:
        return None
    figure, panels = new_figure(len(shown), width=3.2 * len(shown) + 0.6, height=3.4)
    style = looks(METHODS)
    for axes, name in zip(panels, shown, strict=True):
        for method in METHODS:
            _draw_band(axes, differences, name, method, style[method])
        axes.set_title(SHOWN[name])
        axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.sharey(panels[0])
    panels[0].set_ylabel("smallest training loss so far")
    legend_below(figure, panels[0], columns=4)
    return figure


def _draw_band(axes: Axes, differences: Differences, variant: str, method: str, look: Look) -> None:
    records = differences.of(variant, method)
    if records:
        at = records[0].iterations
        values = np.array([[np.nan if v is None else v for v in record.best_loss] for record in records])
        known = ~np.isnan(values).all(axis=0)
        at, values = np.asarray(at)[known], values[:, known]
        axes.fill_between(
            at, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=look.color, alpha=0.18, linewidth=0
        )
        axes.plot(at, np.nanmedian(values, axis=0), label=f"{NAMES[method]}, median and range", **look.line())
    theirs = [i for i in ITERATIONS if i <= differences.config["iterations"]]
    axes.plot(
        theirs,
        [LOSSES[method][i] for i in theirs],
        linestyle="none",
        marker=look.marker,
        markersize=6.5,
        markerfacecolor=look.color,
        markeredgecolor="black",
        label=f"{NAMES[method]}, authors",
        zorder=5,
    )


@styled
def order(differences: Differences) -> Figure | None:
    """Opt-Disc's loss over Disc-Opt's for each seed of each variant, and the authors' ratio."""
    at = [i for i in (100, 200, 300) if i <= differences.config["iterations"]]
    if not at or not differences.variants:
        return None
    names = differences.variants
    figure, panels = new_figure(len(at), width=2.6 * len(at) + 1.2, height=0.9 + 0.26 * len(names))
    for axes, iteration in zip(panels, at, strict=True):
        for row, name in enumerate(names):
            _draw_ratios(axes, differences, name, iteration, row)
        theirs = LOSSES["opt-disc"][iteration] / LOSSES["disc-opt"][iteration]
        axes.axvline(theirs, color=looks(METHODS)["opt-disc"].color, linestyle="--", label="authors' run")
        axes.axvline(1, color=GREY, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_title(f"after {iteration} iterations")
        axes.set_yticks(range(len(names)), names if axes is panels[0] else [""] * len(names))
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel("loss Opt-Disc / loss Disc-Opt")
    legend_below(figure, panels[0], columns=3)
    return figure


def _draw_ratios(axes: Axes, differences: Differences, variant: str, iteration: int, row: int) -> None:
    disc_opt, opt_disc = ({r.seed: r.at(iteration) for r in differences.of(variant, m)} for m in METHODS)
    pairs = [(opt_disc.get(seed), loss) for seed, loss in disc_opt.items()]
    ratios = [o / d for o, d in pairs if o is not None and d]
    if not ratios:
        return
    color = looks(METHODS)["disc-opt"].color
    axes.plot(
        ratios, [row] * len(ratios), ".", color=color, alpha=0.5, markersize=6.5, label="a seed", markeredgewidth=0
    )
    axes.plot(np.median(ratios), row, "|", color="black", markersize=11, markeredgewidth=1.8, label="median")
