"""Figures of fits and forecasts with the data: large for a few trajectories, small multiples for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from pynode.records.runs import Run
from pynode.studies.forecast.recorded import (
    Array,
    Clock,
    Path,
    broken_at_turns,
    clock,
    file_name,
    paths,
    record_of,
    shown_runs,
)
from pynode.studies.results import Results
from pynode.studies.style import headline, legend_below, looks, new_figure, plain, short_name, styled

FEW = 2
"""Trajectories that are drawn large, side by side."""
MOST_COLUMNS = 6
"""Value columns that are drawn."""
MOST_PANELS, ACROSS = 24, 4
"""Small multiples of a figure, and how many stand side by side."""
MOST_POINTS = 400
"""Observations of a panel before its forecast begins, and after; of a longer trajectory those next to that time."""
SHADE = "#eeeeee"


@styled
def draw_forecasts(results: Results) -> dict[str, Figure | None]:
    """The data with the fits and forecasts of every method, by the name of the figure.

    A few trajectories share one figure, a row of panels for each column; of many each column has its figure, a small
    panel for each trajectory, those that are held out first.
    """
    runs = shown_runs(results)
    if not runs:
        return {}
    record = record_of(next(iter(runs.values())))
    several = {method: paths(record_of(run)) for method, run in runs.items()}
    number = len(next(iter(several.values())))
    if any(len(own) != number for own in several.values()):  # runs on different rows: each would need its own data
        several = dict(list(several.items())[:1])
    columns = range(min(len(record["columns"]), MOST_COLUMNS))
    if number <= FEW:
        return {"forecast": _draw_few(results, record, several, runs)}
    return {
        "forecast" if k == 0 else f"forecast-{k + 1}": _draw_many(results, record, several, runs, k) for k in columns
    }


def _draw_few(
    results: Results, record: Mapping[str, Any], several: Mapping[str, list[Path]], runs: Mapping[str, Run]
) -> Figure:
    first = next(iter(several.values()))
    columns = record["columns"][:MOST_COLUMNS]
    figure, panels = new_figure(len(first), rows=len(columns), height=1.2 + 1.75 * len(columns))
    shortened = False
    for k, column in enumerate(columns):
        for j, _ in enumerate(first):
            panel = panels[k * len(first) + j]
            shortened |= _draw_panel(panel, record, {m: own[j] for m, own in several.items()}, k)
            panel.set_ylabel(plain(column) if j == 0 else "")
            if k == 0 and len(first) > 1:
                panel.set_title(short_name(first[j].name))
            if k == len(columns) - 1:
                panel.set_xlabel(plain(clock(record).label))
            else:
                panel.tick_params(labelbottom=False)
    left_out = len(record["columns"]) - len(columns)
    said = f"; {left_out} more columns are not drawn" if left_out else ""
    said += f"; at most {MOST_POINTS} rows before and after the forecast begins" if shortened else ""
    _finish(figure, panels, results, runs, said, first)
    return figure


def _draw_many(
    results: Results, record: Mapping[str, Any], several: Mapping[str, list[Path]], runs: Mapping[str, Run], k: int
) -> Figure:
    first = next(iter(several.values()))
    order = sorted(range(len(first)), key=lambda j: not first[j].is_held_out.any())[:MOST_PANELS]
    across = 3 if len(order) in (3, 5, 6, 9) else min(ACROSS, len(order))
    rows = -(-len(order) // across)
    figure, panels = new_figure(across, rows=rows, height=1.1 + 1.3 * rows)
    shortened = False
    for panel, j in zip(panels, order, strict=False):
        shortened |= _draw_panel(panel, record, {m: own[j] for m, own in several.items()}, k)
        panel.set_title(short_name(first[j].name), fontsize=8)
        panel.tick_params(labelsize=7)
    low, high = _joint_limits([_limits([own[j] for own in several.values()], k) for j in order])
    for number, panel in enumerate(panels):
        panel.set_ylim(low, high)
        panel.set_visible(number < len(order))
        if number % across:
            panel.tick_params(labelleft=False)
        if number >= len(order) - across:
            panel.set_xlabel(plain(clock(record).label), fontsize=8)
    figure.supylabel(plain(record["columns"][k]), fontsize=9)
    said = f"; {len(order)} of {len(first)} trajectories" if len(order) < len(first) else ""
    said += f"; at most {MOST_POINTS} rows before and after the forecast begins" if shortened else ""
    _finish(figure, panels, results, runs, said, first)
    return figure


def _draw_panel(panel: Axes, record: Mapping[str, Any], several: Mapping[str, Path], k: int) -> bool:
    """One column of one trajectory; whether only its end is drawn."""
    own, times = next(iter(several.values())), clock(record)
    style, period = looks(several), (record.get("periods") or {}).get(record["columns"][k])
    start, end, shortened = _part(own)
    seen = (own.times >= start) & (own.times <= end) & ~np.isnan(own.observed[:, k])
    if own.cut is not None and len(own.times):
        panel.axvspan(*times.shown(np.array([own.cut, end])), color=SHADE, zorder=0)
    for rows, fill, label in (
        (seen & ~own.is_held_out, "black", "data"),
        (seen & own.is_held_out, "none", "data held out"),
    ):
        if rows.any():
            size = 2.5 if rows.sum() < 120 else 1.5
            panel.plot(
                times.shown(own.times[rows]),
                own.observed[rows, k],
                "o",
                color="black",
                markerfacecolor=fill,
                markersize=size,
                markeredgewidth=0.5,
                label=label,
                zorder=2,
            )
    for method, path in several.items():
        for at, values in _lines(path, k, start, end):
            shown = broken_at_turns(values, period)
            panel.plot(times.shown(at), shown, label=method, zorder=3, **style[method].line() | {"linewidth": 1.2})
    panel.set_ylim(*_joint_limits([_limits(several.values(), k)]))
    _mark_dates(panel, times, own.times)
    return shortened


def _lines(path: Path, k: int, start: float, end: float) -> list[tuple[Array, Array]]:
    """The curve of a column as the fit and the forecast, each by itself, between two times."""
    at, values = path.curve_times, path.curve[:, k]
    if not len(at):
        at, values = path.times, path.predicted[:, k]
    kept = (at >= start) & (at <= end)
    at, values = at[kept], values[kept]
    if path.cut is None:
        return [(at, values)]
    return [(at[part], values[part]) for part in (at <= path.cut, at >= path.cut) if part.any()]


def _part(path: Path) -> tuple[float, float, bool]:
    """The first and the last time that are drawn, and whether that leaves something out."""
    known, ahead = path.times[~path.is_held_out], path.times[path.is_held_out]
    first = known[-MOST_POINTS:] if len(known) else ahead
    last = ahead[:MOST_POINTS] if len(ahead) else known
    shortened = len(known) > MOST_POINTS or len(ahead) > MOST_POINTS
    return (float(first[0]), float(last[-1]), shortened) if len(path.times) else (0.0, 0.0, False)


def _limits(several: Any, k: int) -> tuple[float, float]:
    """The least and the greatest value drawn: all observations, and the lines as far as they stay near these."""
    every = list(several)
    observed = np.concatenate([path.observed[:, k] for path in every])
    seen = observed[np.isfinite(observed)]
    if not seen.size:
        return 0.0, 1.0
    low, high = float(seen.min()), float(seen.max())
    reach = (high - low) or abs(high) or 1.0
    lines = np.concatenate([path.curve[:, k] for path in every])
    near = lines[np.isfinite(lines)]
    near = near[(near > low - 0.5 * reach) & (near < high + 0.5 * reach)]
    low, high = min(low, *near.tolist()) if near.size else low, max(high, *near.tolist()) if near.size else high
    return low, high


def _joint_limits(limits: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Limits that hold all of `limits`, with a margin."""
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin


def _mark_dates(panel: Axes, times: Clock, at: Array) -> None:
    if not np.issubdtype(np.asarray(times.shown(at)).dtype, np.datetime64):
        panel.locator_params(axis="x", nbins=6)
        return
    locator = AutoDateLocator(minticks=2, maxticks=6)
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _finish(
    figure: Figure, panels: list[Axes], results: Results, runs: Mapping[str, Run], said: str, drawn: Sequence[Path]
) -> None:
    seeds = ", ".join(str(s) for s in dict.fromkeys(run.seed for run in runs.values()))
    shaded = "held out where shaded" if any(path.cut is not None for path in drawn) else "nothing held out"
    title = f"{file_name(results)}: fit and forecast (seed {seeds}; {shaded}{said})"
    headline(figure, title)
    legend_below(figure, max(panels, key=lambda panel: len(panel.get_legend_handles_labels()[0])))
