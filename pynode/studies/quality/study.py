"""RQ1: does Disc-Opt reach Opt-Disc's quality at lower training cost?"""

from __future__ import annotations

from functools import partial
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from matplotlib.figure import Figure

from pynode.records.runs import Run
from pynode.settings.known import rivals
from pynode.studies.base import Study, Table, number, over_seeds
from pynode.studies.losses import (
    OVER_WINDOWS,
    VALIDATION,
    against_normal,
    compared_loss,
    is_likelihood,
    recorded_loss,
    upper_limit,
)
from pynode.studies.quality.samples import (
    draw_density,
    draw_extrapolation,
    draw_marginals,
    draw_trajectories,
)
from pynode.studies.results import Results
from pynode.studies.style import family_look, headline, legend_below, log_ticks, looks, new_figure, styled
from pynode.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAST = "last_validation_loss"
"""The loss at the end of a run, from its records: a rate that stays high can leave it far above the best one."""

QUANTITIES = (
    ("best training loss", "best_loss", 1),
    ("best {loss}", "best_validation_loss", 1),
    ("last {loss}", LAST, 1),
    ("extrapolation MSE", "extrapolation_mse", 1),
    ("test NLL (nats)", "test_nll", 1),
    ("  solved as in training", "test_nll_as_trained", 1),
    ("  beyond the truth's own", "excess_nll", 1),
    ("  in the units of the file", "test_nll_raw", 1),
    ("  of a normal distribution, in these units", "test_nll_normal", 1),
    ("training NLL (nats, solved accurately)", "train_nll", 1),
    ("bits per dimension", "bits_per_dim", 1),
    ("squared MMD of samples", "mmd", 1),
    ("probability mass on the grid", "mass", 1),
    ("inverse error, data (solved accurately)", "inverse_data", 1),
    ("  solved as in training", "inverse_data_as_trained", 1),
    ("inverse error, base (solved accurately)", "inverse_base", 1),
    ("  solved as in training", "inverse_base_as_trained", 1),
    ("ms per iteration", "seconds_per_iteration", 1e3),
    ("  forward solve and loss", "seconds_forward", 1e3),
    ("  backward", "seconds_backward", 1e3),
    ("  optimiser", "seconds_optimiser", 1e3),
    ("  to Julia's process and back, of these", "seconds_bridge", 1e3),
    ("  sums with other ranks, waiting for them included", "seconds_exchange", 1e3),
    ("NFE-F per iteration", "nfe_forward", 1),
    ("NFE-B per iteration", "nfe_backward", 1),
    ("evaluations per iteration", "evaluations", 1),
    ("peak memory (KiB)", "peak_memory_bytes", 1 / 1024),
    ("{training} (s)", "training_seconds", 1),
)


FINE = (
    "best_loss",
    "best_validation_loss",
    LAST,
    "test_nll",
    "test_nll_as_trained",
    "test_nll_raw",
    "test_nll_normal",
    "train_nll",
    "bits_per_dim",
)
"""Quantities that need a digit more where losses are negative log-likelihoods, whose differences count."""

PARTS = (("seconds_forward", "forward"), ("seconds_backward", "backward"), ("seconds_optimiser", "optimiser"))

SOLVED = {
    VALIDATION: "validation solves the continuous problem accurately, alike for all",
    OVER_WINDOWS: "the training loss over long windows is that of an accurate solve, alike for all",
}
"""How the loss by which methods are compared is computed."""

SHADES = (1.0, 0.55, 0.2)


