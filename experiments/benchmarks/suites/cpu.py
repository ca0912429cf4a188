"""Whole training iterations, and gradients by Opt-Disc, by all entrants on the CPU."""

from __future__ import annotations

from typing import ClassVar

from experiments.benchmarks.cases import CASES
from experiments.benchmarks.race import Settings
from experiments.benchmarks.records import EntryRecord
from experiments.benchmarks.suites.base import Suite, Task, case_names, race_all


class Cpu(Suite):
    """Every case in the size of the study."""

    name: ClassVar[str] = "cpu"

    def run(self, task: Task) -> list[EntryRecord]:
        workloads = [w for name in case_names(task) for w in CASES.load(name)().workloads(quick=task.quick)]
        return race_all(task, workloads, settings_of(task))


def settings_of(task: Task) -> Settings:
    """Turns and their length."""
    if task.quick:
        return Settings(repeats=task.repeats or 3, block=0.05, caches=False)
    return Settings(repeats=task.repeats or 15)
