"""The figure of a cost model, from its records alone."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

from experiments.scale.records import Model
from pynode.studies.style import looks, new_figure, styled

GREY = "#777777"


@styled
def draw(found: Model) -> Figure:
    """GPU hours of each problem by each method; hours of the whole study by GPUs; and, where it was checked, seconds of
    iterations and cells, predicted against measured."""
    checked = bool(found.trials)
    figure, panels = new_figure(2 + checked, width=9.6 if checked else 7.2, height=3.4)
    _hours(panels[0], found)
    _plans(panels[1], found)
    if checked:
        _check(panels[2], found)
    return figure


def _hours(axes: Axes, found: Model) -> None:
    problems = list(dict.fromkeys(c.problem for c in found.cells))
    methods = list(dict.fromkeys(c.method for c in found.cells))
    style = looks(methods)
    for rank, method in enumerate(methods):
        shift = 0.16 * (2 * rank - len(methods) + 1)
        for k, problem in enumerate(problems):
            by = {c.scenario: c.seconds / 3600 for c in found.cells if (c.problem, c.method) == (problem, method)}
            look = style[method]
            axes.plot([by["low"], by["high"]], [k + shift] * 2, color=look.color, linewidth=2.5, alpha=0.5)
            label = method if k == 0 else None
            axes.plot([by["central"]], [k + shift], color=look.color, marker=look.marker, linestyle="none", label=label)
    axes.set_yticks(range(len(problems)), problems)
    axes.set_ylim(len(problems) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlabel("GPU hours of a run (bar: low to high)")
    axes.set_title(f"one seed, one {found.config['device']}")
    axes.legend(loc="upper right")


def _plans(axes: Axes, found: Model) -> None:
    gpus = list(dict.fromkeys(p.gpus for p in found.plans))
    by = {(p.scenario, p.gpus): p for p in found.plans}
    color = looks(["study"])["study"].color
    low, central, high = ([by[s, n].makespan_hours for n in gpus] for s in ("low", "central", "high"))
    axes.fill_between(gpus, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(gpus, central, color=color, marker="o", label="with gangs")
    single = [by["central", n].single_hours for n in gpus]
    axes.plot(gpus, single, color=color, marker="s", markerfacecolor="white", linestyle=":", label="one GPU a cell")
    bound = [by["central", n].lower_bound_hours for n in gpus]
    axes.plot(gpus, bound, color=GREY, linestyle="--", linewidth=1, label="lower bound")
    for n, hours in zip(gpus, central, strict=True):
        axes.annotate(
            f"${by['central', n].cost:,.0f}",
            (n, hours),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(gpus, [str(n) for n in gpus])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    axes.set_xlabel("GPUs")
    axes.set_ylabel("hours (band: low to high)")
    axes.set_title(f"the whole study, {found.plans[0].cells if found.plans else 0} cells")
    axes.legend(loc="lower left")


def _check(axes: Axes, found: Model) -> None:
    style = looks(["disc-opt", "opt-disc"])
    pairs = [(t.predicted, t.measured) for t in found.trials] + [(r.predicted, r.measured) for r in found.runs]
    ends = [v for pair in pairs for v in pair]
    line = [min(ends) / 1.5, max(ends) * 1.5]
    axes.plot(line, line, color=GREY, linewidth=1)
    axes.fill_between(line, [v / 2 for v in line], [v * 2 for v in line], color=GREY, alpha=0.12, linewidth=0)
    for method, look in style.items():
        if method in {t.method for t in found.trials}:
            mine = [t for t in found.trials if t.held_out and t.method == method]
            axes.plot(
                [t.measured for t in mine],
                [t.predicted for t in mine],
                color=look.color,
                marker=look.marker,
                linestyle="none",
                label=f"iteration, {method}",
            )
    seen = [t for t in found.trials if not t.held_out]
    axes.plot(
        [t.measured for t in seen],
        [t.predicted for t in seen],
        color=GREY,
        marker=".",
        linestyle="none",
        label="fitted",
    )
    cells = [r for r in found.runs if r.at_once == 1]
    if cells:
        axes.plot(
            [r.measured for r in cells],
            [r.predicted for r in cells],
            color="black",
            marker="x",
            linestyle="none",
            label="cell",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("seconds measured")
    axes.set_ylabel("seconds predicted")
    axes.set_title("on this machine (band: factor 2)")
    axes.legend(loc="upper left")
