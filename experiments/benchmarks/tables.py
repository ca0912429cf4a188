"""Tables of a run directory, from its records alone."""

from __future__ import annotations

from experiments.benchmarks.kinds import parts, turns_won
from experiments.benchmarks.load import load_of
from experiments.benchmarks.records import (
    TIMED,
    Benchmark,
    EntryRecord,
    WorkloadRecord,
    ceiling,
    power_law,
    ratios,
    spread,
)
from pynode.studies.base import Table, number

BASE = "pynode-fused"
"""Whom all others are compared with, in its fastest variant, where it was timed; else the fastest."""


def tables(benchmark: Benchmark) -> list[Table]:
    """All tables for which there are records."""
    raced = [w for w in benchmark.workloads if not w.axis]
    made = [_race(benchmark, w, title, seconds) for w in raced for title, seconds in parts(benchmark, w)]
    profile = [] if benchmark.config.get("suite") == "gpu" else [_profile(benchmark)]  # `on_gpu` has its own
    made += [table for table in (*profile, _first_calls(benchmark)) if table.rows]
    made += _scaling(benchmark)
    made += _memory(benchmark)
    absent = _absent(benchmark)
    return made + ([absent] if absent.rows else [])


def base_of(seconds: dict[str, list[float]]) -> str | None:
    """The entrant that others are compared with."""
    names = [name for name in seconds if name.split()[0] == BASE] or list(seconds)
    return min(names, key=lambda name: spread(seconds[name]).middle, default=None)


def _race(benchmark: Benchmark, workload: WorkloadRecord, title: str, seconds: dict[str, list[float]]) -> Table:
    base = base_of(seconds)
    entries = {e.entrant: e for e in benchmark.entries if e.workload == workload.name}
    adaptive = workload.method == "opt-disc"
    rows = []
    for name in sorted(seconds, key=lambda n: spread(seconds[n]).middle):
        entry, times = entries[name], spread(seconds[name])
        row = [name, milliseconds(times.middle), f"{milliseconds(times.low)}–{milliseconds(times.high)}"]
        ratio = ratios(seconds[name], seconds[base]) if base else None
        row.append("–" if ratio is None else number(ratio.middle))
        row.append("–" if ratio is None else f"{number(ratio.low)}–{number(ratio.high)}")
        row.append("–" if base in (None, name) else turns_won(seconds[name], seconds[str(base)]))
        row.append("0" if entry.gradient_error == 0 else number(entry.gradient_error, 2))
        rows.append(row + ([_evaluations(entry)] if adaptive else []))
    columns = ["", "ms", "quartiles", "ratio", "quartiles", "turns won", "off by", *(["f/back/vjp"] * adaptive)]
    turns = len(next(iter(seconds.values())))
    notes = [
        f"ms per {workload.unit}, {workload.dtype}, {_threads(workload.threads)}; a process each, {turns} turns in "
        f"rotation. Ratio: over {base}, turn by turn; turns won: in how many it was faster than that. "
        "Off by: relative error of the gradient in float64, against "
        + ("the continuous problem's." if adaptive else "pynode's by torch operators.")
    ]
    if adaptive:
        notes.append("f: field evaluations forwards; back: in the backward pass; vjp: products. –: not told.")
    notes.append(load_of(benchmark, [workload.name]).note)
    return Table(title, columns, rows, notes)


def _evaluations(entry: EntryRecord) -> str:
    return "/".join(str(entry.counts.get(k, "–")) for k in ("nfe_forward", "nfe_backward", "n_vjp"))


def _first_calls(benchmark: Benchmark) -> Table:
    raced = {w.name for w in benchmark.workloads if not w.axis}
    rows = [
        [
            entry.entrant,
            entry.workload,
            number(entry.import_seconds, 2),
            number(entry.build_seconds, 2),
            number(entry.first_seconds, 2),
            number(entry.cached_seconds, 2),
        ]
        for entry in benchmark.entries
        if entry.status == TIMED and entry.first_seconds is not None and entry.workload in raced
    ]
    columns = ["", "workload", "import", "build", "first", "cached"]
    notes = [
        "Seconds before the clock runs, measured once. Import: of packages; build: model and data; first: the first "
        "unit of work with all compilation, nothing on disk; cached: again in a new process, for who keeps the code."
    ]
    return Table("First calls", columns, rows, notes)


def _threads(n: int) -> str:
    return "one thread" if n == 1 else f"{n} threads"


def milliseconds(value: float) -> str:
    """Seconds as milliseconds, three digits."""
    return number(1e3 * value)


