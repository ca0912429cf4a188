"""What every suite is given, and what it does with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from experiments.benchmarks.cases import CASES
from experiments.benchmarks.entrants.base import Entrant
from experiments.benchmarks.race import Settings as RaceSettings
from experiments.benchmarks.race import race
from experiments.benchmarks.records import EntryRecord
from experiments.benchmarks.workload import Workload

ORDER = ("spiral", "spiral-opt-disc", "8gaussians", "miniboone")
"""The order of cases in a report; others follow by name."""


@dataclass(frozen=True)
class Task:
    """What the command asks for: None stands for the suite's own choice."""

    entrants: tuple[type[Entrant], ...]
    cases: tuple[str, ...] | None
    threads: int | None
    repeats: int | None
    quick: bool
    directory: Path
    say: Callable[[str], None]


class Suite(ABC):
    """One kind of benchmark: writes records into the task's directory."""

    name: ClassVar[str]
    entered: ClassVar[tuple[str, ...] | None] = None
    """Who is measured unless `--peers` says otherwise; None stands for all."""

    def check(self, task: Task) -> None:  # noqa: B027 (most need nothing)
        """Raises a `UsageError` where this can't run here."""

    @abstractmethod
    def run(self, task: Task) -> list[EntryRecord]:
        """Measures; returns what became of the entrants."""


def case_names(task: Task) -> list[str]:
    """The cases that are asked for, in the order of a report."""
    names = task.cases or CASES.names()
    return sorted(names, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))


def race_all(task: Task, workloads: Iterable[Workload], settings: RaceSettings) -> list[EntryRecord]:
    """All workloads, one after another, with the task's threads."""
    found: list[EntryRecord] = []
    for workload in workloads:
        if task.threads is not None:
            workload = replace(workload, threads=task.threads)
        found += race(workload, task.entrants, settings, task.directory, task.say)
    return found
