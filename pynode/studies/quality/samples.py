"""Figures of trained models: extrapolation, densities, trajectories, and pairs of columns of generated samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from pynode.records.runs import Run
from pynode.studies.results import Results
from pynode.studies.style import headline, legend_below, looks, new_figure, short_name, styled

Array = npt.NDArray[np.float64]

NORMAL_REACH = 4.0
"""Standard deviations that the panel of pushed-forward data shows."""

PAIRS = ((0, 1), (2, 3), (4, 5))

FEW = 200
"""Rows up to which dots are larger."""

MIDDLE = 0.995
"""Share of the data that the axes hold, so that single outliers don't squeeze the rest."""


def shown_runs(results: Results, *needed: str) -> dict[str, Run]:
    """The first evaluated run of each method that has the series `needed`; none for a sweep over accuracies."""
    chosen: dict[str, Run] = {}
    for run in results.runs if not results.is_sweep else ():
        if run.evaluation and set(needed) <= set(run.evaluation["series"]):
            chosen.setdefault(run.method, run)
    return chosen


def series(run: Run, name: str) -> Array:
    """A series as an array; what was not finite is NaN."""
    assert run.evaluation is not None  # `shown_runs` leaves others out
    values: list[Any] = run.evaluation["series"][name]
    return np.array(values, dtype=np.float64)


def seeds(runs: dict[str, Run]) -> str:
    """The seeds of the shown runs, for a title."""
    return ", ".join(str(s) for s in dict.fromkeys(run.seed for run in runs.values()))


@styled
def draw_extrapolation(results: Results) -> Figure | None:
    """Three panels: both components against time, training interval shaded, and the phase plane (first seed)."""
    chosen: dict[str, Run] = {}
    for run in results.runs:
        if run.evaluation and {"t", "truth", "model", "data_t", "data"} <= set(run.evaluation["series"]):
            chosen.setdefault(run.method, run)
    if results.is_sweep or not chosen:
        return None
    figure, panels = new_figure(3, height=3.2)
    series = next(iter(chosen.values())).evaluation["series"]  # type: ignore[index]
    truth, data = _columns(series["truth"]), _columns(series["data"])
    t, data_t = series["t"], series["data_t"]
    style = looks(chosen)
    for k in (0, 1):
        panels[k].axvspan(data_t[0], data_t[-1], color="#eeeeee", zorder=0)
        panels[k].plot(t, truth[k], color="black", linewidth=1.0, label="truth")
        panels[k].plot(data_t, data[k], "x", color="black", markersize=3, label="data")
        panels[k].set_xlabel("t")
        panels[k].set_ylabel(f"$u_{k + 1}$")
        panels[k].set_title(f"component {k + 1}")
    panels[2].plot(*truth, color="black", linewidth=1.0)
    panels[2].plot(*data, "x", color="black", markersize=3)
    for method, run in chosen.items():
        model = _columns(run.evaluation["series"]["model"])  # type: ignore[index]
        for k in (0, 1):
            panels[k].plot(t, model[k], label=method, **style[method].line())
        panels[2].plot(*model, **style[method].line())
    panels[2].set_xlabel("$u_1$")
    panels[2].set_ylabel("$u_2$")
    panels[2].set_aspect("equal", adjustable="datalim")
    panels[2].set_title("phase plane")
    reach = 1.5 * max(abs(v) for column in truth for v in column)
    for axes in panels[:2]:
        axes.set_ylim(-reach, reach)
    seeds = ", ".join(str(s) for s in dict.fromkeys(run.seed for run in chosen.values()))
    title = f"{results.title}: extrapolation of the best weights (seed {seeds}; trained where shaded)"
    headline(figure, title)
    legend_below(figure, panels[0])
    return figure


def _columns(rows: list[list[Any]]) -> list[list[float]]:
    """Two columns of numbers; what was not finite stays NaN."""
    return [[float("nan") if row[k] is None else float(row[k]) for row in rows] for k in (0, 1)]