def _profile(benchmark: Benchmark) -> Table:
    """A column for each workload."""
    columns: dict[str, list[str]] = {}
    for workload in (w for w in benchmark.workloads if not w.axis):
        limits, seconds = ceiling(benchmark, workload), benchmark.seconds(workload.name)
        base = base_of(seconds)
        if limits is None or base is None or workload.operations is None or workload.bytes is None:
            continue
        time = spread(seconds[base]).middle
        reached = 1e-9 * workload.operations / time
        columns[workload.name] = [
            f"{workload.dtype}, {_threads(workload.threads)}",
            base,
            number(1e-6 * workload.operations),
            number(1e-6 * workload.bytes),
            number(limits.square),
            number(limits.mix),
            number(limits.copy),
            milliseconds(1e-9 * workload.operations / (limits.mix or limits.square)),
            milliseconds(1e-9 * workload.bytes / limits.copy),
            milliseconds(time),
            number(reached),
            f"{100 * reached / limits.square:.0f} %",
            "–" if limits.mix is None else f"{100 * reached / limits.mix:.0f} %",
        ]
    quantities = [
        "numbers",
        "fastest of pynode's",
        "operations, 1e6",
        "bytes, 1e6",
        "ceiling: square product, GFLOP/s",
        "ceiling: products of these sizes, GFLOP/s",
        "ceiling: copy, GB/s",
        "ms if products were all",
        "ms if bytes were all",
        "ms measured",
        "GFLOP/s reached",
        "of the square product",
        "of products of these sizes",
    ]
    rows = [[name, *(column[k] for column in columns.values())] for k, name in enumerate(quantities)]
    notes = [
        "Least work of the algorithm (experiments/benchmarks/ceilings.py): products of the value, of tangents, and of "
        "their cotangents by input and by weights, without activations and Adam; bytes if nothing stayed in a cache. "
        "Ceilings: torch.mm (1024 x 1024, and the algorithm's own products weighted by their operations, where they "
        "are no mere calls) and a copy of 256 MB, with the same type and threads, in turn with the entrants."
    ]
    return Table("Profile", ["", *columns], rows if columns else [], notes)


def families(benchmark: Benchmark) -> dict[str, list[WorkloadRecord]]:
    """Workloads that differ in one number, by title."""
    made: dict[str, list[WorkloadRecord]] = {}
    for workload in benchmark.workloads:
        if workload.axis and not workload.module and benchmark.seconds(workload.name):
            made.setdefault(workload.title, []).append(workload)
    return made


def points(benchmark: Benchmark, family: list[WorkloadRecord]) -> dict[str, list[tuple[float, float]]]:
    """By entrant: the number that varies, and median seconds."""
    made: dict[str, list[tuple[float, float]]] = {}
    for workload in family:
        for name, seconds in benchmark.seconds(workload.name).items():
            made.setdefault(name, []).append((workload.value, spread(seconds).middle))
    return made


DECADES = 10**1.5
"""Over so large a factor at the upper end of a family its exponent is fitted again."""


def _scaling(benchmark: Benchmark) -> list[Table]:
    made = []
    for title, family in families(benchmark).items():
        rows = []
        for name, pairs in points(benchmark, family).items():
            x, y = zip(*pairs, strict=True)
            upper = [i for i, value in enumerate(x) if value >= 0.999 * x[-1] / DECADES]
            fit, large = power_law(x, y), power_law([x[i] for i in upper], [y[i] for i in upper])
            rows.append(
                [
                    name,
                    f"{x[0]:g} to {x[-1]:g}",
                    f"{milliseconds(y[0])} to {milliseconds(y[-1])}",
                    "–" if fit is None else f"{fit.exponent:.2f} ± {fit.error:.2f}",
                    "–" if large is None else f"{large.exponent:.2f} ± {large.error:.2f}",
                ]
            )
        columns = ["", family[0].axis, "ms per gradient", "exponent", "of the upper 1.5 decades"]
        notes = [
            f"{family[0].dtype}, {_threads(family[0].threads)}; least squares in the logarithms, with standard errors. "
            "At the lower end what does not grow, such as the start of a call, still shows.",
            load_of(benchmark, [w.name for w in family]).note,
        ]
        made.append(Table(f"Scaling: {title}", columns, rows, notes))
    return made


def _memory(benchmark: Benchmark) -> list[Table]:
    if not benchmark.memory:
        return []
    rows = []
    for way in dict.fromkeys(r.way for r in benchmark.memory):
        mine = {r.steps: r for r in benchmark.memory if r.way == way}
        within = all(r.bound_bytes is None or r.peak_bytes <= r.bound_bytes for r in mine.values())
        last = mine[max(mine)]
        fit = power_law(list(mine), [r.peak_bytes for r in mine.values()])
        rows.append(
            [
                way,
                f"{min(mine)}–{max(mine)}",
                f"{number(1e-6 * mine[min(mine)].peak_bytes)}–{number(1e-6 * last.peak_bytes)}",
                "–" if fit is None else f"{fit.exponent:.2f}",
                "–" if last.bound_bytes is None else number(1e-6 * last.bound_bytes),
                "yes" if within else "no",
            ]
        )
    columns = ["", "steps", "MB", "exponent", "MB allowed", "all within"]
    workload = next(w for w in benchmark.workloads if w.name == benchmark.memory[0].workload)
    notes = [
        "Peak bytes of the tensors of one loss and gradient by torch operators, float64. Allowed, with S the bytes of "
        "a state, P those of theta, M the peak of one step and R = M + 4 S + 2 P: store n M; recompute n S + R; "
        "checkpoint k: (k + 1) S + R; continuous adjoint: R. Allowed for the most steps."
    ]
    return [Table(workload.title, columns, rows, notes)]


def _absent(benchmark: Benchmark) -> Table:
    """Entrants that were not timed, with workloads of one reason together."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for entry in benchmark.entries:
        if entry.status != TIMED:
            reasons.setdefault((entry.entrant, entry.status, entry.reason or ""), []).append(entry.workload)
    rows = [[who, status, ", ".join(names), reason] for (who, status, reason), names in reasons.items()]
    return Table("Not timed", ["", "status", "workloads", "reason"], rows)
