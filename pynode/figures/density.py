"""Densities in the plane: data and model, and data pushed forward, which should look like a standard normal."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from pynode.figures.samples import Array, seeds, series, shown_runs
from pynode.figures.style import looks, new_figure, styled
from pynode.records.results import Results

NORMAL_REACH = 4.0
"""Standard deviations that the panel of pushed-forward data shows."""


@styled
def draw(results: Results) -> Figure | None:
    """One row a method (first seed): data, model density, data pushed forward with the circles of 1, 2 and 3 standard
    deviations, generated samples; two dimensions only."""
    chosen = shown_runs(results, "data", "density", "grid", "pushed", "generated")
    if not chosen:
        return None
    figure, panels = new_figure(4, rows=len(chosen), height=0.95 + 1.65 * len(chosen))
    style = looks(chosen)
    brightest = max(float(np.nanmax(series(run, "density"))) for run in chosen.values())
    for k, (method, run) in enumerate(chosen.items()):
        row = panels[4 * k : 4 * k + 4]
        low, high = series(run, "grid")
        _dots(row[0], series(run, "data"), "black")
        show_density(row[1], series(run, "density"), (low, high), "viridis", brightest)
        _dots(row[2], series(run, "pushed"), style[method].color)
        for radius in (1, 2, 3):
            row[2].add_patch(Circle((0, 0), radius, fill=False, color="black", linewidth=0.9, zorder=3))
        _dots(row[3], series(run, "generated"), style[method].color)
        for axes in row:
            square(axes, *((-NORMAL_REACH, NORMAL_REACH) if axes is row[2] else (low, high)))
            axes.tick_params(labelbottom=k == len(chosen) - 1)
        row[0].set_ylabel(f"{method}\n$x_2$")
        row[2].set_ylabel("$z_2$", labelpad=-2)
        for axes in (row[1], row[3]):
            axes.tick_params(labelleft=False)
    for axes, title in zip(panels, ("data", "model density", "data pushed forward", "generated samples"), strict=False):
        axes.set_title(title)
    for axes, name in zip(panels[-4:], "xxzx", strict=True):
        axes.set_xlabel(f"${name}_1$")
    figure.suptitle(
        f"{results.problem}: densities of the best weights (seed {seeds(chosen)})\n"
        f"densities up to {brightest:.2g} (yellow); circles: 1, 2, 3 standard deviations of the base",
        fontsize=9.5,
    )
    return figure


def show_density(axes: Axes, density: Array, grid: tuple[float, float], colors: str, brightest: float) -> None:
    """A density `(n, n)`, first index along the horizontal axis, as an image over the square `grid`."""
    axes.imshow(
        density.T,
        origin="lower",
        extent=(grid[0], grid[1], grid[0], grid[1]),
        cmap=colors,
        vmin=0.0,
        vmax=brightest,
        interpolation="nearest",
    )
    axes.grid(visible=False)


def square(axes: Axes, low: float, high: float) -> None:
    """Both axes from `low` to `high`, at one scale, with few ticks."""
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    ticks = [np.ceil(low / 2) * 2, 0.0, np.floor(high / 2) * 2]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)


def _dots(axes: Axes, points: Array, color: str) -> None:
    axes.plot(points[:, 0], points[:, 1], "o", color=color, markersize=1.1, markeredgewidth=0, alpha=0.6)