class Quality(Study):
    """Quality of the trained fields, and what an iteration costs."""

    name: ClassVar[str] = "quality"
    question: ClassVar[str] = "Does Disc-Opt reach Opt-Disc's inference quality at lower training cost?"

    SOURCES: ClassVar[str] = (
        "times are medians over iterations, NFE and evaluations (NFE + vector-Jacobian products) are means"
    )

    def tables(self, results: Results) -> list[Table]:
        groups = results.groups()
        if not groups or results.is_sweep:  # the accuracies of a sweep have a table of their own
            return []
        fine, loss = FINE if is_likelihood(results.runs) else (), recorded_loss(results.runs)
        words = {"loss": loss, "training": "training by Adam" if loss == OVER_WINDOWS else "whole training"}
        rows = []
        for title, key, scale in QUANTITIES:
            values = [over_seeds(runs, partial(_value, key=key, scale=scale)) for runs in groups.values()]
            if any(value is not None for value in values):  # a problem has some of the quantities only
                rows.append([title.format(**words), *(number(value, 4 if key in fine else 3) for value in values)])
        seeds = len({run.seed for runs in groups.values() for run in runs})
        lengths = {run.config["iterations"] for runs in groups.values() for run in runs}
        length = counted(max(lengths), "iteration") if len(lengths) == 1 else "runs of different length"
        if len(lengths) == 1 and any(_length(run) < max(lengths) for runs in groups.values() for run in runs):
            length = f"at most {length}"  # a run ends when its validation loss no longer falls
        notes = [
            f"{length}, {f'medians over {seeds} seeds' if seeds > 1 else 'one seed'}; {SOLVED[loss]}; {self.SOURCES}"
        ]
        notes += [note for runs in groups.values() for run in runs for note in _losses(run)]
        return [Table(f"RQ1 Quality and cost: {results.title}", ["", *groups], rows, notes)]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {
            "loss": draw_loss(results),
            "cost": draw_cost(results),
            "extrapolation": draw_extrapolation(results),
            "density": draw_density(results),
            "trajectories": draw_trajectories(results),
            "marginals": draw_marginals(results),
        }

    def finding(self, results: Results) -> str | None:
        groups = results.groups()
        pair = next((pair for pair in rivals() if set(pair) <= set(groups)), None)
        if pair is None:
            return None
        best = {
            n: over_seeds(r, lambda run: (run.summary or {}).get("best_validation_loss")) for n, r in groups.items()
        }
        seconds = {n: over_seeds(r, lambda run: (run.summary or {}).get("training_seconds")) for n, r in groups.items()}
        names = pair[::-1]
        if results.has_mixed_rows:
            return "The runs were trained on different rows, so their losses do not compare."
        disc, opt = (best[name] for name in names)
        loss = recorded_loss(results.runs)
        training = "The training by Adam, which L-BFGS finishes," if loss == OVER_WINDOWS else "The training"
        if disc is None or opt is None:
            return f"At least one method never reached a finite {loss}."
        iterations = max(_length(run) for name in names for run in groups[name])
        digits = 4 if is_likelihood(results.runs) else 3
        last = [number(over_seeds(groups[name], partial(_value, key=LAST, scale=1)), digits) for name in names]
        return (
            f"Within {counted(iterations, 'iteration')} the best {loss} of Disc-Opt is {number(disc, digits)} "
            f"and that of Opt-Disc {number(opt, digits)}; at the end they stand at {last[0]} and {last[1]}. {training} "
            f"took {number(seconds[names[0]])} s and {number(seconds[names[1]])} s."
            f"{'' if (told := against_normal(groups)) is None else f' {told}'}"
        )


def _losses(run: Run) -> list[str]:
    """Failed iterations, whose cost is counted, and lost records, whose cost is not."""
    summary = run.summary or {}
    notes = []
    if failed := summary.get("failed_iterations"):
        continued = f"and the run continued ({run.config['on_failure']})"
        notes.append(f"{run.label}: {counted(failed, 'iteration')} failed, {continued}")
    if lost := summary.get("lost_records"):
        notes.append(f"{run.label}: {lost} of its records are lost, so their costs are not counted")
    return notes


def _value(run: Run, key: str, scale: float) -> float | None:
    if key == LAST:
        value = next((loss for loss in reversed(run.quality()) if loss is not None), None)
    else:
        value = (run.summary or {}).get(key)
    return None if value is None else scale * value


def _length(run: Run) -> int:
    """Iterations of a finished run, which may have ended before those that were asked for."""
    return int((run.summary or {}).get("iterations") or run.config["iterations"])


@styled
def draw_loss(results: Results) -> Figure | None:
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
    kind = compared_loss(runs)
    panels[0].set_ylabel(f"{kind.replace('loss', 'NLL')} (nats)" if likelihood else kind)
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
    if not likelihood:
        log_ticks(*(axes.yaxis for axes in panels), *(axes.xaxis for axes in panels[1:]))
    headline(figure, f"{results.title}: best loss so far (thin: at each iteration)")
    legend_below(figure, panels[0], columns=3 if results.is_sweep else 4)
    return figure


@styled
def draw_cost(results: Results) -> Figure | None:
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
                rotation=90 if len(methods) > 2 else 0,  # bars are narrow then
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
    bars.set_ylim(low / 2, high * (2 if len(methods) <= 2 else 6))
    # more names have no room beside each other; the legend tells the colours
    names = ["\n\n\n\n\n" + name if len(methods) <= 2 else "" for name in methods]
    bars.set_xticks(range(len(methods)), names, fontsize=8)
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
    log_ticks(seconds.yaxis, nfe.yaxis)
    headline(figure, f"{results.title}: what an iteration costs")
    legend_below(figure, seconds)
    return figure
