"""A run read back: its configuration, its iterations, its summary and its evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pynode.errors import RecordError
from pynode.records.content import is_there
from pynode.records.files import lines_if_any
from pynode.records.iteration import IterationRecord
from pynode.records.run_files import (
    CONFIG,
    EVALUATION,
    RESUME,
    SUMMARY,
    read_config,
    read_evaluation,
    read_summary,
    read_threads,
)

RUNS, RECORDS = "runs", "records.jsonl"
"""The folder with the runs of a results directory, and the file with the iterations of each."""


@dataclass(frozen=True)
class Run:
    """One run directory: configuration, summary (None while it is unfinished), iterations, evaluation (or None).

    `threads` are those of all its ranks together, the fewest of its sessions.
    """

    config: dict[str, Any]
    summary: dict[str, Any] | None
    records: list[IterationRecord]
    evaluation: dict[str, Any] | None
    label: str
    threads: int = 1

    @property
    def method(self) -> str:
        """Name of the gradient method, and whether it went through levels."""
        return str(self.config["method"]["method"]) + ("-multilevel" if self.config.get("multilevel") else "")

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config["seed"])

    @property
    def setting(self) -> str:
        """The label without the seed: one method at one accuracy."""
        return self.label.rpartition("-seed")[0] or self.label

    @property
    def finished(self) -> bool:
        """Whether the run reached its last iteration."""
        return self.summary is not None and self.summary["status"] == "finished"

    def quality(self) -> list[float | None]:
        """Per iteration the loss by which runs are compared: validated, or as trained where the study did so."""
        if self.config["faithful"]:
            return [r.loss for r in self.records]
        return [r.validation_loss for r in self.records]


def load_run(directory: Path) -> Run:
    """Reads a run directory; raises `RecordError` where it is damaged."""
    config = read_config(directory)
    lines = records_of(directory)
    summary = read_summary(directory) if is_there(directory / SUMMARY) else None
    records = lines_if_any(lines, IterationRecord, RESUME)
    end = config["iterations"] if summary is None else summary["iterations"]
    lost = 0 if summary is None else summary.get("lost_records", 0)
    if summary is not None and len(records) != end - lost:
        raise RecordError(
            f"{lines} holds {len(records)} records, but {SUMMARY} speaks of {end} iterations, {lost} of them lost; "
            f"{RESUME}"
        )
    if not in_order(records, end):
        raise RecordError(f"{lines}: its iterations are not in order, or not below {end}; {RESUME}")
    evaluation = read_evaluation(directory) if is_there(directory / EVALUATION) else None
    return Run(config, summary, records, evaluation, directory.name, read_threads(directory))


def in_order(records: Sequence[IterationRecord], end: int) -> bool:
    """Whether the iterations of `records` grow, and all lie below `end`."""
    iterations = [record.iteration for record in records]
    return all(a < b for a, b in pairwise([*iterations, end]))


def records_of(directory: Path) -> Path:
    """The file with a run's iterations, also where somebody has gzipped it to keep it."""
    plain, packed = directory / RECORDS, directory / f"{RECORDS}.gz"
    return packed if is_there(packed) and not is_there(plain) else plain


def run_folders(directory: Path) -> list[Path]:
    """The run directories of a results directory: all folders in its runs/ that hold a file of a run."""
    files = (CONFIG, SUMMARY, RECORDS, f"{RECORDS}.gz")
    return sorted(folder for folder in (directory / RUNS).glob("*") if any(is_there(folder / file) for file in files))
