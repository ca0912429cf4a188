"""RQ2: how accurate is each gradient when the solver is coarse, and what does it cost?"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pynode.studies.base import Study, Table, accuracy, number
from pynode.studies.gradients.accuracy import ROW, at_weights, by_weights, draw_accuracy, family_looks
from pynode.studies.gradients.precision_table import precision_table
from pynode.studies.gradients.record import STEADY, UNTRAINED, GradientErrorRecord
from pynode.studies.losses import is_likelihood, recorded_loss
from pynode.studies.results import Results
from pynode.studies.style import (
    Label,
    Look,
    family_look,
    headline,
    label_points,
    legend_below,
    log_ticks,
    looks,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Gradients(Study):
    """Gradient errors, Taylor tests, and training at many accuracies."""

    name: ClassVar[str] = "gradients"
    question: ClassVar[str] = "How accurate is each gradient when the solver is coarse?"

    def tables(self, results: Results) -> list[Table]:
        tables = [
            _taylor_table(results),
            _error_table(results),
            precision_table(results.precisions, results.title),
            _sweep_table(results),
        ]
        return [table for table in tables if table]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {
            "taylor": draw_taylor(results),
            "gradient_error": draw_errors(results),
            "gradient_accuracy": draw_accuracy(results),
            "sweep": draw_sweep(results),
        }

    def finding(self, results: Results) -> str | None:
        exact = [r.error_discrete for r in results.errors if r.method == "disc-opt" and r.error_discrete is not None]
        wrong = [r.error_discrete for r in results.errors if r.method == "opt-disc-fixed" and r.error_discrete]
        if not exact or not wrong:
            return None
        return (
            f"Disc-Opt's gradient is that of its own loss to {max(exact):.0e} at every step size, while Opt-Disc on "
            f"the same grid is off by {number(min(wrong), 2)} to {number(max(wrong), 2)}."
        )


def _taylor_table(results: Results) -> Table | None:
    if not results.taylor:
        return None
    rows = [
        [r.label, _slope(r.slope_e1), r.verdict.partition(":")[0], "–" if r.bound is None else f"{r.bound:.0e}"]
        for r in results.taylor
    ]
    notes = ["E1 falls with slope 2 if the gradient is that of the loss as computed; E1 / E0 bounds its error."]
    return Table(f"RQ2 Taylor test: {results.title}", ["method", "slope of E1", "verdict", "E1 / E0"], rows, notes)


def _slope(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _error_table(results: Results) -> Table | None:
    if not results.errors:
        return None
    rows = [[results.family_of(r), accuracy(r.setting, adaptive=r.adaptive), *_values(r)] for r in results.errors]
    columns = ["method", "accuracy", "error", "error (own loss)", "NFE-F", "NFE-B", "VJPs", "ms"]
    notes = [
        "error: relative to the gradient of the continuous problem, known to "
        f"{number(max(r.reference_uncertainty for r in results.errors), 2)}.",
        "error (own loss): relative to finite differences of the loss as this method computes it.",
    ]
    timed = [r for r in results.errors if r.scatter is not None]
    if timed:
        engines = ", ".join(sorted({r.engine for r in timed if r.engine}))
        by = f", by {engines}" if engines else ""
        loads = [r.load for r in timed if r.load is not None]
        load = f"; load average of the machine {number(min(loads), 2)} to {number(max(loads), 2)}" if loads else ""
        notes.append(
            f"ms: median of repeats{by}{load}; marked * where they scatter by more than "
            f"{100 * STEADY:.0f} % (interquartile range over median)."
        )
    if samples := sorted({r.samples for r in results.errors if r.samples > 1}):
        weights = ", ".join(f"{n:,}" for n in sorted({r.n_params for r in results.errors}))
        notes.append(f"A batch of {', '.join(map(str, samples))} samples; {weights} weights.")
    if len(by_weights(results.errors)) > 1:
        columns.insert(0, "weights")
        rows = [[r.weights, *row] for row, r in zip(rows, results.errors, strict=True)]
    elif (only := results.errors[0].weights) not in ("", UNTRAINED):
        notes.append(f"At weights {at_weights(only)}.")
    if any(r.drift is not None for r in results.errors):  # records of earlier versions know none
        columns.append("drift")
        rows = [[*row, _drift(r)] for row, r in zip(rows, results.errors, strict=True)]
        notes.append(
            "drift: the distance of the state that the adjoint solves backwards from the stored one, in tolerances; "
            "the largest over output times and samples."
        )
    return Table(f"RQ2 Gradient error and its cost: {results.title}", columns, rows, notes, long=True)


def _values(record: GradientErrorRecord) -> list[str]:
    if record.failure:
        return ["failed", *["–"] * 5]
    counts = [f"{n:,}" for n in (record.nfe_forward, record.nfe_backward, record.n_vjp)]
    own = "–" if record.error_discrete is None else f"{record.error_discrete:.1e}"
    error = "–" if record.error is None else f"{record.error:.1e}"
    time = number(None if record.seconds is None else 1000 * record.seconds)
    return [error, own, *counts, time if record.is_steady else f"{time} *"]


def _drift(record: GradientErrorRecord) -> str:
    return "–" if record.drift is None else f"{record.drift:.1e}"


def _sweep_table(results: Results) -> Table | None:
    points = sweep_points(results)
    if not points:
        return None
    rows = [[p.label, number(p.loss), number(p.seconds), f"{p.evaluations:,}"] for p in points]
    columns = ["run", "best validation", "training s", "evaluations"]
    return Table(f"RQ2 Training at many accuracies: {results.title}", columns, rows)


@styled
def draw_taylor(results: Results) -> Figure | None:
    """One panel a method: E0, E1, lines of slope 1 and 2, and the sizes to which the slopes were fitted."""
    tests = results.taylor
    if not tests:
        return None
    figure, panels = new_figure(len(tests), width=max(3.6, 2.4 * len(tests)), height=3.2)
    style = looks(t.method for t in tests)
    smallest = min((e for t in tests for e in t.e1 if e), default=1e-16)
    for axes, test in zip(panels, tests, strict=True):
        color = style[test.method].color
        for values, marker, name in ((test.e0, "o", "$E_0$"), (test.e1, "s", "$E_1$")):
            kept = [(h, e) for h, e in zip(test.h, values, strict=True) if e]
            filled = color if name == "$E_1$" else "white"
            axes.plot(
                [h for h, _ in kept],
                [e for _, e in kept],
                marker=marker,
                markersize=3.5,
                linewidth=0.8,
                color=color,
                markerfacecolor=filled,
                label=name,
            )
        _references(axes, test.h, test.e0, test.e1)
        first, last = test.fitted
        if last > first:
            axes.axvspan(test.h[last - 1] / 1.3, test.h[first] * 1.3, color="#eeeeee", zorder=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(bottom=smallest / 5)
        axes.set_xlabel("relative step h")
        slope = "–" if test.slope_e1 is None else f"{test.slope_e1:.2f}"
        axes.set_title(f"{test.method}\nslope of $E_1$: {slope}")
    panels[0].set_ylabel("remainder of the loss")
    headline(figure, f"{results.title}: Taylor test of the gradient (slopes fitted where shaded)")
    legend_below(figure, panels[0])
    return figure


def _references(axes: Axes, h: list[float], e0: list[float | None], e1: list[float | None]) -> None:
    """Thin black lines of slope 1 and 2, a little below the remainders at the third size or the next that is known."""
    for values, slope, dashes in ((e0, 1, "--"), (e1, 2, ":")):
        at, start = next(((k, v) for k, v in enumerate(values) if k >= 2 and v), (0, None))
        if start is not None:
            line = [0.4 * start * (x / h[at]) ** slope for x in h]
            axes.plot(h, line, color="black", linewidth=0.7, linestyle=dashes, label=f"slope {slope}")


@styled
def draw_errors(results: Results) -> Figure | None:
    """Relative error against evaluations and against seconds, one curve a family; a row for each set of weights."""
    records = [r for r in results.errors if r.error]
    if not records:
        return None
    parts = by_weights(records)
    figure, panels = new_figure(2, rows=len(parts), height=1.2 + ROW * len(parts))
    looks_of = family_looks(results, records)
    labels = {
        left: _draw_costs(results, (left, right), part, looks_of)
        for left, right, part in zip(panels[::2], panels[1::2], parts.values(), strict=True)
    }
    for left, right, weights in zip(panels[::2], panels[1::2], parts, strict=True):
        where = at_weights(weights)
        left.set_title(where or "ends labelled by rtol or by steps per interval", fontsize=8.5)
        right.set_title(f"{where}\nagainst time" if where else "against time", fontsize=8.5)
    note = "" if "" in parts else "\nends labelled by rtol or by steps per interval"
    headline(figure, f"{results.title}: gradient error against the continuous problem's gradient{note}")
    legend_below(figure, panels[0], columns=3)
    for left, listed in labels.items():
        label_points(figure, left, listed)
    return figure


def _draw_costs(
    results: Results, panels: tuple[Axes, Axes], records: list[GradientErrorRecord], looks_of: dict[str, Look]
) -> list[Label]:
    """Error against evaluations and against milliseconds; labels of the ends of the curves in the first panel.

    Times that scatter too much are not drawn.
    """
    left, right = panels
    families: dict[str, list[GradientErrorRecord]] = {}
    labels: list[Label] = []
    for record in records:
        families.setdefault(results.family_of(record), []).append(record)
    for name, curve in families.items():
        steady = [r for r in curve if r.is_steady]
        look = looks_of[name]
        left.plot([r.evaluations for r in curve], [r.error or 0.0 for r in curve], label=name, **look.points())
        times = [1000 * (r.seconds or 0.0) for r in steady]
        right.plot(times, [r.error or 0.0 for r in steady], label=name, **look.points())
        for record in (curve[0], curve[-1]):
            text = f"{record.setting:.0e}" if record.adaptive else f"{record.setting:.0f}"
            labels.append(Label(text, (record.evaluations, record.error or 0.0), look.color))
    uncertainty = max(r.reference_uncertainty for r in records)
    for axes in panels:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.axhline(uncertainty, color="black", linewidth=0.8, linestyle=":", label="reference uncertainty")
        axes.set_ylabel("relative error of the gradient")
    left.set_xlabel("evaluations (NFE + vector-Jacobian products)")
    for axes, costs in (
        (left, [float(r.evaluations) for r in records if r.evaluations]),
        (right, [r.seconds for r in records if r.seconds]),
    ):
        _scale_costs(axes, costs)
    unsteady = sum(not r.is_steady for r in records)
    left_out = f"\nleft out, since times scatter: {unsteady}" if unsteady else ""
    right.set_xlabel(f"loss and gradient (ms){left_out}")
    return labels


def _scale_costs(axes: Axes, costs: list[float]) -> None:
    """Numbers at the powers of ten of the logarithmic axis of costs, or at 1, 2, 5 of each where that is too few."""
    if costs:
        log_ticks(axes.xaxis)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter("{x:g}")


@dataclass(frozen=True)
class Point:
    """One accuracy of one method, median over seeds: best validation loss, training seconds, all evaluations."""

    method: str
    label: str
    setting: str
    loss: float
    seconds: float
    evaluations: int


def sweep_points(results: Results) -> list[Point]:
    """One point per accuracy; empty unless some method was trained at several."""
    points = []
    for label, everything in results.groups().items() if results.is_sweep else ():
        runs = [run for run in everything if run.summary and run.summary["best_validation_loss"] is not None]
        if not runs:
            continue
        options = runs[0].config["method"]
        setting = f"{options['rtol']:.0e}" if "rtol" in options else f"x{options['steps']}"
        loss = median(run.summary["best_validation_loss"] for run in runs if run.summary)
        seconds = median(sum(r.seconds for r in run.records) for run in runs)
        evaluations = int(median(sum(r.evaluations for r in run.records) for run in runs))
        points.append(Point(runs[0].method, label, setting, loss, seconds, evaluations))
    return sorted(points, key=lambda p: (p.method, p.evaluations))


@styled
def draw_sweep(results: Results) -> Figure | None:
    """Two panels: best validation loss against training seconds and against evaluations, labelled by accuracy."""
    points = sweep_points(results)
    if not points:
        return None
    figure, (left, right) = new_figure(2, height=3.4)
    methods = list(dict.fromkeys(p.method for p in points))
    labels: dict[Axes, list[Label]] = {left: [], right: []}
    for method in methods:
        mine = [p for p in points if p.method == method]
        look = family_look(method, 0, methods)
        for axes, x in ((left, [p.seconds for p in mine]), (right, [float(p.evaluations) for p in mine])):
            axes.plot(x, [p.loss for p in mine], label=method, **look.points() | {"linestyle": "none"})
            labels[axes] += [Label(p.setting, (at, p.loss), look.color) for p, at in zip(mine, x, strict=True)]
    for axes, costs in ((left, [p.seconds for p in points]), (right, [float(p.evaluations) for p in points])):
        axes.set_xscale("log")
        _scale_costs(axes, [cost for cost in costs if cost > 0])
        if not is_likelihood(results.runs):
            axes.set_yscale("log")
            log_ticks(axes.yaxis)
        axes.set_ylabel(f"best {recorded_loss(results.runs)}")
    left.set_xlabel("training time (s)")
    right.set_xlabel("NFE + vector-Jacobian products")
    headline(figure, f"{results.title}: training at many accuracies (label: rtol or steps)")
    legend_below(figure, left)
    for axes, listed in labels.items():
        label_points(figure, axes, listed)
    return figure
