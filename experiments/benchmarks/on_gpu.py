"""Tables and findings of the suite `gpu`, from records alone."""

from __future__ import annotations

from experiments.benchmarks.entrants.base import FULL, precision_of
from experiments.benchmarks.limits import LAUNCH, REPLAY
from experiments.benchmarks.load import load_of
from experiments.benchmarks.records import TIMED, Benchmark, WorkloadRecord, ceiling, ratios, spread
from experiments.benchmarks.tables import milliseconds
from pynode.studies.base import Table, number

BASE = "pynode-eager"
"""Whom all others are compared with, by products in full precision."""

GRAPHS = ("pynode-graph", "pynode-graph-iteration")
"""A solve and its gradient as CUDA graphs, and the whole iteration as one; they stand first in tables."""


def is_mine(benchmark: Benchmark) -> bool:
    """Whether these are records of the suite `gpu`."""
    return bool(benchmark.config.get("suite") == "gpu")


def tables(benchmark: Benchmark) -> list[Table]:
    """Times, shares of the ceilings, the ceilings, memory; those for which there are records."""
    if not is_mine(benchmark):
        return []
    timed = [w for w in benchmark.workloads if benchmark.seconds(w.name)]
    if not timed:
        return []
    made = [_times(benchmark, timed), _shares(benchmark, timed), _limits(benchmark, timed), _memory(benchmark, timed)]
    return [table for table in made if table.rows]


def speed_up(benchmark: Benchmark, workload: str, entrant: str, base: str = BASE) -> float | None:
    """How many times as fast as `base` an entrant is, the median of the turns; None where one of them has no time."""
    seconds = benchmark.seconds(workload)
    if entrant not in seconds or base not in seconds:
        return None
    ratio = ratios(seconds[base], seconds[entrant])
    return None if ratio is None else ratio.middle


def _entrants(benchmark: Benchmark, timed: list[WorkloadRecord]) -> list[str]:
    there = dict.fromkeys(name for w in timed for name in benchmark.seconds(w.name))
    return sorted(there, key=lambda name: (name.split()[0] not in GRAPHS, name))


def _times(benchmark: Benchmark, timed: list[WorkloadRecord]) -> Table:
    rows = []
    for entrant in _entrants(benchmark, timed):
        row = [entrant]
        for workload in timed:
            seconds = benchmark.seconds(workload.name).get(entrant)
            faster = speed_up(benchmark, workload.name, entrant)
            cell = "" if seconds is None else milliseconds(spread(seconds).middle)
            if faster is not None and entrant != BASE:
                cell += f" ({number(faster)} x)"
            row.append(cell)
        rows.append(row)
    notes = [
        f"ms of an iteration (for Opt-Disc, of loss and gradient), medians; in brackets how many times as fast as "
        f"{BASE} in full precision, turn by turn. tf32, bf16: precision of matrix products. "
        + "; ".join(f"{w.name}: {w.dtype}" for w in timed)
        + ".",
        load_of(benchmark, [w.name for w in timed]).note,
    ]
    return Table("On the GPU", ["", *(w.name for w in timed)], rows, notes)


def _shares(benchmark: Benchmark, timed: list[WorkloadRecord]) -> Table:
    """The rate of each entrant against the machine's rate for products in the same precision."""
    counted = [w for w in timed if w.operations]
    rows = []
    for entrant in _entrants(benchmark, counted):
        row = [entrant]
        for workload in counted:
            seconds = benchmark.seconds(workload.name).get(entrant)
            row.append("" if seconds is None else _share(benchmark, workload, entrant, spread(seconds).middle))
        rows.append(row)
    notes = [
        "Least operations of the algorithm (experiments/benchmarks/ceilings.py) over the time, in 1e12 a second; in "
        "brackets as a share of the rate of a square product / of products of the workload's own sizes, in the same "
        "precision."
    ]
    return Table("Share of the product ceiling", ["", *(w.name for w in counted)], rows, notes)


def _share(benchmark: Benchmark, workload: WorkloadRecord, entrant: str, seconds: float) -> str:
    precision = precision_of(" ".join(entrant.split()[1:]))
    limits = ceiling(benchmark, workload, "" if precision == FULL else precision)
    rate = 1e-9 * (workload.operations or 0.0) / seconds
    if limits is None:
        return number(1e-3 * rate)
    own = "–" if limits.mix is None else f"{100 * rate / limits.mix:.0f} %"
    return f"{number(1e-3 * rate)} ({100 * rate / limits.square:.0f} % / {own})"


def _limits(benchmark: Benchmark, timed: list[WorkloadRecord]) -> Table:
    """What the machine reached in this run."""
    kinds: dict[str, list[float]] = {}
    for record in benchmark.ceilings:
        workload = next((w for w in timed if w.name == record.workload), None)
        if workload is None:
            continue
        if record.what == "product" and len(set(record.sizes)) == 1:
            kinds.setdefault(f"product, {record.precision or workload.dtype}, 1e12 operations/s", []).append(
                1e-3 * record.rate
            )
        elif record.what == "copy":
            kinds.setdefault("copy, GB/s (read and written)", []).append(record.rate)
        elif record.what in (LAUNCH, REPLAY):
            name = "one by one" if record.what == LAUNCH else "in a CUDA graph"
            kinds.setdefault(f"kernels {name}, microseconds each", []).append(1e-3 / record.rate)
    rows = []
    for name, values in sorted(kinds.items()):
        middle = spread(values)
        rows.append([name, number(middle.middle), f"{number(middle.low)}–{number(middle.high)}"])
    sizes = [r.sizes[0] for r in benchmark.ceilings if r.what == "product" and len(set(r.sizes)) == 1]
    notes = [f"Measured by torch in the same run; products of square matrices of {max(sizes, default=0):,} rows."]
    return Table("Limits of the machine", ["", "median", "quartiles"], rows, notes)


def _memory(benchmark: Benchmark, timed: list[WorkloadRecord]) -> Table:
    peaks = {(e.workload, e.entrant): e.peak_bytes for e in benchmark.entries if e.status == TIMED and e.peak_bytes}
    entrants = [name for name in _entrants(benchmark, timed) if any((w.name, name) in peaks for w in timed)]
    rows = [[name, *(number(_mega(peaks.get((w.name, name)))) for w in timed)] for name in entrants]
    notes = ["MB that torch's allocator holds of the GPU while the work is done, beyond what it held before."]
    return Table("Memory on the GPU", ["", *(w.name for w in timed)], rows, notes)


def _mega(size: int | None) -> float | None:
    return None if size is None else 1e-6 * size


def findings(benchmark: Benchmark) -> list[str]:
    """Speed-ups by CUDA graphs, in full precision: a sentence for each of `GRAPHS` that was timed."""
    if not is_mine(benchmark):
        return []
    sentences = []
    for name in GRAPHS:
        factors = [(w.name, speed_up(benchmark, w.name, name)) for w in benchmark.workloads]
        known = [f"{number(factor)} on {workload}" for workload, factor in factors if factor is not None]
        if known:
            sentences.append(f"Speed-up of {name} over {BASE}: {', '.join(known)}.")
    return sentences
