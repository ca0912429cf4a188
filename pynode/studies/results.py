"""A results directory read back: runs, Taylor tests, gradient errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pynode.errors import RecordError, UnknownName
from pynode.methods import METHODS
from pynode.records.files import RESTORE, lines_if_any
from pynode.records.runs import RUNS, Run, load_run, run_folders
from pynode.records.table_data import are_mixed, common_mark, marked
from pynode.studies.advice.record import AdviceRecord, AdviceWeights
from pynode.studies.crosscheck.record import CrosscheckRecord
from pynode.studies.gradients.record import GradientErrorRecord, PrecisionErrorRecord, TaylorRecord
from pynode.studies.invertibility.record import RediscretisationRecord
from pynode.studies.winners.record import StabilityRecord, WinnerRecord

T = TypeVar("T")

TAYLOR, ERRORS = "taylor.jsonl", "gradient_errors.jsonl"
REDISCRETISED, WINNERS, STABILITY = "rediscretisation.jsonl", "winners.jsonl", "stability.jsonl"
CROSSCHECK, PRECISIONS = "crosscheck.jsonl", "precision_errors.jsonl"
ADVICE, ADVICE_WEIGHTS = "advice.jsonl", "advice_weights.jsonl"

LINES: dict[str, tuple[str, type[Any]]] = {
    # part of the results: its file, and the record that a line holds
    "taylor": (TAYLOR, TaylorRecord),
    "errors": (ERRORS, GradientErrorRecord),
    "precisions": (PRECISIONS, PrecisionErrorRecord),
    "rediscretised": (REDISCRETISED, RediscretisationRecord),
    "winners": (WINNERS, WinnerRecord),
    "stability": (STABILITY, StabilityRecord),
    "crosscheck": (CROSSCHECK, CrosscheckRecord),
    "advice": (ADVICE, AdviceRecord),
    "advice_weights": (ADVICE_WEIGHTS, AdviceWeights),
}


OF_USERS = ("table", "csv", "npy", "series")
"""Problems whose rows are the user's: their file says more than their name."""


@dataclass(frozen=True)
class Results:
    """All that a results directory holds; parts that were never made are empty.

    `parts` are results directories inside this one, by name, as a suite leaves them.  `damaged` are files, here and in
    `parts`, that could not be read, with reason and remedy; what they held is left out.
    """

    directory: Path
    runs: list[Run] = field(default_factory=list)
    taylor: list[TaylorRecord] = field(default_factory=list)
    errors: list[GradientErrorRecord] = field(default_factory=list)
    precisions: list[PrecisionErrorRecord] = field(default_factory=list)
    rediscretised: list[RediscretisationRecord] = field(default_factory=list)
    winners: list[WinnerRecord] = field(default_factory=list)
    stability: list[StabilityRecord] = field(default_factory=list)
    crosscheck: list[CrosscheckRecord] = field(default_factory=list)
    advice: list[AdviceRecord] = field(default_factory=list)
    advice_weights: list[AdviceWeights] = field(default_factory=list)
    parts: dict[str, Results] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

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
    def title(self) -> str:
        """The problem as tables and figures call it, or the file of a user: with a mark where its rows are a part,
        synthetic, or not the same in all runs."""
        if self.winners:
            return self.problem
        if self.runs:
            return marked(self._of_users or self.problem, common_mark(run.config for run in self.runs))
        said = [r.rows for part in (self.errors, self.taylor, self.advice_weights) for r in part]
        return marked(self.problem, next(iter(said), ""))

    @property
    def file(self) -> str:
        """The file, without its folder, that the option `data` of all runs names; empty where there is none."""
        options = [run.config.get("options") for run in self.runs]
        data = [each.get("data") if isinstance(each, dict) else None for each in options]
        file = data[0] if data and all(each == data[0] for each in data) else None
        return file.replace("\\", "/").rpartition("/")[2] if isinstance(file, str) else ""

    @property
    def _of_users(self) -> str:
        return self.file if self.problem in OF_USERS else ""

    @property
    def has_mixed_rows(self) -> bool:
        """Whether some runs were trained on other rows than others: then their losses do not compare."""
        return are_mixed(run.config for run in self.runs)

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
        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            if run.finished:
                groups.setdefault(run.setting if self.is_sweep else run.method, []).append(run)
        return groups


def load_results(directory: Path) -> Results:
    """Reads a results directory; raises `RecordError` where a part of it is damaged, or where it holds nothing."""
    results = load_intact(directory)
    if results.damaged:
        raise RecordError("; ".join(results.damaged))
    return results


def load_intact(directory: Path) -> Results:
    """Reads what is intact of a results directory; its `damaged` says what is not.

    Raises `RecordError` where nothing is intact.
    """
    results = _load(directory)
    if results.is_empty:
        nothing = f"{directory} holds no results; pass the --out directory of an earlier command"
        raise RecordError("; ".join(results.damaged) or nothing)
    return results


def _load(directory: Path) -> Results:
    damaged: list[str] = []

    def intact(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except RecordError as error:
            damaged.append(str(error))
            return otherwise

    runs = [intact(partial(load_run, folder), None) for folder in run_folders(directory)]
    lines: dict[str, list[Any]] = {
        name: intact(partial(_lines, directory / file, kind), []) for name, (file, kind) in LINES.items()
    }
    inside = sorted(p.parent for p in directory.glob(f"*/{RUNS}") if p.is_dir())
    parts = {folder.name: _load(folder) for folder in inside}
    damaged += [message for part in parts.values() for message in part.damaged]
    return Results(
        directory,
        [run for run in runs if run is not None],
        **lines,
        parts={name: part for name, part in parts.items() if not part.is_empty},
        damaged=damaged,
    )


def _lines(path: Path, kind: type[Any]) -> list[Any]:
    """The records of a file beside the runs, all of methods that are known."""
    records = lines_if_any(path, kind)
    known = METHODS.names()
    for number, record in enumerate(records, start=1):
        if not isinstance(record, (TaylorRecord, GradientErrorRecord, AdviceRecord)) or record.outside:
            continue
        if record.method not in known:
            error = UnknownName(METHODS.kind, record.method, known)
            raise RecordError(f"{path}, line {number} is damaged: {error}; {RESTORE}")
    return records
