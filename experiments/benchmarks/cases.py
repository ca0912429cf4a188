"""Cases: what is computed, as workloads; found by the registry at the end."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.benchmarks.workload import Workload
from pynode.registry import Registry

if TYPE_CHECKING:
    import torch

    from pynode.problems.density.public_tables import PublicTable

SPIRAL_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Steps per interval for the scaling."""

BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024)

REDUCED = ("full", "tf32", "bf16")
"""Precisions of products for nets that are wide enough to gain by them."""

BSDS_ROWS = 2000

FLOW_STEPS = (2, 4, 8, 16, 32, 64)
"""Sizes for the scaling."""


class Case(ABC):
    """A problem as workloads; a case that has nothing for a suite leaves it empty."""

    name: ClassVar[str]

    def workloads(self, *, quick: bool) -> Sequence[Workload]:  # noqa: ARG002
        """For the suite `cpu`."""
        return ()

    def on_gpu(self, *, quick: bool) -> Sequence[Workload]:
        """For the suite `gpu`."""
        return self.workloads(quick=quick)

    def scaling(self, *, quick: bool) -> Sequence[Workload]:  # noqa: ARG002
        """Families of workloads that differ in one number, their `axis`."""
        return ()


def scheme_options(name: str) -> dict[str, Any]:
    """The fields of a workload that say by which scheme it is solved."""
    from pynode.schemes import SCHEMES

    scheme = SCHEMES.load(name)
    return {"scheme": name, "tableau": {"a": [list(row) for row in scheme.a], "b": scheme.b, "c": scheme.c}}


def numbers(tensor: torch.Tensor) -> Any:
    """A tensor as an array of float64."""
    return tensor.detach().double().cpu().numpy()


class SpiralDiscOpt(Case):
    """The study's time series: MLP 2-50-2 of y^3, sum of squares, Adam; one trajectory, so all is overhead."""

    name: ClassVar[str] = "spiral"

    def workloads(self, *, quick: bool) -> Sequence[Workload]:  # noqa: ARG002
        return (
            Workload(name="spiral", title="spiral, Disc-Opt: rk38, 29 steps", unit="iteration", **_disc_opt_options()),
        )

    def scaling(self, *, quick: bool) -> Sequence[Workload]:
        return [
            Workload(
                name=f"spiral-steps-{29 * steps}",
                title="spiral: steps",
                unit="gradient",
                axis="steps",
                value=29.0 * steps,
                **{**_disc_opt_options(), "steps": steps},
            )
            for steps in (SPIRAL_STEPS[:4] if quick else SPIRAL_STEPS)
        ]


def _disc_opt_options() -> dict[str, Any]:
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


class EightGaussiansFlow(Case):
    """ConcatSquash 64-64-64, T = 0.5, Adam with the study's rate and weight decay."""

    name: ClassVar[str] = "8gaussians"

    def workloads(self, *, quick: bool) -> Sequence[Workload]:
        return [
            Workload(
                name=f"8gaussians-{n}",
                title=f"8gaussians, batch {n}: rk38, 10 steps",
                unit="iteration",
                **flow_options(n),
            )
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
                **{**flow_options(n), "threads": 1},
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
                **{**flow_options(100), "threads": 1, "steps": steps},
            )
            for steps in (FLOW_STEPS[:4:2] if quick else FLOW_STEPS)
        ]


def flow_options(batch: int) -> dict[str, Any]:
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


class MinibooneFlow(Case):
    """ConcatSquash 860-860, batch 1,000, softplus; standard normal numbers in the place of the rows, which cost the
    same.
    """

    name: ClassVar[str] = "miniboone"

    def workloads(self, *, quick: bool) -> Sequence[Workload]:
        from pynode.problems.density.public_tables import Miniboone

        return (_table_workload(Miniboone(), 100 if quick else Miniboone.batch_size),)

    def on_gpu(self, *, quick: bool) -> Sequence[Workload]:
        return [replace(w, precisions=REDUCED) for w in self.workloads(quick=quick)]


class Bsds300Flow(Case):
    """ConcatSquash 1260-1260-1260, softplus, one of the study's two blocks, on normal numbers; a fifth of the study's
    batch, so that several programs fit on a GPU beside each other.  For the suite `gpu` alone.
    """

    name: ClassVar[str] = "bsds300"

    def on_gpu(self, *, quick: bool) -> Sequence[Workload]:
        from pynode.problems.density.public_tables import BSDS300

        return (replace(_table_workload(BSDS300(), 100 if quick else BSDS_ROWS), precisions=REDUCED[:2]),)


def _table_workload(problem: PublicTable, batch: int) -> Workload:
    """The first block, scheme and steps of the study for a table, on normal numbers."""
    import numpy as np

    spec, steps = problem.field_spec, int(problem.fixed_settings["steps"])
    draws = np.random.default_rng(0).standard_normal((2, batch, spec.state_dim))
    widths = "-".join(map(str, spec.to_json()["widths"]))
    scheme = str(problem.fixed_settings["scheme"])
    return Workload(
        name=f"{problem.name}-{batch}",
        title=f"{problem.name} {widths}, batch {batch}: {scheme}, {steps} steps, Hutchinson",
        kind="flow",
        method="disc-opt",
        unit="iteration",
        spec=spec.to_json(),
        ts=(0.0, problem.horizon),
        dtype="float32",
        threads=2,
        steps=steps,
        **scheme_options(scheme),
        divergence="hutchinson",
        learning_rate=problem.training.learning_rate,
        weight_decay=problem.training.weight_decay,
        arrays={"theta": numbers(problem.model(0).theta())[: spec.n_params], "y0": draws[0], "probes": draws[1]},
    )


CASES: Registry[type[Case]] = Registry("experiments.benchmarks.cases", "case", "Case")
"""All cases by name."""
