"""Trajectories of samples under the flow, from the base to the data."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pynode.figures.density import show_density, square
from pynode.figures.samples import seeds, series, shown_runs
from pynode.figures.style import looks, new_figure, styled
from pynode.records.results import Results


@styled
def draw(results: Results) -> Figure | None:
    """One panel a method (first seed): paths from a lattice in the base (circles) to data (dots), over the density."""
    chosen = shown_runs(results, "trajectories", "density", "grid")
    if not chosen:
        return None
    figure, panels = new_figure(len(chosen), width=max(4.0, 3.4 * len(chosen)), height=4.1)
    style = looks(chosen)
    brightest = max(float(np.nanmax(series(run, "density"))) for run in chosen.values())
    for axes, (method, run) in zip(panels, chosen.items(), strict=True):
        low, high = series(run, "grid")
        # half of the greys, so that paths stand out everywhere
        show_density(axes, series(run, "density"), (low, high), "Greys", 2 * brightest)
        paths = series(run, "trajectories")
        axes.plot(paths[:, :, 0], paths[:, :, 1], color=style[method].color, linewidth=0.7)
        axes.plot(*paths[0].T, "o", color="black", markersize=2.2, markerfacecolor="white", markeredgewidth=0.6)
        axes.plot(*paths[-1].T, "o", color="black", markersize=2.2)
        square(axes, low, high)
        axes.set_xlabel("$x_1$")
        axes.set_title(method)
    panels[0].set_ylabel("$x_2$")
    figure.suptitle(
        f"{results.problem}: ways from the base (white) to data (black)\n"
        f"over the model's density (grey); best weights, seed {seeds(chosen)}",
        fontsize=10,
    )
    return figure
