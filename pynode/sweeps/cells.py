"""A cell of a sweep: one run, where it lies, and what it needs; errors of sweeps beside those of runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pynode.errors import PynodeError, UsageError
from pynode.records.runs import RUNS
from pynode.records.schema import NonNegative, Positive, convert
from pynode.wording import counted

ATTEMPTS, LOGS = "attempts", "logs"
"""Folders beside a problem's runs: when and where each cell was begun, and what its processes wrote to stderr."""


@dataclass(frozen=True)
class Cell:
    """`config` is the run's `RunConfig.to_json()`, `label` the name of its directory.

    `cpus` is an integer, and the number of threads; `gpus` may be a share of one.  `size` estimates the cost of one
    evaluation of the vector field on a batch: parameters times rows.
    """

    problem: str
    label: str
    config: dict[str, Any]
    cpus: Positive = 1
    gpus: NonNegative = 0
    size: Positive = 1

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
        """CPUs x iterations x size, by which the most expensive cells start first."""
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
        """The cell that `to_json` wrote; raises `ValueError` that names the wrong key for anything else."""
        cell = convert(data, cls)
        for key in ("problem", "label"):
            if (name := getattr(cell, key)) in ("", ".", "..") or "/" in name or "\0" in name:
                raise ValueError(f"{key}: {name!r} is no name of a folder")
        return cell


class SweepError(UsageError):
    """A grid that can't be run: the same cell twice, or two cells that would share a directory."""


class ExecutorUnavailable(UsageError):
    """An executor can't be used here: a package is missing, or no cluster answers at the address."""


class SweepInterrupted(PynodeError):
    """A signal ended a sweep; its exit status is that of a program ended by that signal, e.g. 130 for Ctrl-C."""

    def __init__(self, signal_number: int, finished: int, cells: int, out: Path) -> None:
        self.exit_status = 128 + signal_number
        super().__init__(
            f"interrupted with {finished} of {counted(cells, 'cell')} finished; what was recorded is kept, and the "
            f"same command with --resume --out {out} continues from the last checkpoints"
        )
