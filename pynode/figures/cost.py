"""Seconds and evaluations of each iteration."""

from __future__ import annotations

from statistics import median

from matplotlib.figure import Figure

from pynode.figures.style import legend_below, looks, new_figure, styled
from pynode.records.results import Results

PARTS = (("seconds_forward", "forward"), ("seconds_backward", "backward"), ("seconds_optimiser", "optimiser"))
SHADES = (1.0, 0.55, 0.2)


@styled
def draw(results: Results) -> Figure | None:
    """Three panels: median seconds of an iteration by part; seconds and NFE over the iterations."""
    runs = [run for run in results.runs if run.records]
    if results.is_sweep or not runs:
        return None
    figure, (bars, seconds, nfe) = new_figure(3, height=3.3)
    style = looks(run.method for run in runs)
    methods = list(dict.fromkeys(run.method for run in runs))
    for k, method in enumerate(methods):
        records = [r for run in runs if run.method == method for r in run.records]
        for j, (part, label) in enumerate(PARTS):
            value = 1000 * median(getattr(r, part) for r in records)
            spot = k + (j - 1) * 0.27
            bars.bar(spot, value, 0.25, color=style[method].color, alpha=SHADES[j], edgecolor=style[method].color)
            bars.annotate(
                f"{value:.0f}" if value >= 10 else f"{value:.2g}",
                (spot, value),
                ha="center",
                va="bottom",
                fontsize=6.5,
                xytext=(0, 1),
                textcoords="offset points",
            )
            bars.annotate(
                label,
                (spot, 0),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="center",
                va="top",
                fontsize=7,
                xytext=(0, -3),
                textcoords="offset points",
            )
    bars.set_yscale("log")
    low, high = bars.get_ylim()
    bars.set_ylim(low / 2, high * 2)
    # names of a backend's methods are long: the backend goes below
    names = [m.replace("-julia", "\njulia") if len(methods) > 2 else m for m in methods]
    bars.set_xticks(range(len(methods)), ["\n\n\n\n\n" + name for name in names], fontsize=8 if len(methods) < 4 else 7)
    bars.tick_params(axis="x", length=0)
    bars.grid(axis="x", visible=False)
    bars.set_ylabel("ms per iteration (median)")
    bars.set_title("time by part")
    for run in runs:
        line = style[run.method].line() | {"linewidth": 1.0}
        steps = [r.iteration for r in run.records]
        seconds.plot(steps, [1000 * r.seconds for r in run.records], label=run.method, **line)
        nfe.plot(steps, [r.nfe_forward for r in run.records], color=style[run.method].color, linewidth=1.0)
        if any(r.nfe_backward for r in run.records):
            nfe.plot(
                steps,
                [r.nfe_backward for r in run.records],
                color=style[run.method].color,
                linewidth=1.0,
                linestyle=":",
            )
    for axes in (seconds, nfe):
        axes.set_yscale("log")
        axes.set_xlabel("iteration")
        axes.set_xlim(left=0)
    seconds.set_ylabel("ms per iteration")
    seconds.set_title("time over training")
    nfe.set_ylabel("field evaluations per iteration")
    nfe.set_title("NFE-F solid, NFE-B dotted")
    figure.suptitle(f"{results.problem}: what an iteration costs", fontsize=10)
    legend_below(figure, seconds)
    return figure
