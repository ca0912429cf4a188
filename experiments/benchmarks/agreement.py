"""Compares every gradient with a reference before anything is timed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from experiments.benchmarks.workload import Array, Workload

DISCRETE = 1e-10
"""Largest relative difference, in float64, of two gradients by the same fixed steps."""

PER_RTOL = 100.0
"""Largest relative error of a gradient by an adaptive solve, in units of its rtol."""

TIMED = {"float64": math.inf, "float32": 1e-3}
"""Largest relative difference of a gradient in the type that is timed; float64 is compared by the bounds above."""

REDUCED = {"full": 1.0, "tf32": 20.0, "bf16": 200.0}
"""How many times that bound a gradient may be off by products in less than full precision: the numbers that are
multiplied keep 23 bits in full, 10 in TF32, 7 in bfloat16.
"""

TRAINED, ITERATIONS = 1e-6, 3
"""Largest relative difference of the change of theta in so many iterations; looser, since Adam divides small gradients
by small numbers.
"""


@dataclass(frozen=True)
class Reference:
    """Loss and gradient that all are compared with, and theta after `ITERATIONS` (None for the unit "gradient")."""

    loss: float
    gradient: Array
    trained: Array | None = None


def bound(workload: Workload) -> float:
    """Largest relative difference of a gradient in float64 from the reference."""
    return DISCRETE if workload.method == "disc-opt" else PER_RTOL * workload.rtol


def difference(gradient: Array, reference: Array) -> float:
    """Relative difference in the 2-norm; infinite where the lengths differ or something is not finite."""
    if gradient.shape != reference.shape or not np.isfinite(gradient).all():
        return math.inf
    with np.errstate(over="ignore"):
        size = float(np.linalg.norm(reference))
        apart = float(np.linalg.norm(gradient - reference))
    return apart / size if size else (0.0 if apart == 0 else math.inf)


def continuous_reference(workload: Workload) -> Reference:
    """The continuous problem's loss and gradient, by refined steps, for a workload by Opt-Disc."""
    import torch

    from pynode.fields.base import field_from_json
    from pynode.methods.base import GradientMethod
    from pynode.studies.gradients.oracle import continuous_gradient

    field = field_from_json(workload.spec).build(theta=torch.from_numpy(workload.arrays["theta"]))
    y0, data = (torch.from_numpy(workload.arrays[name]) for name in ("y0", "data"))
    ts = torch.tensor(workload.ts, dtype=torch.float64)
    losses: list[float] = []

    def loss(method: GradientMethod) -> torch.Tensor:
        value = (method.solve(field, y0, ts).ys - data).square().sum()
        losses.append(float(value.detach()))
        return value

    gradient, _ = continuous_gradient(loss, list(field.parameters()))
    return Reference(losses[-1], gradient.numpy())
