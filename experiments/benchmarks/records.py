"""Records of a benchmark: what tables and figures are made from, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.benchmarks.errors import NoBenchmark
from pynode.records.files import lines_if_any, read_json

TIMED, REFUSED, SKIPPED, FAILED, UNFIT = "timed", "refused", "skipped", "failed", "not entered"
"""What became of an entrant: timed; computes something else; not installed; broke down; no work for it."""


@dataclass(frozen=True)
class WorkloadRecord:
    """A workload in short, and the least work that its algorithm needs (see `counts`)."""

    name: str
    title: str
    unit: str
    method: str
    dtype: str
    threads: int
    device: str
    batch: int
    n_stages: int
    n_params: int
    axis: str = ""
    value: float = 0.0
    operations: float | None = None
    product_operations: float | None = None
    bytes: float | None = None
    products: list[list[Any]] = field(default_factory=list)


@dataclass(frozen=True)
class EntryRecord:
    """One entrant on one workload: whether it computes the same, and what comes before its clock.

    `gradient_error` is relative, in float64, to the reference (Disc-Opt) or the continuous gradient (Opt-Disc), and may
    be `bound`; `timed_error` is that of the numbers' type that is timed; `trained_error` that of the way which theta
    takes in a few iterations.  `import_seconds`: its packages; `build_seconds`: model and data; `first_seconds`: the
    first unit of work, with all compilation; `cached_seconds`: the same with compiled code on disk.
    """

    workload: str
    entrant: str
    status: str
    reason: str | None = None
    loss: float | None = None
    gradient_error: float | None = None
    bound: float | None = None
    timed_error: float | None = None
    trained_error: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    import_seconds: float | None = None
    build_seconds: float | None = None
    first_seconds: float | None = None
    cached_seconds: float | None = None
    versions: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RepeatRecord:
    """One turn of an entrant: `calls` units of work, the `seconds` of one (median) and their `mean`."""

    workload: str
    entrant: str
    repeat: int
    calls: int
    seconds: float
    mean: float


@dataclass(frozen=True)
class CeilingRecord:
    """What the machine can do, measured in turn with the entrants: `rate` in 1e9 operations or bytes a second.

    `what` is "product" (of matrices m x k and k x n, `layout` as in `counts`) or "copy".
    """

    workload: str
    repeat: int
    what: str
    sizes: list[int]
    layout: str
    rate: float


@dataclass(frozen=True)
class MemoryRecord:
    """Peak bytes of one loss and gradient over `steps`, and what the way of keeping states allows.

    `gradient_error` is relative to the first way's, null where the gradient is another one.
    """

    workload: str
    way: str
    steps: int
    peak_bytes: int
    bound_bytes: float | None
    gradient_error: float | None


FILES: dict[str, type[Any]] = {
    "workloads": WorkloadRecord,
    "entries": EntryRecord,
    "repeats": RepeatRecord,
    "ceilings": CeilingRecord,
    "memory": MemoryRecord,
}
"""A JSON-lines file for each kind."""


@dataclass(frozen=True)
class Benchmark:
    """A run directory read back."""

    config: dict[str, Any]
    workloads: list[WorkloadRecord]
    entries: list[EntryRecord]
    repeats: list[RepeatRecord]
    ceilings: list[CeilingRecord]
    memory: list[MemoryRecord]

    def seconds(self, workload: str) -> dict[str, list[float]]:
        """Seconds of one unit by entrant and turn, in the order of the entrants."""
        found: dict[str, list[float]] = {}
        for record in self.repeats:
            if record.workload == workload:
                found.setdefault(record.entrant, []).append(record.seconds)
        return found


def path_of(directory: Path, kind: str) -> Path:
    """The file of one kind of record."""
    return directory / f"{kind}.jsonl"


def read(directory: Path) -> Benchmark:
    """Reads a run directory; raises `NoBenchmark` where there is none."""
    if not (directory / "config.json").exists() or not path_of(directory, "workloads").exists():
        raise NoBenchmark(f"{directory} holds no benchmark; pass the --out directory of an earlier one")
    parts = {kind: lines_if_any(path_of(directory, kind), record) for kind, record in FILES.items()}
    return Benchmark(read_json(directory / "config.json"), **parts)
