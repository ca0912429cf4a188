"""The same as the suite cpu on CUDA, by the entrants that run there."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from experiments.benchmarks.cases import CASES
from experiments.benchmarks.errors import NoGpu
from experiments.benchmarks.records import EntryRecord
from experiments.benchmarks.suites.base import Suite, Task, case_names, race_all
from experiments.benchmarks.suites.cpu import settings_of


class Gpu(Suite):
    """Every case in the size of the study, states and parameters on the GPU."""

    name: ClassVar[str] = "gpu"

    def check(self, task: Task) -> None:  # noqa: ARG002
        import torch

        if not torch.cuda.is_available():
            raise NoGpu(
                "--suite gpu: torch sees no CUDA device here; run it on a machine with one, or take --suite cpu"
            )

    def run(self, task: Task) -> list[EntryRecord]:
        workloads = [
            replace(w, device="cuda", title=f"{w.title}, CUDA")
            for name in case_names(task)
            for w in CASES.load(name)().workloads(quick=task.quick)
        ]
        return race_all(task, workloads, settings_of(task))
