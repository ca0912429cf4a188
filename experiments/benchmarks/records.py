"""Records of a benchmark: what tables and figures are made from, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from pynode.errors import UsageError
from pynode.records.content import is_there
from pynode.records.files import lines_if_any, read_object
from pynode.records.schema import Count, NonNegative, Positive, PositiveNumber, Seconds

Status = Literal["timed", "prepared", "refused", "skipped", "failed", "not entered"]

TIMED: Status = "timed"
PREPARED: Status = "prepared"
REFUSED: Status = "refused"
SKIPPED: Status = "skipped"
FAILED: Status = "failed"
UNFIT: Status = "not entered"
"""What became of an entrant: timed; prepared, but not timed yet; refused, since it computes something else; skipped,
since it is not installed or no time was left; failed; not entered, since the workload is not for it."""

ENVIRONMENT = "environment.json"
"""Command, machine and commit of a benchmark."""

MERE_CALL = 1e-2
"""Below so many operations, in 1e9, the time of a product is that of calling torch."""


class NoBenchmark(UsageError):
    """A directory holds no records of a benchmark."""


@dataclass(frozen=True)
class WorkloadRecord:
    """A workload in short, and the least work that its algorithm needs (see `ceilings`)."""

    name: str
    title: str
    unit: str
    method: str
    dtype: str
    threads: Positive
    device: str
    batch: Positive
    n_stages: Count
    n_params: Count
    axis: str = ""
    value: float = 0.0
    operations: NonNegative | None = None
    product_operations: NonNegative | None = None
    bytes: NonNegative | None = None
    products: list[list[Any]] = field(default_factory=list)
    module: str = ""


@dataclass(frozen=True)
class EntryRecord:
    """One entrant on one workload: whether it computes the same, and what comes before its clock.

    Of several records of one entrant on one workload the last one counts.

    `gradient_error` is relative, in float64, to the reference (Disc-Opt) or the continuous gradient (Opt-Disc), and may
    be `bound`; `timed_error` is that of the gradient in the type that is timed; `trained_error` that of the change of
    theta in a few iterations.  Seconds before the clock runs: `import_seconds` for its packages, `build_seconds` for
    model and data, `first_seconds` for the first unit of work with all compilation, `cached_seconds` for the same with
    compiled code on disk.  `engine`: pynode's engine that ran.  `peak_bytes`: bytes that torch's allocator takes of the
    GPU for a unit of work.
    """

    workload: str
    entrant: str
    status: Status
    reason: str | None = None
    loss: float | None = None
    gradient_error: NonNegative | None = None
    bound: NonNegative | None = None
    timed_error: NonNegative | None = None
    trained_error: NonNegative | None = None
    counts: dict[str, Count] = field(default_factory=dict)
    import_seconds: Seconds | None = None
    build_seconds: Seconds | None = None
    first_seconds: Seconds | None = None
    cached_seconds: Seconds | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    engine: str = ""
    peak_bytes: Count | None = None


@dataclass(frozen=True)
class RepeatRecord:
    """One turn of an entrant: `calls` units of work, the `seconds` of one (median) and their `mean`.

    `load_average` is the machine's over the last minute, after the turn, which is work itself; older records lack it.
    """

    workload: str
    entrant: str
    repeat: Count
    calls: Positive
    seconds: Seconds
    mean: Seconds
    load_average: NonNegative | None = None


@dataclass(frozen=True)
class CeilingRecord:
    """What the machine can do, measured in turn with the entrants: `rate` in 1e9 operations or bytes a second.

    `what` is "product" (of matrices m x k and k x n, `layout` as in `ceilings`) or "copy"; on a GPU also "launch" and
    "replay", kernels a second one by one and in a CUDA graph.  `precision` is that of products, where it is not full.
    """

    workload: str
    repeat: Count
    what: str
    sizes: list[Positive]
    layout: str
    rate: PositiveNumber
    precision: str = ""


@dataclass(frozen=True)
class MemoryRecord:
    """Peak bytes of one loss and gradient over `steps`, and what the way of keeping states allows.

    `gradient_error` is relative to the first way's, null where the gradient is another one.
    """

    workload: str
    way: str
    steps: Positive
    peak_bytes: Count
    bound_bytes: NonNegative | None
    gradient_error: NonNegative | None


FILES: dict[str, type[Any]] = {
    "workloads": WorkloadRecord,
    "entries": EntryRecord,
    "repeats": RepeatRecord,
    "ceilings": CeilingRecord,
    "memory": MemoryRecord,
}
"""A JSON-lines file for each kind."""


class ConfigKeys(TypedDict):
    """What config.json of a benchmark holds, beside options."""

    suite: str


class EnvironmentKeys(TypedDict, total=False):
    """What environment.json holds beside what every run records: the load average before anything was measured."""

    load_average: NonNegative | None


@dataclass(frozen=True)
class Benchmark:
    """A run directory read back."""

    config: dict[str, Any]
    workloads: list[WorkloadRecord]
    entries: list[EntryRecord]
    repeats: list[RepeatRecord]
    ceilings: list[CeilingRecord]
    memory: list[MemoryRecord]
    environment: dict[str, Any] = field(default_factory=dict)

    def seconds(self, workload: str) -> dict[str, list[float]]:
        """Seconds of one unit by entrant and turn, in the order of the entrants; without those that broke down."""
        broken = {e.entrant for e in self.entries if e.workload == workload and e.status != TIMED}
        by_entrant: dict[str, list[float]] = {}
        for record in self.repeats:
            if record.workload == workload and record.entrant not in broken:
                by_entrant.setdefault(record.entrant, []).append(record.seconds)
        return by_entrant


def path_of(directory: Path, kind: str) -> Path:
    """The file of one kind of record."""
    return directory / f"{kind}.jsonl"


def read(directory: Path) -> Benchmark:
    """Reads a run directory; raises `NoBenchmark` where there is none."""
    if not is_there(directory / "config.json") or not is_there(path_of(directory, "workloads")):
        raise NoBenchmark(f"{directory} holds no benchmark; pass the --out directory of an earlier one")
    parts = {kind: lines_if_any(path_of(directory, kind), record) for kind, record in FILES.items()}
    parts["entries"] = list({(entry.workload, entry.entrant): entry for entry in parts["entries"]}.values())
    config = read_object(directory / "config.json", ConfigKeys)
    return Benchmark(config, **parts, environment=read_environment(directory))


def read_environment(directory: Path) -> dict[str, Any]:
    """How a directory of `bench` or `cost-model` was made; empty where that is not recorded."""
    path = directory / ENVIRONMENT
    return read_object(path, EnvironmentKeys) if is_there(path) else {}


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """y = c x^exponent by least squares in the logarithms; `error` is the exponent's standard error."""

    exponent: float
    error: float
    factor: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of `values`."""
    low, middle, high = np.percentile(np.asarray(values), [25, 50, 75])
    return Spread(float(middle), float(low), float(high))


def ratios(values: Sequence[float], base: Sequence[float]) -> Spread | None:
    """`values` over `base`, turn by turn: what disturbs the machine for longer than a round falls out."""
    pairs = list(zip(values, base, strict=False))
    return spread([a / b for a, b in pairs]) if pairs else None


def power_law(x: Sequence[float], y: Sequence[float]) -> Fit | None:
    """The power law through the points; None for fewer than three."""
    if len(x) < 3:
        return None
    a, b = np.log(np.asarray(x)), np.log(np.asarray(y))
    centred = a - a.mean()
    slope = float(centred @ b / (centred @ centred))
    intercept = float(b.mean() - slope * a.mean())
    rest = b - intercept - slope * a
    error = float(np.sqrt(rest @ rest / (len(x) - 2) / (centred @ centred)))
    return Fit(slope, error, float(np.exp(intercept)))


@dataclass(frozen=True)
class Ceiling:
    """Measured rates in 1e9 a second: a square product, products in the workload's own mix (None: none), a copy."""

    square: float
    mix: float | None
    copy: float


