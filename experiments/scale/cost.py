"""Seconds of a cell on one GPU or several, from counted work, a machine, and what ranks exchange.

A ring of k sends 2 (k - 1) messages of 1/k of the bytes each (Patarasu & Yuan 2009).  Sums of tensors on GPUs go by
NCCL, each after a sum of nothing by gloo (`pynode.world.World.sum_`).  Numbers go by gloo alone: the loss, and all that
the ranks' adaptive solves agree on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from experiments.scale.assumptions import Scenario
from experiments.scale.study import Cell, Counts, Judged, Sizes
from experiments.scale.work import NOTHING, Work, evaluation, forward_work, launches, passes
from pynode.errors import UnknownName
from pynode.flows.flow import ACCURATE
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4

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

ADAM_PASSES = 7
"""Weights, gradient and two moments read, all but the gradient written."""

FIT = 0.9
"""Part of a GPU's memory that kept stages may fill."""

JUDGE = replace(ACCURATE, engine="eager")

TRAJECTORY_JUDGE = DiscOpt(RK4, engine="eager")


@dataclass(frozen=True)
class Link:
    """Bytes a second in one direction, and seconds before the first one arrives."""

    bandwidth: float
    latency: float


def allreduce_seconds(size: float, ranks: int, link: Link) -> float:
    """Seconds until all `ranks` have the sum of their `size` bytes."""
    if ranks <= 1:
        return 0.0
    messages = 2 * (ranks - 1)
    return messages * (size / ranks / link.bandwidth + link.latency)


@dataclass(frozen=True)
class Peaks:
    """A data sheet: operations a second by dtype (no tensor cores for float32), bytes a second, bytes of memory, bytes
    a second of one direction of the links inside a node."""

    name: str
    operations: Mapping[str, float]
    bandwidth: float
    memory: float
    link: float


DEVICES: dict[str, Peaks] = {
    peaks.name: peaks
    for peaks in (
        Peaks("a100", {"float32": 19.5e12, "float64": 9.7e12}, 2.039e12, 80e9, 300e9),
        Peaks("h100", {"float32": 67e12, "float64": 34e12}, 3.35e12, 80e9, 450e9),
        Peaks("v100", {"float32": 15.7e12, "float64": 7.8e12}, 0.9e12, 32e9, 150e9),
        Peaks("titan-x", {"float32": 6.1e12, "float64": 0.19e12}, 0.336e12, 12e9, 12e9),
    )
}
"""Peaks of SXM modules (Titan X: Maxwell, PCIe) by NVIDIA's data sheets."""


@dataclass(frozen=True)
class Machine:
    """Sustained rates: operations a second by dtype, bytes a second, seconds an operator, how much of launching is
    hidden (0 to 1), memory in bytes, the link between two GPUs of a node, and that between two processes by gloo."""

    operations: Mapping[str, float]
    bandwidth: float
    launch: float
    overlap: float
    memory: float
    link: Link
    host: Link

    def seconds(self, work: Work, dtype: str) -> float:
        """Seconds for `work`: launching and running, as far as the one does not hide behind the other."""
        running = work.operations / self.operations[dtype] + work.bytes / self.bandwidth
        launching = work.launches * self.launch
        return max(running, launching) + (1.0 - self.overlap) * min(running, launching)


def machine(device: str, scenario: Scenario) -> Machine:
    """A GPU under the assumptions of a scenario; raises `UnknownName`."""
    if device not in DEVICES:
        raise UnknownName("device", device, DEVICES)
    peaks = DEVICES[device]
    return Machine(
        operations={dtype: rate * scenario["product rate"] for dtype, rate in peaks.operations.items()},
        bandwidth=peaks.bandwidth * scenario["memory rate"],
        launch=scenario["launch"],
        overlap=scenario["overlap"],
        memory=peaks.memory,
        link=Link(peaks.link * scenario["link"], scenario["latency of NCCL"]),
        host=Link(math.inf, scenario["latency of gloo"]),
    )


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


