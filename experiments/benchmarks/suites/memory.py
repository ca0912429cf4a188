"""Peak memory of a gradient against the number of steps, by each way of keeping states."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from experiments.benchmarks import agreement
from experiments.benchmarks.cases.base import numbers
from experiments.benchmarks.race import described
from experiments.benchmarks.records import FAILED, REFUSED, SKIPPED, TIMED, EntryRecord, MemoryRecord, path_of
from experiments.benchmarks.suites.base import Suite, Task
from experiments.benchmarks.workload import Array, Workload
from pynode.errors import PynodeError
from pynode.records.files import append_line

if TYPE_CHECKING:
    from pynode.gradients.base import GradientMethod

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
QUICK = (1, 2, 4, 8)
BATCH = 512
BUDGET = 4
"""Checkpoints that the way "checkpoint" may keep."""

WAYS = ("store", "recompute", f"checkpoint {BUDGET}", "continuous adjoint")
"""Disc-Opt's three ways, and Opt-Disc on the same grid, which keeps nothing."""


class Memory(Suite):
    """8gaussians, batch 512, float64, by torch operators, whose memory `pynode.peak_bytes` follows tensor by tensor.

    What each way allows, with S the bytes of a state and M those of a gradient through one step: "store" n M;
    "recompute" (n + 1) S + M; "checkpoint" with k checkpoints (k + 1) S + M; the continuous adjoint what it takes for
    the fewest steps, whatever n.
    """

    name: ClassVar[str] = "memory"
    entered: ClassVar[tuple[str, ...] | None] = ()

    def run(self, task: Task) -> list[EntryRecord]:
        from experiments.benchmarks.cases._8gaussians import of

        workload = Workload(
            name="memory",
            title=f"8gaussians, batch {BATCH}: memory",
            unit="gradient",
            axis="steps",
            **{**of(BATCH), "dtype": "float64", "threads": 1},
        )
        append_line(path_of(task.directory, "workloads"), described(workload))
        entries = []
        references: dict[int, Array] = {}
        one_step = 0
        for way in WAYS:
            task.say(f"memory: {way}")
            entry = EntryRecord(workload.name, way, TIMED)
            first: int | None = None
            for steps in QUICK if task.quick else STEPS:
                try:
                    method = _method(way, workload, steps)
                except (PynodeError, TypeError) as error:  # a pynode that does not know this way
                    entry = EntryRecord(workload.name, way, SKIPPED, f"this pynode has no such method: {error}")
                    break
                try:
                    peak, gradient = _measure(workload, method)
                except PynodeError as error:
                    entry = EntryRecord(workload.name, way, FAILED, str(error))
                    break
                reference = references.setdefault(steps, gradient)
                first = peak if first is None else first
                one_step = one_step or peak
                error_ = agreement.difference(gradient, reference)
                if way != WAYS[-1] and not error_ <= agreement.DISCRETE:
                    entry = EntryRecord(workload.name, way, REFUSED, f"its gradient is off by {error_:.1e}")
                    break
                bound = _bound(way, workload, steps, one_step, first)
                append_line(
                    path_of(task.directory, "memory"),
                    MemoryRecord(workload.name, way, steps, peak, bound, error_),
                )
            entries.append(entry)
            append_line(path_of(task.directory, "entries"), entry)
        return entries


def _method(way: str, workload: Workload, steps: int) -> GradientMethod:
    from pynode.gradients.base import method_from_json

    kept, _, budget = way.partition(" ")
    if way == "continuous adjoint":
        return method_from_json({"method": "opt-disc-fixed", "scheme": workload.scheme, "steps": steps})
    options = {"method": "disc-opt", "scheme": workload.scheme, "steps": steps, "memory": kept, "engine": "eager"}
    return method_from_json({**options, "budget": int(budget)} if budget else options)


def _measure(workload: Workload, method: GradientMethod) -> tuple[int, Array]:
    """Peak bytes of one loss and gradient, and the gradient."""
    import numpy as np
    import torch

    from pynode.fields.base import field_from_json
    from pynode.flows.flow import Flow
    from pynode.memory import peak_bytes

    theta, x = (torch.from_numpy(workload.arrays[name]) for name in ("theta", "y0"))
    flow = Flow([field_from_json(workload.spec).build(theta=theta)], x.shape[1], horizon=workload.ts[-1], method=method)
    peak = peak_bytes(lambda: (-flow.log_prob(x).mean()).backward())
    grads = [p.grad for p in flow.parameters()]
    return peak, np.concatenate([numbers(g).reshape(-1) for g in grads if g is not None])


def _bound(way: str, workload: Workload, steps: int, one_step: int, first: int) -> float:
    state = workload.batch * (workload.widths[0] + 1) * 8
    kept, _, budget = way.partition(" ")
    return float(
        {
            "store": steps * one_step,
            "recompute": (steps + 1) * state + one_step,
            "checkpoint": (int(budget or 0) + 1) * state + one_step,
        }.get(kept, first)
    )
