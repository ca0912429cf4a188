"""What each method spends until it first reaches a given loss."""

from __future__ import annotations

from matplotlib.figure import Figure

from pynode.figures.style import legend_below, looks, new_figure, styled
from pynode.records.cost import best_quality, spent_until
from pynode.records.results import Results

N_LOSSES = 80


@styled
def draw(results: Results, matched: float | None) -> Figure | None:
    """Two panels: seconds and evaluations until a loss is reached, over the losses that were; `matched` is marked."""
    runs = [run for run in results.runs if run.finished and best_quality(run) < float("inf")]
    if results.is_sweep or not runs or len({run.method for run in runs}) < 2:
        return None
    figure, (left, right) = new_figure(2, height=3.2)
    style = looks(run.method for run in runs)
    for run in runs:
        start, best = next(q for q in run.quality() if q is not None), best_quality(run)
        if not 0 < best < start:
            continue
        losses = [start * (best / start) ** (k / N_LOSSES) for k in range(N_LOSSES + 1)]
        found = [(loss, spent_until(run, loss)) for loss in losses]
        kept = [(loss, spent) for loss, spent in found if spent is not None and spent.evaluations > 0]
        x = [loss for loss, _ in kept]
        left.plot(x, [s.seconds for _, s in kept], label=run.method, **style[run.method].line())
        right.plot(x, [s.evaluations for _, s in kept], label=run.method, **style[run.method].line())
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.invert_xaxis()
        axes.set_xlabel("loss to reach (better to the right)")
        if matched is not None:
            axes.axvline(matched, color="black", linewidth=0.9, linestyle=":", label="matched loss")
    left.set_ylabel("training time (s)")
    left.set_title("time until reached")
    right.set_ylabel("NFE + vector-Jacobian products")
    right.set_title("evaluations until reached")
    figure.suptitle(f"{results.problem}: cost of reaching a loss", fontsize=10)
    legend_below(figure, left)
    return figure
