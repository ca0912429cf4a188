"""What the ranks of a gang tell each other in an iteration: counted from what pynode's trainer and Opt-Disc do.

Sums of tensors on GPUs go by NCCL, each after a sum of nothing by gloo (`pynode.world.World.sum_`).  Numbers go by gloo
alone: the loss, and all that the ranks' adaptive solves agree on.
"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.scale.allreduce import Link, allreduce_seconds
from experiments.scale.study import Counts, Sizes
from pynode.methods.base import GradientMethod
from pynode.methods.opt_disc import OptDisc

STAGES_OF_DOPRI5 = 6
"""Evaluations of a step, the last one shared with the next."""

FIRST_EVALUATIONS = 2
"""Those that find the first step size of a solve."""

FIRST_NORMS = 3
"""Norms that find the first step size of a solve."""

AGREED_IN_A_STEP = 2
"""The norm of the error, and whether all states are finite."""

NUMBER_BYTES = 64.0
"""At most, of what is agreed on at once."""


@dataclass(frozen=True)
class Exchanges:
    """Sums over the ranks in one iteration: `numbers` of a few numbers on the CPU; on the GPU one of the whole gradient
    (`gradient_bytes`), and `block_gradients` of a block's (`block_bytes` each)."""

    numbers: float
    gradient_bytes: float
    block_gradients: float
    block_bytes: float

    def seconds(self, ranks: int, gpus: Link, host: Link) -> float:
        """Seconds that all of them take, one after the other: by `gpus` between GPUs, by `host` between processes."""
        said = allreduce_seconds(NUMBER_BYTES, ranks, host)
        large = allreduce_seconds(self.gradient_bytes, ranks, gpus)
        large += self.block_gradients * allreduce_seconds(self.block_bytes, ranks, gpus)
        return (self.numbers + 1 + self.block_gradients) * said + large


def exchanges(sizes: Sizes, method: GradientMethod, counts: Counts) -> Exchanges:
    """Those of an iteration with so many evaluations, one solve a block in each direction."""
    gradient, block = (float(n * sizes.itemsize) for n in (sizes.weights, sizes.block_weights))
    numbers = 1.0  # the loss
    if not isinstance(method, OptDisc):
        return Exchanges(numbers, gradient, 0.0, block)
    intervals = len(sizes.times) - 1
    # each interval of the adjoint solve begins with an evaluation, the first one with all that finds a step size
    started = FIRST_EVALUATIONS * 2 + intervals - 1
    steps = max(0.0, counts.forward + counts.backward - started * sizes.blocks) / STAGES_OF_DOPRI5
    # and once a solve, whether its outputs or its cotangents are finite
    numbers += (2 * FIRST_NORMS + 2) * sizes.blocks + AGREED_IN_A_STEP * steps
    if method.adjoint == "backsolve":  # the drift at each output time
        numbers += intervals * sizes.blocks
    # unless the step control leaves it out, a block's gradient is summed at every evaluation of the adjoint solve
    whole = 0.0 if method.adjoint_norm == "seminorm" else counts.backward
    return Exchanges(numbers, gradient, whole, block)
