"""8gaussians: a flow in two dimensions, exact trace, ten steps of the 3/8 rule, batches of 100 and 512."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from experiments.benchmarks.cases.base import Case, numbers, scheme_options
from experiments.benchmarks.workload import Workload

BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024)
STEPS = (2, 4, 8, 16, 32, 64)
"""Sizes for the scaling."""


class EightGaussiansFlow(Case):
    """ConcatSquash 64-64-64, T = 0.5, Adam with the study's rate and weight decay."""

    name: ClassVar[str] = "8gaussians"

    def workloads(self, *, quick: bool) -> Sequence[Workload]:
        return [
            Workload(name=f"8gaussians-{n}", title=f"8gaussians, batch {n}: rk38, 10 steps", unit="iteration", **of(n))
            for n in ((100,) if quick else (100, 512))
        ]

    def scaling(self, *, quick: bool) -> Sequence[Workload]:
        family = [
            Workload(
                name=f"8gaussians-batch-{n}",
                title="8gaussians: batch",
                unit="gradient",
                axis="batch",
                value=n,
                **{**of(n), "threads": 1},
            )
            for n in (BATCHES[1:7:2] if quick else BATCHES)
        ]
        return family + [
            Workload(
                name=f"8gaussians-steps-{steps}",
                title="8gaussians, batch 100: steps",
                unit="gradient",
                axis="steps",
                value=steps,
                **{**of(100), "threads": 1, "steps": steps},
            )
            for steps in (STEPS[:4:2] if quick else STEPS)
        ]


def of(batch: int) -> dict[str, Any]:
    """The flow of the study on `batch` samples."""
    from pynode.problems.density.base import FlowOptions
    from pynode.problems.density.toys import EightGaussians

    problem = EightGaussians(options=FlowOptions(batch=batch))
    return {
        "kind": "flow",
        "method": "disc-opt",
        "spec": problem.field_spec.to_json(),
        "ts": (0.0, problem.horizon),
        "dtype": "float32",
        "threads": 2,
        "steps": int(problem.fixed_settings["steps"]),
        **scheme_options(str(problem.fixed_settings["scheme"])),
        "divergence": "exact",
        "learning_rate": problem.training.learning_rate,
        "weight_decay": problem.training.weight_decay,
        "arrays": {"theta": numbers(problem.model(0).theta()), "y0": numbers(problem.training_samples(0))},
    }