@styled
def draw_density(results: Results) -> Figure | None:
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
    headline(
        figure,
        f"{results.title}: densities of the best weights (seed {seeds(chosen)})\n"
        f"densities up to {brightest:.2g} (yellow); circles: 1, 2, 3 standard deviations of the base",
        size=9.5,
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


@styled
def draw_trajectories(results: Results) -> Figure | None:
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
    headline(
        figure,
        f"{results.title}: trajectories from the base (white) to data (black)\n"
        f"over the model's density (grey); best weights, seed {seeds(chosen)}",
    )
    return figure


@styled
def draw_marginals(results: Results) -> Figure | None:
    """A row of data, then one a method (first seed) of generated samples: pairs of columns, on the axes of the data.

    Of a user's table with its names and units; where there is no figure of the density itself.

    Rows above each other rather than clouds over each other: a cloud would hide what lies below it.
    """
    chosen = {m: r for m, r in shown_runs(results, "data", "generated").items() if _has_pairs(r)}
    if not chosen:
        return None
    shown = next(iter(chosen.values()))
    first, names = _in_units(shown, "data"), _names(shown)
    pairs = _pairs(first.shape[1])
    style = looks(chosen)
    rows = [("data", "black", first)]
    rows += [(method, style[method].color, _in_units(run, "generated")) for method, run in chosen.items()]
    width, height = max(4.2, 2.4 * len(pairs)), 0.5 + 1.75 * len(rows)
    figure, panels = new_figure(len(pairs), rows=len(rows), width=width, height=height)
    size = 1.3 if len(first) > FEW else 2.6
    for k, (name, color, points) in enumerate(rows):
        for j, (a, b) in enumerate(pairs):
            axes = panels[k * len(pairs) + j]
            axes.plot(points[:, a], points[:, b], "o", color=color, markersize=size, markeredgewidth=0, alpha=0.5)
            axes.set_xlim(*_reach(first[:, a]))
            axes.set_ylim(*_reach(first[:, b]))
            axes.tick_params(labelbottom=k == len(rows) - 1)
            axes.set_ylabel(names[b])
            if k == len(rows) - 1:
                axes.set_xlabel(names[a])
            if j == 0:
                axes.set_ylabel(f"{name}\n{names[b]}", color=color)
    headline(figure, f"{results.title}: data and generated samples (best weights, seed {seeds(chosen)})")
    return figure


def _has_pairs(run: Run) -> bool:
    """Whether the rows of a run have columns to be held against each other that no other figure shows."""
    columns = series(run, "data").shape[1]
    assert run.evaluation is not None
    return columns > 2 or (columns == 2 and "density" not in run.evaluation["series"])


def _pairs(columns: int) -> list[tuple[int, int]]:
    """Pairs of columns that are shown: the first six at most, each of them at least once."""
    pairs = [pair for pair in PAIRS if pair[1] < columns]
    return [*pairs, (columns - 2, columns - 1)] if columns % 2 and len(pairs) < len(PAIRS) else pairs


def _in_units(run: Run, name: str) -> Array:
    """Rows in the units of the file where they come from one, else as stored."""
    rows = series(run, name)
    assert run.evaluation is not None
    if {"shift", "scale"} <= set(run.evaluation["series"]):
        rows = rows * series(run, "scale") + series(run, "shift")
    return rows


def _names(run: Run) -> list[str]:
    """The columns as a user's file names them, or by number."""
    assert run.evaluation is not None
    numbers = [str(k + 1) for k in range(series(run, "data").shape[1])]
    named = run.evaluation["series"].get("columns", numbers)
    return [f"column {name}" if name.isdecimal() else short_name(name) for name in named]


def _reach(column: Array) -> tuple[float, float]:
    """Where the middle of a column lies, with a margin; never empty."""
    low, high = np.nanquantile(column, ((1 - MIDDLE) / 2, (1 + MIDDLE) / 2))
    margin = 0.1 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
