"""A cell of a sweep: one run, where it lies, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pynode.records.results import RUNS

ATTEMPTS, LOGS = "attempts", "logs"
"""Folders beside a problem's runs: when and where each cell was begun, and what its processes wrote to stderr."""


@dataclass(frozen=True)
class Cell:
    """`config` is the run's `RunConfig.to_json()`, `label` the name of its directory.

    `cpus` is whole, and the number of threads; `gpus` may be a share of one.
    """

    problem: str
    label: str
    config: Mapping[str, Any]
    cpus: int = 1
    gpus: float = 0

    @property
    def name(self) -> str:
        """Unique within the sweep."""
        return f"{self.problem}/{self.label}"

    @property
    def iterations(self) -> int:
        """Iterations that the run is to have."""
        return int(self.config["iterations"])

    def directory(self, out: Path) -> Path:
        """The run directory in the sweep's directory `out`."""
        return out / self.problem / RUNS / self.label

    def attempts(self, out: Path) -> Path:
        """The file that has a line for every process that began the run."""
        return out / self.problem / ATTEMPTS / f"{self.label}.jsonl"

    def log(self, out: Path) -> Path:
        """What the processes of a local sweep wrote to stderr."""
        return out / self.problem / LOGS / f"{self.label}.log"

    def to_json(self) -> dict[str, Any]:
        """Plain values; `Cell(**...)` gives the cell back."""
        return asdict(self)
