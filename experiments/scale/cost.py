"""Seconds of a cell on one GPU or several, from counted work and a machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from experiments.scale.allreduce import allreduce_seconds
from experiments.scale.assumptions import Scenario
from experiments.scale.exchange import NUMBER_BYTES, exchanges
from experiments.scale.launches import launches, passes
from experiments.scale.machine import Machine
from experiments.scale.study import Cell, Counts, Judged, Sizes
from experiments.scale.work import NOTHING, Work, evaluation, forward_work
from pynode.flows.flow import ACCURATE
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4

ADAM_PASSES = 7
"""Weights, gradient and two moments read, all but the gradient written."""

FIT = 0.9
"""Part of a GPU's memory that kept stages may fill."""

JUDGE = replace(ACCURATE, engine="eager")
TRAJECTORY_JUDGE = DiscOpt(RK4, engine="eager")


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
    found, ranks = {}, 1
    while ranks <= most and (ranks == 1 or cell.sizes.rows / ranks >= scenario["smallest batch"]):
        found[ranks] = cell_cost(cell, device, scenario, ranks)
        ranks *= 2
    return found
