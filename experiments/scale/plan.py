"""The whole study on some numbers of GPUs: cells, schedules, cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from experiments.scale.assumptions import ASSUMPTIONS, SCENARIOS, Scenario
from experiments.scale.cost import CellCost, costs_by_width
from experiments.scale.machine import machine
from experiments.scale.nfe import tolerance_exponent
from experiments.scale.records import AssumptionRecord, CellRecord, PlacementRecord, PlanRecord
from experiments.scale.scheduling import PER_NODE, Job, Schedule, lower_bound, one_each, schedule
from experiments.scale.study import Cell, cells

HOUR = 3600.0

Records = dict[str, list[Any]]
"""Records by kind."""


def model_study(
    gpus: Sequence[int], price: float, seeds: int, device: str, hear: Callable[[str], None] = lambda _: None
) -> Records:
    """All records of the model on paper: `price` a GPU hour, `seeds` runs of each problem by each method."""
    found: Records = {"assumptions": assumption_records(), "cells": [], "plans": [], "placements": []}
    for name in SCENARIOS:
        hear(f"{name} cost: counting")
        scenario = Scenario(name)
        machine_here = machine(device, scenario)
        jobs = []
        for cell in cells(scenario):
            costs = costs_by_width(cell, machine_here, scenario, min(max(gpus), PER_NODE))
            found["cells"].append(cell_record(name, cell, costs[1]))
            seconds = {ranks: cost.seconds for ranks, cost in costs.items()}
            jobs += [Job(f"{cell.problem} {cell.method_name} seed {seed}", seconds) for seed in range(seeds)]
        for n in gpus:
            hear(f"{name} cost: {n} GPUs")
            planned = schedule(jobs, n)
            found["plans"].append(plan_record(name, jobs, planned, price))
            if name == "central":
                found["placements"] += [
                    PlacementRecord(n, p.job, list(p.gpus), p.start / HOUR, p.end / HOUR) for p in planned.placements
                ]
    return found


def assumption_records() -> list[AssumptionRecord]:
    """What is assumed, and what is fitted to published runs."""
    records = [AssumptionRecord(a.name, a.unit, a.low, a.central, a.high, a.reason) for a in ASSUMPTIONS]
    exponent = tolerance_exponent()
    reason = "NFE ~ rtol^-p, fitted to the published runs of the spiral at 1e-5, 1e-7, 1e-9"
    return [*records, AssumptionRecord("tolerance exponent p", "", exponent, exponent, exponent, reason)]


def cell_record(scenario: str, cell: Cell, cost: CellCost) -> CellRecord:
    """A cell on one GPU."""
    return CellRecord(
        scenario=scenario,
        problem=cell.problem,
        method=cell.method_name,
        dtype=cell.sizes.dtype,
        batch=cell.sizes.rows,
        weights=cell.sizes.weights,
        iterations=cell.iterations,
        nfe_forward=cell.counts.forward,
        nfe_backward=cell.counts.forward if cost.memory == "recompute" else cell.counts.backward,
        n_vjp=cell.counts.products,
        operations=cost.work.operations,
        bytes=cost.work.bytes,
        launches=cost.work.launches,
        seconds_iteration=cost.seconds_iteration,
        seconds_training=cost.seconds_training,
        seconds_validation=cost.seconds_validation,
        seconds_evaluation=cost.seconds_evaluation,
        seconds_start=cost.seconds_start,
        kept_bytes=cost.kept_bytes,
        memory=cost.memory,
    )


def plan_record(scenario: str, jobs: Sequence[Job], planned: Schedule, price: float) -> PlanRecord:
    """A schedule in hours and money."""
    reserved = planned.gpus * planned.makespan / HOUR
    single = one_each(jobs, planned.gpus).makespan / HOUR
    return PlanRecord(
        scenario=scenario,
        gpus=planned.gpus,
        cells=len(jobs),
        makespan_hours=planned.makespan / HOUR,
        reserved_hours=reserved,
        busy_hours=planned.busy / HOUR,
        cost=price * reserved,
        busy_cost=price * planned.busy / HOUR,
        utilisation=planned.utilisation,
        lower_bound_hours=lower_bound(jobs, planned.gpus) / HOUR,
        widest=max((len(p.gpus) for p in planned.placements), default=0),
        single_hours=single,
        single_cost=price * planned.gpus * single,
    )
