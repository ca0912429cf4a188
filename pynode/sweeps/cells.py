"""A cell of a sweep: one run, where it lies, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pynode.errors import RecordError
from pynode.records.results import RUNS

ATTEMPTS, LOGS = "attempts", "logs"
"""Folders beside a problem's runs: when and where each cell was begun, and what its processes wrote to stderr."""


@dataclass(frozen=True)
class Cell:
    """`config` is the run's `RunConfig.to_json()`, `label` the name of its directory.

    `cpus` is whole, and the number of threads; `gpus` may be a share of one.  `size` is what one evaluation of the
    vector field on a batch costs, roughly: parameters times rows.
    """

    problem: str
    label: str
    config: Mapping[str, Any]
    cpus: int = 1
    gpus: float = 0
    size: int = 1

    @property
    def name(self) -> str:
        """Unique within the sweep."""
        return f"{self.problem}/{self.label}"

    @property
    def iterations(self) -> int:
        """Iterations that the run is to have."""
        return int(self.config["iterations"])

    @property
    def work(self) -> int:
        """CPUs x iterations x size: by this the dearest cells begin first, so that none is left over alone."""
        return self.cpus * self.iterations * self.size

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
        """Plain values; `from_json` gives the cell back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Cell:
        """The cell that `to_json` wrote; raises `RecordError` for anything else."""
        known = {f.name for f in fields(cls)}
        if not isinstance(data, Mapping) or not {"problem", "label", "config"} <= set(data):
            raise RecordError("a cell lacks its problem, label or config")
        if unknown := sorted(set(data) - known):
            raise RecordError(f"a cell has {', '.join(unknown)}, which this version of pynode does not know")
        if not isinstance(data["config"], Mapping) or not all(isinstance(data[k], str) for k in ("problem", "label")):
            raise RecordError("a cell's problem or label is no text, or its config no table")
        return cls(**data)


def counted(cells: int) -> str:
    """So many cells, in words."""
    return f"{cells} cell" if cells == 1 else f"{cells} cells"
