"""A results directory read back: runs, Taylor tests, gradient errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynode.errors import RecordError
from pynode.records.crosscheck import CrosscheckRecord
from pynode.records.files import lines_if_any, read_json
from pynode.records.gradient import GradientErrorRecord, TaylorRecord
from pynode.records.iteration import IterationRecord
from pynode.records.rediscretisation import RediscretisationRecord
from pynode.records.winners import StabilityRecord, WinnerRecord

RUNS, TAYLOR, ERRORS = "runs", "taylor.jsonl", "gradient_errors.jsonl"
REDISCRETISED, WINNERS, STABILITY = "rediscretisation.jsonl", "winners.jsonl", "stability.jsonl"
CROSSCHECK = "crosscheck.jsonl"

RECORDS = "records.jsonl"

LINES: dict[str, tuple[str, type[Any]]] = {
    # part of the results: its file, and the record that a line holds
    "taylor": (TAYLOR, TaylorRecord),
    "errors": (ERRORS, GradientErrorRecord),
    "rediscretised": (REDISCRETISED, RediscretisationRecord),
    "winners": (WINNERS, WinnerRecord),
    "stability": (STABILITY, StabilityRecord),
    "crosscheck": (CROSSCHECK, CrosscheckRecord),
}


@dataclass(frozen=True)
class Run:
    """One run directory: configuration, summary (None while it is unfinished), iterations, evaluation (or None)."""

    config: dict[str, Any]
    summary: dict[str, Any] | None
    records: list[IterationRecord]
    evaluation: dict[str, Any] | None
    label: str

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


@dataclass(frozen=True)
class Results:
    """All that a results directory holds; parts that were never made are empty.

    `parts`: results directories inside this one, by name, as a suite leaves them.
    """

    directory: Path
    runs: list[Run] = field(default_factory=list)
    taylor: list[TaylorRecord] = field(default_factory=list)
    errors: list[GradientErrorRecord] = field(default_factory=list)
    rediscretised: list[RediscretisationRecord] = field(default_factory=list)
    winners: list[WinnerRecord] = field(default_factory=list)
    stability: list[StabilityRecord] = field(default_factory=list)
    crosscheck: list[CrosscheckRecord] = field(default_factory=list)
    parts: dict[str, Results] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """Name of the problem all this is about; "map" for a sweep over several."""
        if self.winners:
            return "map"
        if self.runs:
            return str(self.runs[0].config["problem"])
        for name in LINES:
            for item in getattr(self, name):
                return str(item.problem)
        return "unknown"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing at all."""
        return not (self.runs or self.parts or any(getattr(self, name) for name in LINES))

    @property
    def is_sweep(self) -> bool:
        """Whether some method ran at several accuracies: then methods can't be compared as a whole."""
        return len({run.setting for run in self.runs}) > len({run.method for run in self.runs})

    def family_of(self, record: GradientErrorRecord) -> str:
        """The record's family, with its engine where not all ran on the same one: their seconds don't compare."""
        several = len({r.engine for r in self.errors} - {""}) > 1
        return f"{record.family} ({record.engine})" if several and record.engine else record.family

    def groups(self) -> dict[str, list[Run]]:
        """Finished runs that differ by their seed only, named by method, or by setting where there are several."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            if run.finished:
                found.setdefault(run.setting if self.is_sweep else run.method, []).append(run)
        return found


def load_run(directory: Path) -> Run:
    """Reads a run directory; raises `RecordError` where it is damaged."""
    config = read_json(directory / "config.json")
    if not isinstance(config, dict) or not {"problem", "method", "seed", "faithful", "iterations"} <= set(config):
        raise RecordError(f"{directory / 'config.json'} is no configuration of a run; remove or restore the run")
    path, evaluation, lines = directory / "summary.json", directory / "evaluation.json", records_of(directory)
    summary = _summary(path) if path.exists() else None
    records = lines_if_any(lines, IterationRecord)
    lost = 0 if summary is None else summary.get("lost_records", 0)
    if summary is not None and (lost < 0 or len(records) != summary["iterations"] - lost):
        raise RecordError(
            f"{lines} holds {len(records)} records, but {path.name} speaks of {summary['iterations']} iterations; "
            "resume the run to mend it, or restore the file"
        )
    return Run(config, summary, records, read_json(evaluation) if evaluation.exists() else None, directory.name)


def records_of(directory: Path) -> Path:
    """The file with a run's iterations, also where somebody has gzipped it to keep it."""
    plain, packed = directory / RECORDS, directory / f"{RECORDS}.gz"
    return packed if packed.exists() and not plain.exists() else plain


def _summary(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict) or not {"status", "iterations", "best_validation_loss"} <= set(found):
        raise RecordError(f"{path} is no summary of a run; delete it and resume the run")
    return found


def load_results(directory: Path) -> Results:
    """Reads a results directory; raises `RecordError` where it is damaged or holds nothing."""
    found = _load(directory)
    if found.is_empty:
        raise RecordError(f"{directory} holds no results; pass the --out directory of an earlier command")
    return found


def _load(directory: Path) -> Results:
    runs = [load_run(p.parent) for p in sorted((directory / RUNS).glob("*/config.json"))]
    lines = {name: lines_if_any(directory / file, kind) for name, (file, kind) in LINES.items()}
    inside = sorted(p.parent for p in directory.glob(f"*/{RUNS}") if p.is_dir())
    parts = {folder.name: _load(folder) for folder in inside}
    return Results(directory, runs, **lines, parts={name: part for name, part in parts.items() if not part.is_empty})
