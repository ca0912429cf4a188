"""Trained fields beyond their data: states over time, and in the phase plane."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from pynode.figures.style import legend_below, looks, new_figure, styled
from pynode.records.results import Results, Run


@styled
def draw(results: Results) -> Figure | None:
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
    title = f"{results.problem}: extrapolation of the best weights (seed {seeds}; trained where shaded)"
    figure.suptitle(title, fontsize=10)
    legend_below(figure, panels[0])
    return figure


def _columns(rows: list[list[Any]]) -> list[list[float]]:
    """Two columns of numbers; what was not finite stays NaN."""
    return [[float("nan") if row[k] is None else float(row[k]) for row in rows] for k in (0, 1)]