def ceiling(benchmark: Benchmark, workload: WorkloadRecord, precision: str = "") -> Ceiling | None:
    """Medians over all turns; None where nothing was measured.  Products in `precision`, full where it is empty."""
    mine = [r for r in benchmark.ceilings if r.workload == workload.name]
    mine = [r for r in mine if r.what != "product" or r.precision == precision]
    if precision and not any(r.precision == precision for r in mine):
        return None
    if not mine:
        return None
    kinds: dict[tuple[str, tuple[int, ...], str], list[float]] = {}
    for record in mine:
        kinds.setdefault(_key(record), []).append(record.rate)
    middle = {key: spread(rates).middle for key, rates in kinds.items()}
    square = next(rate for (what, sizes, _), rate in middle.items() if what == "product" and len(set(sizes)) == 1)
    operations, seconds = 0.0, 0.0
    for m, k, n, layout, count in workload.products:
        rate = middle[("product", (m, k, n), layout)]
        operations += 2e-9 * m * k * n * count
        seconds += 2e-9 * m * k * n * count / rate
    copy = next(rate for (what, _, _), rate in middle.items() if what == "copy")
    calls = sum(count for *_, count in workload.products)
    return Ceiling(square, operations / seconds if operations > MERE_CALL * calls else None, copy)


def _key(record: CeilingRecord) -> tuple[str, tuple[int, ...], str]:
    return record.what, tuple(record.sizes), record.layout
