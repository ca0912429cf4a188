"""Loss against iteration and against training time."""

from __future__ import annotations

from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pynode.figures.style import legend_below, looks, new_figure, styled
from pynode.records.results import Results, Run


@styled
def draw(results: Results) -> Figure | None:
    """Two panels: the best loss so far (thick) and the loss itself (thin), over iterations and over seconds."""
    runs = [run for run in results.runs if any(q is not None for q in run.quality())]
    if not runs:
        return None
    figure, (left, right) = new_figure(2, height=3.2)
    style = looks(run.method for run in runs)
    faithful = runs[0].config["faithful"]
    for run in runs:
        seconds = list(accumulate(r.seconds for r in run.records))
        at = [i for i, q in enumerate(run.quality()) if q is not None]
        loss = [q for q in run.quality() if q is not None]
        best = list(accumulate(loss, min))
        name = run.method if len({r.label for r in runs if r.method == run.method}) < 2 else _first(run, runs)
        for axes, x in ((left, [float(i) for i in at]), (right, [seconds[i] for i in at])):
            axes.plot(x, loss, color=style[run.method].color, linewidth=0.5, alpha=0.45)
            axes.plot(x, best, label=name, **style[run.method].line())
    for axes in (left, right):
        axes.set_yscale("log")
        axes.set_ylabel("training loss" if faithful else "validation loss (sum of squares)")
    left.set_xlabel("iteration")
    left.set_title("against iteration")
    right.set_xscale("log")
    right.set_xlabel("training time (s)")
    right.set_title("against training time")
    _floor(left)
    figure.suptitle(f"{results.problem}: best loss so far (thin: at each iteration)", fontsize=10)
    legend_below(figure, left)
    return figure


def _first(run: Run, runs: list[Run]) -> str:
    """The label of a method once: further runs of it (seeds) stay without."""
    mine = [r for r in runs if r.method == run.method]
    same = len({r.config["method"].get("rtol", r.config["method"].get("steps")) for r in mine if r.method}) < 2
    if same:
        return run.method
    return run.label


def _floor(axes: Axes) -> None:
    axes.set_xlim(left=0)
