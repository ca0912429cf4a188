"""Tables, the figure and the findings of the suite `own-modules`, from records alone."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import geometric_mean, median

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from experiments.benchmarks.load import load_of
from experiments.benchmarks.records import TIMED, Benchmark, WorkloadRecord, ratios, spread
from experiments.benchmarks.tables import milliseconds
from pynode.studies.base import Table, number
from pynode.studies.style import MARKERS, PALETTE, legend_below, new_figure, styled

BASE = "pynode-auto"
"""Whom all others are compared with."""


def by_batch(benchmark: Benchmark) -> dict[int, list[WorkloadRecord]]:
    """The workloads in which `BASE` was timed, by batch size."""
    made: dict[int, list[WorkloadRecord]] = {}
    for workload in benchmark.workloads:
        if workload.module and BASE in benchmark.seconds(workload.name):
            made.setdefault(workload.batch, []).append(workload)
    return made


def times_as_long(benchmark: Benchmark, workloads: Iterable[WorkloadRecord]) -> dict[str, dict[str, float]]:
    """By entrant and module: how many times as long as `BASE` it takes, the median of the turns."""
    made: dict[str, dict[str, float]] = {}
    for workload in workloads:
        seconds = benchmark.seconds(workload.name)
        for name in seconds:
            ratio = ratios(seconds[name], seconds[BASE])
            if name != BASE and ratio is not None:
                made.setdefault(name, {})[workload.module] = ratio.middle
    return made


def tables(benchmark: Benchmark) -> list[Table]:
    """A table for each batch size, and one of first calls."""
    made = [_race(benchmark, batch, workloads) for batch, workloads in by_batch(benchmark).items()]
    return [*made, _first_calls(benchmark)] if made else []


def _race(benchmark: Benchmark, batch: int, workloads: list[WorkloadRecord]) -> Table:
    others = times_as_long(benchmark, workloads)
    engines = {e.workload: e.engine for e in benchmark.entries if e.entrant == BASE}
    rows = []
    for workload in workloads:
        seconds = benchmark.seconds(workload.name)[BASE]
        ratio_cells = [number(times.get(workload.module)) for times in others.values()]
        rows.append(
            [workload.module, engines.get(workload.name) or "–", milliseconds(spread(seconds).middle), *ratio_cells]
        )
    means = [f"{number(geometric_mean(times.values()))} ({len(times)})" for times in others.values()]
    rows.append(["geometric mean (modules)", "", "", *means])
    first = workloads[0]
    turns = len(benchmark.seconds(first.name)[BASE])
    notes = [
        f"{first.dtype}, threads: {first.threads}; a process each, {turns} turns in rotation. Engine and ms per loss "
        f"and gradient: {BASE}'s. Others: how many times as long, the median of the turns; –: not timed.",
        load_of(benchmark, [w.name for w in workloads]).note,
    ]
    return Table(f"Own modules, batch {batch}", ["", "engine", f"{BASE}, ms", *others], rows, notes)


def _first_calls(benchmark: Benchmark) -> Table:
    names = {w.name for w in benchmark.workloads if w.module}
    rows = []
    for entrant in dict.fromkeys(e.entrant for e in benchmark.entries):
        mine = [e for e in benchmark.entries if e.entrant == entrant and e.workload in names and e.status == TIMED]
        first, cached = (
            [s for e in mine if (s := getattr(e, kind)) is not None] for kind in ("first_seconds", "cached_seconds")
        )
        if first:
            row = [number(s[0], 2) for s in (first, cached) if s] + ["–"] * (not cached)
            later = [number(pick(s[1:]), 2) if s[1:] else "–" for s in (first, cached) for pick in (median, max)]
            rows.append([entrant, *row, *later])
    columns = ["", "very first", "cached", "median", "largest", "median, cached", "largest, cached"]
    notes = [
        "Seconds of the first loss and gradient, measured once, without imports. Very first: of the process, with all "
        "compilation and nothing on disk; cached: the same in a new process with compiled code on disk, for who keeps "
        "it. Median and largest: of all further modules and batch sizes in these processes."
    ]
    return Table("Own modules: first calls", columns, rows, notes)


@styled
def figure(benchmark: Benchmark) -> Figure | None:
    """A panel for each batch size: how many times as long as `BASE` others take, a row for each module."""
    groups = by_batch(benchmark)
    if not groups:
        return None
    ratios_by_batch = {batch: times_as_long(benchmark, workloads) for batch, workloads in groups.items()}
    names = dict.fromkeys(name for others in ratios_by_batch.values() for name in others)
    style = {name: (PALETTE[k % 6], MARKERS[k % 6]) for k, name in enumerate(names)}
    modules = list(dict.fromkeys(w.module for workloads in groups.values() for w in workloads))
    drawn, panels = new_figure(len(groups), height=1.3 + 0.24 * len(modules))
    for axes, (batch, others) in zip(panels, ratios_by_batch.items(), strict=True):
        axes.axvline(1.0, color="#777777", linewidth=1)
        for name, (color, marker) in style.items():
            # also where it was not timed here: the legend is made from one panel
            points = [(ratio, modules.index(module)) for module, ratio in others.get(name, {}).items()]
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(x, y, color=color, marker=marker, linestyle="none", label=name)
        axes.set_xscale("log")
        highest = max((ratio for times in others.values() for ratio in times.values()), default=1.0)
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if highest > 30 else (1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_yticks(range(len(modules)), modules if axes is panels[0] else [""] * len(modules))
        axes.set_ylim(len(modules) - 0.4, -0.6)
        axes.set_title(f"batch {batch}")
        axes.set_xlabel(f"times as long as {BASE}")
    legend_below(drawn, panels[0], columns=5)
    return drawn


def findings(benchmark: Benchmark) -> list[str]:
    """The geometric mean over modules of how much longer others take, a sentence for each batch size."""
    sentences = []
    for batch, workloads in by_batch(benchmark).items():
        others = times_as_long(benchmark, workloads)
        said = [f"{name} {number(geometric_mean(t.values()))} times ({len(t)} modules)" for name, t in others.items()]
        if said:
            sentences.append(f"own modules, batch {batch}: against {BASE}, {', '.join(said)} as long.")
    return sentences
