"""How busy the machine was during a benchmark: its load average before the first turn, and the highest at any turn.

Turns are work themselves, of as many threads as the workload has and of the process that asks for them: what the
machine did besides shows in the load before them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from experiments.benchmarks.records import Benchmark, RepeatRecord, path_of, read_environment
from pynode.records.files import lines_if_any
from pynode.studies.load import is_idle


@dataclass(frozen=True)
class Load:
    """Load averages over a minute, at the start and the highest at any turn; None where that is not recorded."""

    start: float | None = None
    highest: float | None = None

    @property
    def known(self) -> bool:
        """Whether any of it is recorded."""
        return (self.start, self.highest) != (None, None)

    @property
    def text(self) -> str:
        """In words for sentences and tables."""
        words = []
        if self.start is not None:
            words.append(f"{self.start:.2f}{'' if is_idle(self.start) else ' (not idle)'} at the start")
        if self.highest is not None:
            words.append(f"at most {self.highest:.2f} with the turns' own work")
        return ", ".join(words) or "not recorded"

    @property
    def note(self) -> str:
        """A sentence below a table."""
        return f"Load average of the machine: {self.text}."


def load_of(benchmark: Benchmark, workloads: Collection[str] | None = None) -> Load:
    """The load during the turns of some workloads; None stands for all."""
    turns = (r for r in benchmark.repeats if workloads is None or r.workload in workloads)
    return Load(benchmark.environment.get("load_average"), highest(turns))


def load_in(directory: Path) -> Load:
    """The load that a directory of `bench` or `cost-model` records."""
    repeats = lines_if_any(path_of(directory, "repeats"), RepeatRecord)
    return Load(read_environment(directory).get("load_average"), highest(repeats))


def highest(turns: Iterable[RepeatRecord]) -> float | None:
    """The highest load average of some turns; None where there is none, or one of them did not record it."""
    loads = [turn.load_average for turn in turns]
    known = [load for load in loads if load is not None]
    return max(known) if known and len(known) == len(loads) else None
