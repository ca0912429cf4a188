"""The spiral by Opt-Disc: loss and gradient at rtol 1e-7, atol 1e-9."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from experiments.benchmarks.cases.base import Case
from experiments.benchmarks.cases.spiral import series_options
from experiments.benchmarks.workload import Workload


class SpiralOptDisc(Case):
    """An adaptive solve, and the continuous adjoint, or what comes nearest to it."""

    name: ClassVar[str] = "spiral-opt-disc"

    def workloads(self, *, quick: bool) -> Sequence[Workload]:  # noqa: ARG002
        return (
            Workload(
                name="spiral-opt-disc",
                title="spiral, Opt-Disc: rtol 1e-7, atol 1e-9",
                unit="gradient",
                method="opt-disc",
                rtol=1e-7,
                atol=1e-9,
                **series_options(),
            ),
        )
