"""Figures and findings of a run directory, from its records alone; writes them with its tables."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from experiments.benchmarks import on_gpu, own_modules
from experiments.benchmarks.kinds import parts
from experiments.benchmarks.records import Benchmark, MemoryRecord, WorkloadRecord, power_law, ratios, read, spread
from experiments.benchmarks.tables import base_of, families, milliseconds, points, tables
from pynode.studies.base import number
from pynode.studies.render import Rendered
from pynode.studies.render import write as write_files
from pynode.studies.style import PALETTE, Look, legend_below, looks, new_figure, styled

GREY = "#777777"


def draw(benchmark: Benchmark) -> dict[str, Figure | None]:
    """All figures by file name, None where there are no records."""
    return {
        "seconds": seconds(benchmark),
        "scaling": scaling(benchmark),
        "memory": memory(benchmark),
        "own-modules": own_modules.figure(benchmark),
    }


@styled
def seconds(benchmark: Benchmark) -> Figure | None:
    """A panel for each workload and kind of gradient: medians with quartiles, the fastest entrant at the top."""
    raced = [(w, *part) for w in benchmark.workloads if not w.axis for part in parts(benchmark, w)]
    if not raced:
        return None
    rows = [len(turns) for _, _, turns in raced]
    figure = Figure(figsize=(7.2, 0.27 * sum(rows) + 0.85 * len(raced)), layout="constrained")
    panels = figure.subplots(len(raced), 1, squeeze=False, height_ratios=[n + 0.6 for n in rows])[:, 0]
    for axes, (workload, title, turns) in zip(panels, raced, strict=True):
        _points(axes, workload, title, turns)
    return figure


def _points(axes: Axes, workload: WorkloadRecord, title: str, turns: dict[str, list[float]]) -> None:
    times = {name: spread(values) for name, values in turns.items()}
    order = sorted(times, key=lambda name: times[name].middle)
    base = base_of(turns)
    for k, name in enumerate(order):
        middle, low, high = (1e3 * v for v in (times[name].middle, times[name].low, times[name].high))
        color = PALETTE[0] if name.startswith("pynode") else GREY
        axes.plot([low, high], [k, k], color=color, linewidth=2.5, alpha=0.5)
        axes.plot([middle], [k], color=color, marker="o", markersize=5)
        ratio = None if base in (None, name) else ratios(turns[name], turns[str(base)])
        axes.annotate(
            f"{milliseconds(times[name].middle)} ms" + ("" if ratio is None else f"  ({number(ratio.middle)} x)"),
            (max(middle, high), k),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(order)), order)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xscale("log")
    lowest, highest = (1e3 * pick(e for t in times.values() for e in (t.low, t.high)) for pick in (min, max))
    # room for the numbers behind the last point
    axes.set_xlim(lowest / 1.4, highest * (4 * highest / lowest) ** 0.32)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, loc="left")
    threads = f"{workload.threads} thread{'s' * (workload.threads > 1)}"
    axes.set_xlabel(f"ms per {workload.unit}, {workload.dtype}, {threads}")


@styled
def scaling(benchmark: Benchmark) -> Figure | None:
    """A panel for each family: seconds against the number that varies, with fitted power laws."""
    chosen = families(benchmark)
    if not chosen:
        return None
    figure, panels = new_figure(len(chosen), height=3.4, width=max(4.0, 2.9 * len(chosen)))
    style = looks(dict.fromkeys(name for family in chosen.values() for name in points(benchmark, family)))
    for axes, (title, family) in zip(panels, chosen.items(), strict=True):
        ends = []
        for name, pairs in points(benchmark, family).items():
            x, y = zip(*pairs, strict=True)
            look, fit = style[name], power_law(x, y)
            shown = [1e3 * v for v in y]
            axes.plot(x, shown, color=look.color, marker=look.marker, linestyle="none", label=name)
            if fit is not None:
                line = [1e3 * fit.factor * v**fit.exponent for v in x]
                axes.plot(x, line, color=look.color, linewidth=1)
                ends.append((line[-1], x[-1], fit.exponent, look.color))
        for rank, (end, last, exponent, color) in enumerate(sorted(ends)):
            axes.annotate(
                f"{exponent:.2f}",
                (last, end),
                xytext=(5, 6 * (2 * rank - len(ends) + 1)),  # lines that end in one place stay readable
                textcoords="offset points",
                color=color,
                va="center",
                fontsize=8,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        values = sorted({w.value for w in family})
        shown_values = values if len(values) <= 5 else values[::2]
        axes.set_xticks(shown_values, [f"{v:g}" for v in shown_values])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(title)
        axes.set_xlabel(family[0].axis)
        axes.margins(x=0.2)
    panels[0].set_ylabel("ms per gradient")
    legend_below(figure, panels[0])
    return figure


@styled
def memory(benchmark: Benchmark) -> Figure | None:
    """Peak memory against steps by way, with what each way allows as lines; and what comes on top of a single step."""
    if not benchmark.memory:
        return None
    figure, (whole, beyond) = new_figure(2, height=3.6)
    ways = list(dict.fromkeys(r.way for r in benchmark.memory))
    style = looks(ways)
    one_step = min(r.peak_bytes for r in benchmark.memory if r.way == ways[0])
    for way in ways:
        mine = sorted((r for r in benchmark.memory if r.way == way), key=lambda r: r.steps)
        _measured(whole, mine, style[way], 1e-6, 0)
        # the others have no part in the second question: a line for all steps, or less than a single one
        if way != ways[0] and mine[-1].peak_bytes > one_step:
            _measured(beyond, mine, style[way], 1e-3, one_step)
    whole.plot([], [], color=GREY, linewidth=1, label="allowed")
    whole.set_yscale("log")
    whole.set_ylabel("peak, MB")
    beyond.set_ylabel("peak beyond one step's, kB")
    beyond.set_ylim(bottom=0)
    ticks = sorted({r.steps for r in benchmark.memory if r.way == ways[0]})
    for axes in (whole, beyond):
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.set_xlabel("steps")
    workload = next(w for w in benchmark.workloads if w.name == benchmark.memory[0].workload)
    figure.suptitle(workload.title, fontsize=10)
    legend_below(figure, whole, columns=5)
    return figure


def _measured(axes: Axes, records: list[MemoryRecord], look: Look, scale: float, base: int) -> None:
    steps = [r.steps for r in records]
    peaks = [scale * (r.peak_bytes - base) for r in records]
    axes.plot(steps, peaks, color=look.color, marker=look.marker, linestyle="none", label=records[0].way)
    bounds = [(r.steps, scale * (r.bound_bytes - base)) for r in records if r.bound_bytes is not None]
    axes.plot([n for n, _ in bounds], [b for _, b in bounds], color=look.color, linewidth=1)


def render(directory: Path, *, write: bool = True) -> Rendered:
    """Writes `directory`/tables.md and `directory`/figures/; raises `NoBenchmark` where there are no records.

    Writes nothing with `write=False`.
    """
    benchmark = read(directory)
    rendered = Rendered(
        tables=own_modules.tables(benchmark) + on_gpu.tables(benchmark) + tables(benchmark),
        findings=own_modules.findings(benchmark) + on_gpu.findings(benchmark) + findings(benchmark),
    )
    if write:
        rendered.paths += write_files(rendered.tables, draw(benchmark), directory)
    return rendered


def findings(benchmark: Benchmark) -> list[str]:
    """How much longer others take than the fused engine or the fastest, a sentence a workload and kind of gradient."""
    sentences = []
    for workload in (w for w in benchmark.workloads if not w.axis):
        for title, seconds in parts(benchmark, workload):
            base = base_of(seconds)
            others = [
                f"{name} {number(ratio.middle)} times ({number(ratio.low)} to {number(ratio.high)})"
                for name in seconds
                if base and name.split()[0] != base.split()[0]
                if (ratio := ratios(seconds[name], seconds[base])) is not None
            ]
            if others:
                sentences.append(f"{title}: against {base}, {', '.join(others)} as long (median and quartiles).")
    return sentences
