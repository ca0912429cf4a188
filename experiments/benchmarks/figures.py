"""Figures of a benchmark, from its records alone."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from experiments.benchmarks.records import Benchmark, WorkloadRecord
from experiments.benchmarks.summary import power_law, spread
from experiments.benchmarks.tables import base_of, families, milliseconds, points
from pynode.figures.style import PALETTE, legend_below, looks, new_figure, styled

GREY = "#777777"


def draw(found: Benchmark) -> dict[str, Figure | None]:
    """All figures by file name, None where there are no records."""
    return {"seconds": seconds(found), "scaling": scaling(found), "memory": memory(found)}


@styled
def seconds(found: Benchmark) -> Figure | None:
    """A panel for each workload: the time of every entrant, quartiles as bars, the fastest at the top."""
    raced = [w for w in found.workloads if not w.axis and found.seconds(w.name)]
    if not raced:
        return None
    rows = [len(found.seconds(w.name)) for w in raced]
    figure = Figure(figsize=(7.2, 0.27 * sum(rows) + 0.85 * len(raced)), layout="constrained")
    panels = figure.subplots(len(raced), 1, squeeze=False, height_ratios=[n + 0.6 for n in rows])[:, 0]
    for axes, workload in zip(panels, raced, strict=True):
        _bars(axes, found, workload)
    return figure


def _bars(axes: Axes, found: Benchmark, workload: WorkloadRecord) -> None:
    times = {name: spread(values) for name, values in found.seconds(workload.name).items()}
    order = sorted(times, key=lambda name: times[name].middle)
    base = base_of(found.seconds(workload.name))
    for k, name in enumerate(order):
        middle, low, high = (1e3 * v for v in (times[name].middle, times[name].low, times[name].high))
        color = PALETTE[0] if name.startswith("pynode") else GREY
        axes.barh(k, middle, height=0.62, color=color, alpha=0.85)
        axes.plot([low, high], [k, k], color="black", linewidth=1)
        ratio = "" if base in (None, name) else f"  ({times[name].middle / times[str(base)].middle:.3g}x)"
        axes.annotate(
            f"{milliseconds(times[name].middle)} ms{ratio}",
            (max(middle, high), k),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(order)), order)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xscale("log")
    values = [1e3 * t.middle for t in times.values()]
    # room for the numbers behind the longest bar
    axes.set_xlim(min(values) / 2, max(values) * (max(values) / min(values) * 4) ** 0.28)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(
        f"{workload.title} ({workload.dtype}, {workload.threads} thread{'s' * (workload.threads > 1)})", loc="left"
    )
    axes.set_xlabel(f"ms per {workload.unit}")


@styled
def scaling(found: Benchmark) -> Figure | None:
    """A panel for each family: seconds against the number that varies, with fitted power laws."""
    chosen = families(found)
    if not chosen:
        return None
    figure, panels = new_figure(len(chosen), height=3.4, width=max(4.0, 2.9 * len(chosen)))
    style = looks(dict.fromkeys(name for family in chosen.values() for name in points(found, family)))
    for axes, (title, family) in zip(panels, chosen.items(), strict=True):
        for name, pairs in points(found, family).items():
            x, y = zip(*pairs, strict=True)
            look, fit = style[name], power_law(x, y)
            shown = [1e3 * v for v in y]
            axes.plot(x, shown, color=look.color, marker=look.marker, linestyle="none", label=name)
            if fit is not None:
                line = [1e3 * fit.factor * v**fit.exponent for v in x]
                axes.plot(x, line, color=look.color, linewidth=1)
                axes.annotate(
                    f"{fit.exponent:.2f}",
                    (x[-1], line[-1]),
                    xytext=(5, 0),
                    textcoords="offset points",
                    color=look.color,
                    va="center",
                    fontsize=8,
                )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=8))
        axes.set_title(title)
        axes.set_xlabel(family[0].axis)
        axes.margins(x=0.14)
    panels[0].set_ylabel("ms per gradient")
    legend_below(figure, panels[0])
    return figure


@styled
def memory(found: Benchmark) -> Figure | None:
    """Peak memory against steps by way, with what each way allows as thin lines."""
    if not found.memory:
        return None
    figure, (axes,) = new_figure(1, width=5.2, height=3.8)
    ways = list(dict.fromkeys(r.way for r in found.memory))
    style = looks(ways)
    for way in ways:
        mine = sorted((r for r in found.memory if r.way == way), key=lambda r: r.steps)
        steps = [r.steps for r in mine]
        axes.plot(
            steps,
            [1e-6 * r.peak_bytes for r in mine],
            color=style[way].color,
            marker=style[way].marker,
            linestyle="none",
            label=way,
        )
        bounds = [None if r.bound_bytes is None else 1e-6 * r.bound_bytes for r in mine]
        axes.plot(steps, [b for b in bounds if b is not None], color=style[way].color, linewidth=1)
    axes.plot([], [], color=GREY, linewidth=1, label="allowed")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted({r.steps for r in found.memory}), [str(n) for n in sorted({r.steps for r in found.memory})])
    axes.set_xlabel("steps")
    axes.set_ylabel("peak, MB")
    workload = next(w for w in found.workloads if w.name == found.memory[0].workload)
    axes.set_title(workload.title)
    legend_below(figure, axes, columns=3)
    return figure
