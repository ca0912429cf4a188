"""What each method spends until it first reaches a given loss."""

from __future__ import annotations

from matplotlib.figure import Figure

from pynode.figures.style import legend_below, looks, new_figure, styled
from pynode.records.cost import best_quality, spent_until
from pynode.records.results import Results
from pynode.records.scale import between, is_likelihood, upper_limit

N_LOSSES = 80


@styled
def draw(results: Results, matched: float | None) -> Figure | None:
    """Two panels: seconds and evaluations until a loss is reached, over the losses that were; `matched` is marked.

    Negative log-likelihoods are on linear axes, without the huge ones of the beginning.
    """
    runs = [run for run in results.runs if run.finished and best_quality(run) < float("inf")]
    if results.is_sweep or not runs or len({run.method for run in runs}) < 2:
        return None
    figure, (left, right) = new_figure(2, height=3.2)
    style = looks(run.method for run in runs)
    likelihood = is_likelihood(runs)
    limit = upper_limit([q for run in runs for q in run.quality() if q is not None])
    for run in runs:
        start = next(q for q in run.quality() if q is not None)
        if likelihood:
            start = min(start, limit)
        losses = between(start, best_quality(run), N_LOSSES, linear=likelihood)
        found = [(loss, spent_until(run, loss)) for loss in losses]
        kept = [(loss, spent) for loss, spent in found if spent is not None and spent.evaluations > 0]
        x = [loss for loss, _ in kept]
        left.plot(x, [s.seconds for _, s in kept], label=run.method, **style[run.method].line())
        right.plot(x, [s.evaluations for _, s in kept], label=run.method, **style[run.method].line())
    for axes in (left, right):
        if likelihood:
            axes.set_ylim(bottom=0)
            axes.locator_params(axis="x", nbins=5)
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5))
        else:
            axes.set_xscale("log")
            axes.set_yscale("log")
        axes.invert_xaxis()
        axes.set_xlabel(f"{'NLL (nats)' if likelihood else 'loss'} to reach (better to the right)")
        if matched is not None:
            axes.axvline(matched, color="black", linewidth=0.9, linestyle=":", label="matched loss")
    left.set_ylabel("training time (s)")
    left.set_title("time until reached")
    right.set_ylabel("NFE + vector-Jacobian products")
    right.set_title("evaluations until reached")
    figure.suptitle(f"{results.problem}: cost of reaching a loss", fontsize=10)
    legend_below(figure, left)
    return figure
