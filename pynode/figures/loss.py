"""Loss against iteration, training time and field evaluations."""

from __future__ import annotations

from itertools import accumulate

from matplotlib.figure import Figure

from pynode.figures.style import family_look, legend_below, new_figure, styled
from pynode.records.results import Results
from pynode.records.scale import is_likelihood, upper_limit


@styled
def draw(results: Results) -> Figure | None:
    """Three panels: the best loss so far (thick) and the loss itself (thin), over iterations, over seconds and over
    NFE; linear for negative log-likelihoods, without the huge ones of the beginning."""
    runs = [run for run in results.runs if any(q is not None for q in run.quality())]
    if not runs:
        return None
    figure, panels = new_figure(3, height=3.2)
    methods = list(dict.fromkeys(run.method for run in runs))
    settings = dict.fromkeys((run.method, run.setting) for run in runs)
    ranks = {s: [t for n, t in settings if n == m].index(s) for m, s in settings}
    likelihood = is_likelihood(runs)
    for run in runs:
        seconds = list(accumulate(r.seconds for r in run.records))
        nfe = list(accumulate(r.nfe for r in run.records))
        at = [i for i, q in enumerate(run.quality()) if q is not None]
        loss = [q for q in run.quality() if q is not None]
        best = list(accumulate(loss, min))
        name = run.setting if results.is_sweep else run.method
        look = family_look(run.method, ranks[run.setting], methods)
        costs = [float(i) for i in at], [seconds[i] for i in at], [float(nfe[i]) for i in at]
        for axes, x in zip(panels, costs, strict=True):
            axes.plot(x, loss, color=look.color, linewidth=0.5, alpha=0.45)
            axes.plot(x, best, label=name, **look.line())
    if likelihood:
        losses = [q for run in runs for q in run.quality() if q is not None]
        low, high = min(losses), upper_limit(losses)
        for axes in panels:
            if low < high:
                axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    else:
        for axes in panels:
            axes.set_yscale("log")
    kind = "training" if runs[0].config["faithful"] else "validation"
    panels[0].set_ylabel(f"{kind} NLL (nats)" if likelihood else f"{kind} loss")
    for axes, title, label in zip(
        panels,
        ("against iteration", "against training time", "against evaluations"),
        ("iteration", "training time (s)", "NFE-F + NFE-B"),
        strict=True,
    ):
        axes.set_title(title)
        axes.set_xlabel(label)
    panels[0].set_xlim(left=0)
    for axes in panels[1:]:
        if likelihood:  # these settle, and where they do is best compared on a linear axis
            axes.set_xlim(left=0)
            axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5))
        else:
            axes.set_xscale("log")
    figure.suptitle(f"{results.problem}: best loss so far (thin: at each iteration)", fontsize=10)
    legend_below(figure, panels[0], columns=3 if results.is_sweep else 4)
    return figure
