"""Training at many accuracies: the loss reached against what the training cost."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from matplotlib.figure import Figure

from pynode.figures.style import family_look, legend_below, new_figure, styled
from pynode.records.results import Results
from pynode.records.scale import is_likelihood


@dataclass(frozen=True)
class Point:
    """One accuracy of one method, median over seeds: best validation loss, training seconds, all evaluations."""

    method: str
    label: str
    setting: str
    loss: float
    seconds: float
    evaluations: int


def points(results: Results) -> list[Point]:
    """One point per accuracy; empty unless some method was trained at several."""
    found = []
    for label, everything in results.groups().items() if results.is_sweep else ():
        runs = [run for run in everything if run.summary and run.summary["best_validation_loss"] is not None]
        if not runs:
            continue
        options = runs[0].config["method"]
        setting = f"{options['rtol']:.0e}" if "rtol" in options else f"x{options['steps']}"
        loss = median(run.summary["best_validation_loss"] for run in runs if run.summary)
        seconds = median(sum(r.seconds for r in run.records) for run in runs)
        evaluations = int(median(sum(r.evaluations for r in run.records) for run in runs))
        found.append(Point(runs[0].method, label, setting, loss, seconds, evaluations))
    return sorted(found, key=lambda p: (p.method, p.evaluations))


@styled
def draw(results: Results) -> Figure | None:
    """Two panels: best validation loss against training seconds and against evaluations, labelled by accuracy."""
    found = points(results)
    if not found:
        return None
    figure, (left, right) = new_figure(2, height=3.4)
    methods = list(dict.fromkeys(p.method for p in found))
    for method in methods:
        mine = [p for p in found if p.method == method]
        look = family_look(method, 0, methods)
        for axes, x in ((left, [p.seconds for p in mine]), (right, [float(p.evaluations) for p in mine])):
            axes.plot(x, [p.loss for p in mine], label=method, **look.points() | {"linestyle": "none"})
            for p, at in zip(mine, x, strict=True):
                axes.annotate(
                    p.setting, (at, p.loss), fontsize=6.5, color=look.color, xytext=(4, 3), textcoords="offset points"
                )
    for axes in (left, right):
        axes.set_xscale("log")
        if not is_likelihood(results.runs):
            axes.set_yscale("log")
        axes.set_ylabel("best validation loss")
    left.set_xlabel("training time (s)")
    right.set_xlabel("NFE + vector-Jacobian products")
    figure.suptitle(f"{results.problem}: training at many accuracies (label: rtol or steps)", fontsize=10)
    legend_below(figure, left)
    return figure
