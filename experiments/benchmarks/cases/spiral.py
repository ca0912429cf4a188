"""The spiral by Disc-Opt: 30 output times, one step of the 3/8 rule each, a whole iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from experiments.benchmarks.cases.base import Case, numbers, scheme_options
from experiments.benchmarks.workload import Workload

STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Steps per interval for the scaling."""


class SpiralDiscOpt(Case):
    """The study's time series: MLP 2-50-2 of y^3, sum of squares, Adam; one trajectory, so all is overhead."""

    name: ClassVar[str] = "spiral"

    def workloads(self, *, quick: bool) -> Sequence[Workload]:  # noqa: ARG002
        return (Workload(name="spiral", title="spiral, Disc-Opt: rk38, 29 steps", unit="iteration", **_common()),)

    def scaling(self, *, quick: bool) -> Sequence[Workload]:
        return [
            Workload(
                name=f"spiral-steps-{29 * steps}",
                title="spiral: steps",
                unit="gradient",
                axis="steps",
                value=29.0 * steps,
                **{**_common(), "steps": steps},
            )
            for steps in (STEPS[:4] if quick else STEPS)
        ]


def _common() -> dict[str, Any]:
    return {**series_options(), "method": "disc-opt", "steps": 1, **scheme_options("rk38")}


def series_options() -> dict[str, Any]:
    """What both methods have in common on the spiral."""
    from pynode.problems.series.spiral import Spiral

    problem = Spiral()
    return {
        "kind": "series",
        "spec": problem.field_spec.to_json(),
        "ts": tuple(problem.times.tolist()),
        "dtype": "float64",
        "threads": 1,
        "learning_rate": problem.training.learning_rate,
        "arrays": {
            "theta": numbers(problem.model(0).theta()),
            "y0": numbers(problem.y0),
            "data": numbers(problem.data),
        },
    }
