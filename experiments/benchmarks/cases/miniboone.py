"""MINIBOONE: a flow of 820,612 weights in 43 dimensions, Hutchinson's trace, four steps of the 3/8 rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from experiments.benchmarks.cases.base import Case, numbers, scheme_options
from experiments.benchmarks.workload import Workload


class MinibooneFlow(Case):
    """ConcatSquash 860-860, batch 1,000, softplus; standard normal numbers in the place of the rows, which cost the
    same.
    """

    name: ClassVar[str] = "miniboone"

    def workloads(self, *, quick: bool) -> Sequence[Workload]:
        import numpy as np

        from pynode.problems.density.public_tables import Miniboone

        problem = Miniboone()
        batch = 100 if quick else problem.batch_size
        draws = np.random.default_rng(0).standard_normal((2, batch, problem.dim))
        return (
            Workload(
                name=f"miniboone-{batch}",
                title=f"miniboone 43-860-860-43, batch {batch}: rk38, 4 steps, Hutchinson",
                kind="flow",
                method="disc-opt",
                unit="iteration",
                spec=problem.field_spec.to_json(),
                ts=(0.0, problem.horizon),
                dtype="float32",
                threads=2,
                steps=int(problem.fixed_settings["steps"]),
                **scheme_options(str(problem.fixed_settings["scheme"])),
                divergence="hutchinson",
                learning_rate=problem.training.learning_rate,
                weight_decay=problem.training.weight_decay,
                arrays={"theta": numbers(problem.model(0).theta()), "y0": draws[0], "probes": draws[1]},
            ),
        )
