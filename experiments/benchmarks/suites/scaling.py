"""Seconds of a gradient against steps and against batch, by pynode's engines, and the exponents."""

from __future__ import annotations

from typing import ClassVar

from experiments.benchmarks.cases import CASES
from experiments.benchmarks.race import Settings
from experiments.benchmarks.records import EntryRecord
from experiments.benchmarks.suites.base import Suite, Task, case_names, race_all


class Scaling(Suite):
    """Each family of workloads that the cases have."""

    name: ClassVar[str] = "scaling"
    entered: ClassVar[tuple[str, ...] | None] = ("pynode-fused", "pynode-eager")

    def run(self, task: Task) -> list[EntryRecord]:
        settings = Settings(
            repeats=task.repeats or (2 if task.quick else 5),
            block=0.03 if task.quick else 0.15,
            ceilings=False,
            caches=False,
        )
        workloads = [w for name in case_names(task) for w in CASES.load(name)().scaling(quick=task.quick)]
        return race_all(task, workloads, settings)
