"""Loss against iteration and against training time."""

from __future__ import annotations

from itertools import accumulate

from matplotlib.figure import Figure

from pynode.figures.style import family_look, legend_below, new_figure, styled
from pynode.records.results import Results


@styled
def draw(results: Results) -> Figure | None:
    """Two panels: the best loss so far (thick) and the loss itself (thin), over iterations and over seconds."""
    runs = [run for run in results.runs if any(q is not None for q in run.quality())]
    if not runs:
        return None
    figure, (left, right) = new_figure(2, height=3.2)
    methods = list(dict.fromkeys(run.method for run in runs))
    settings = dict.fromkeys((run.method, run.setting) for run in runs)
    ranks = {s: [t for n, t in settings if n == m].index(s) for m, s in settings}
    faithful = runs[0].config["faithful"]
    for run in runs:
        seconds = list(accumulate(r.seconds for r in run.records))
        at = [i for i, q in enumerate(run.quality()) if q is not None]
        loss = [q for q in run.quality() if q is not None]
        best = list(accumulate(loss, min))
        name = run.setting if results.is_sweep else run.method
        look = family_look(run.method, ranks[run.setting], methods)
        for axes, x in ((left, [float(i) for i in at]), (right, [seconds[i] for i in at])):
            axes.plot(x, loss, color=look.color, linewidth=0.5, alpha=0.45)
            axes.plot(x, best, label=name, **look.line())
    for axes in (left, right):
        axes.set_yscale("log")
        axes.set_ylabel("training loss" if faithful else "validation loss")
    left.set_xlabel("iteration")
    left.set_title("against iteration")
    right.set_xscale("log")
    right.set_xlabel("training time (s)")
    right.set_title("against training time")
    left.set_xlim(left=0)
    figure.suptitle(f"{results.problem}: best loss so far (thin: at each iteration)", fontsize=10)
    legend_below(figure, left, columns=3 if results.is_sweep else 4)
    return figure