def iteration_work(sizes: Sizes, method: GradientMethod, counts: Counts, rows: int | None = None) -> Work:
    """Loss, gradient and Adam's step with `rows` samples (all unless given)."""
    rows = sizes.rows if rows is None else rows
    each = evaluation(sizes.spec, rows, sizes.dtype, sizes.divergence)
    started = launches(sizes.spec, sizes.divergence, method, sizes.times)
    state = float(rows * sizes.columns * sizes.itemsize)
    over = passes(method, len(sizes.times))
    forward = each.forward.plus(Work(0, over * state, started.evaluation))
    if method.adaptive:  # state, adjoint and the gradient so far are one vector, and `product` counts f beside it
        vector = 2 * state + sizes.block_weights * sizes.itemsize
        backward = each.forward.plus(each.product).plus(Work(0, over * vector, started.product))
        again = NOTHING
    else:
        backward = each.product.plus(Work(0, over * state, started.product))
        again = forward.times(counts.backward)
    tensors = sizes.blocks * len(sizes.spec.slots())
    adam = Work(0, ADAM_PASSES * sizes.weights * sizes.itemsize, 1 + tensors)
    return forward.times(counts.forward).plus(backward.times(counts.products)).plus(again).plus(adam)


def judging_work(sizes: Sizes, judged: Judged, ranks: int = 1) -> Work:
    """One judgement by the rank with most chunks, whole chunks being dealt where ranks share it."""
    chunks = math.ceil(math.ceil(judged.rows / judged.chunk) / (ranks if judged.shared else 1))
    rows = min(judged.rows, chunks * judged.chunk) / chunks
    if judged.divergence is None:
        each = evaluation(sizes.spec, judged.rows, sizes.dtype, None).forward
        method: GradientMethod = TRAJECTORY_JUDGE
    else:
        each = forward_work(sizes.spec, math.ceil(rows), sizes.dtype, judged.divergence)
        method = JUDGE
    started = launches(sizes.spec, judged.divergence, method, sizes.times).evaluation
    state = rows * sizes.columns * sizes.itemsize
    solver = Work(0, passes(method, len(sizes.times)) * state, started)
    return each.plus(solver).times(judged.nfe * chunks)


@dataclass(frozen=True)
class CellCost:
    """Seconds of a cell on `ranks` GPUs: of an iteration and its exchange, of all iterations, validations, tests, the
    start; `kept_bytes` of stages on a GPU; `memory` "store" or "recompute", "" for Opt-Disc."""

    ranks: int
    seconds_iteration: float
    seconds_exchange: float
    seconds_training: float
    seconds_validation: float
    seconds_evaluation: float
    seconds_start: float
    kept_bytes: float
    memory: str
    work: Work

    @property
    def seconds(self) -> float:
        """From start to end."""
        return self.seconds_training + self.seconds_validation + self.seconds_evaluation + self.seconds_start


def cell_cost(cell: Cell, device: Machine, scenario: Scenario, ranks: int = 1) -> CellCost:
    """What a cell takes on `ranks` GPUs of one node that share each batch."""
    sizes, counts, method = cell.sizes, cell.counts, cell.method
    rows = math.ceil(sizes.rows / ranks)
    kept, memory = 0.0, ""
    if not method.adaptive:
        kept, memory = counts.forward * evaluation(sizes.spec, rows, sizes.dtype, sizes.divergence).kept_bytes, "store"
        if kept > FIT * device.memory:
            counts, memory = replace(counts, backward=counts.forward), "recompute"
            kept *= len(cell.method.scheme.b) / counts.forward  # type: ignore[attr-defined]
    work = iteration_work(sizes, method, counts, rows)
    exchange = exchanges(sizes, method, counts).seconds(ranks, device.link, device.host)
    iteration = device.seconds(work, sizes.dtype) + exchange

    def judging(judged: Judged) -> float:
        sums = allreduce_seconds(NUMBER_BYTES, ranks, device.host) if judged.shared else 0.0
        return judged.times * (device.seconds(judging_work(sizes, judged, ranks), sizes.dtype) + sums)

    return CellCost(
        ranks,
        iteration,
        exchange,
        cell.iterations * iteration,
        judging(cell.validation),
        sum(judging(test) for test in cell.tests),
        scenario["start of a cell"],
        kept,
        memory,
        work,
    )


def costs_by_width(cell: Cell, device: Machine, scenario: Scenario, most: int) -> dict[int, CellCost]:
    """Costs on 1, 2, 4, ... up to `most` GPUs, as far as each has the smallest useful batch."""
    costs, ranks = {}, 1
    while ranks <= most and (ranks == 1 or cell.sizes.rows / ranks >= scenario["smallest batch"]):
        costs[ranks] = cell_cost(cell, device, scenario, ranks)
        ranks *= 2
    return costs
