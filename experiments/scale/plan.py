"""The whole study on some numbers of GPUs: schedules, hours, cost, and what the study is known by.

A cell takes a time that depends on how many GPUs of one node it runs on (a gang).  Widths are found as Turek, Wolf & Yu
1992 do: begin with every cell on one GPU, give the longest cell the next width that shortens it, keep the best schedule
seen.  Each schedule is a list schedule, longest first; one within `NEAR` of the lower bound is good enough.

Known of the study are the reductions of training time from its abstract (39 % to 97 % on six of seven problems, once
nine days to under one) and two times of a forward loss of the spiral, read off pictures.  Its GPU is not known: a
Titan X with 12 GB is what the same group's next paper names (arXiv 2006.00104), so that one is modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from experiments.scale.assumptions import ASSUMPTIONS, SCENARIOS, Scenario
from experiments.scale.cost import CellCost, cell_cost, costs_by_width, machine
from experiments.scale.records import AssumptionRecord, CellRecord, PlanRecord, ReferenceRecord
from experiments.scale.study import METHOD_NAMES, PROBLEM_NAMES, Cell, cell, cells, tolerance_exponent
from pynode.errors import InvalidArgument

PER_NODE = 8
"""GPUs of one node; no gang is wider, and none lies on two nodes."""

NEAR = 0.01
"""Part of the lower bound."""

FINE = 64
"""Numbers of GPUs up to which every smaller number is tried too; of more, about so many."""

WIDENED = 100
"""Jobs up to which they are widened one at a time; of more, about so many groups."""

HOUR = 3600.0

Records = dict[str, list[Any]]
"""Records by kind."""

ERA = "titan-x"

DAY = 24.0


@dataclass(frozen=True)
class Job:
    """A cell: `seconds` by the number of GPUs it may run on, 1 among them."""

    name: str
    seconds: Mapping[int, float]

    def __post_init__(self) -> None:
        if 1 not in self.seconds or min(self.seconds) < 1 or min(self.seconds.values()) < 0:
            raise InvalidArgument("seconds", dict(self.seconds), f"job {self.name}", "give seconds for 1 GPU, or more")

    def widths(self, gpus: int) -> list[int]:
        """Numbers of GPUs, no more than `gpus` or a node has, that shorten the job, each against all smaller ones."""
        widths: list[int] = []
        for width in sorted(w for w in self.seconds if w <= min(gpus, PER_NODE)):
            if not widths or self.seconds[width] < self.seconds[widths[-1]]:
                widths.append(width)
        return widths


@dataclass(frozen=True)
class Placement:
    """A job on GPUs from `start` to `end`, in seconds."""

    job: str
    gpus: tuple[int, ...]
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """Placements of all jobs on `gpus` GPUs."""

    gpus: int
    placements: tuple[Placement, ...]

    @property
    def makespan(self) -> float:
        """When the last job ends."""
        return max((p.end for p in self.placements), default=0.0)

    @property
    def busy(self) -> float:
        """GPU seconds that some job fills."""
        return sum((p.end - p.start) * len(p.gpus) for p in self.placements)

    @property
    def utilisation(self) -> float:
        """Busy part of all GPU seconds until the end."""
        return self.busy / (self.gpus * self.makespan) if self.makespan else 0.0


def lower_bound(jobs: Sequence[Job], gpus: int) -> float:
    """No schedule ends sooner: the least GPU seconds over all GPUs, or the longest job at its fastest."""
    if not jobs:
        return 0.0
    least = sum(min(width * job.seconds[width] for width in job.widths(gpus)) for job in jobs)
    return max(least / gpus, max(min(job.seconds[width] for width in job.widths(gpus)) for job in jobs))


def list_schedule(jobs: Sequence[Job], widths: Sequence[int], gpus: int) -> Schedule:
    """Longest first, each on the GPUs of one node that are free earliest; a gang waits for the last of its GPUs."""
    order = sorted(range(len(jobs)), key=lambda k: (-jobs[k].seconds[widths[k]], -widths[k], jobs[k].name))
    free = np.full((-(-gpus // PER_NODE), PER_NODE), np.inf)  # (nodes, GPUs of a node); the last node may have fewer
    free.reshape(-1)[:gpus] = 0.0
    placements = []
    for k in order:
        width = widths[k]
        node = int(np.argmin(np.sort(free, axis=1)[:, width - 1]))
        chosen = np.argsort(free[node], kind="stable")[:width]
        start = float(free[node, chosen].max())
        end = start + jobs[k].seconds[width]
        free[node, chosen] = end
        placements.append(Placement(jobs[k].name, tuple(sorted((PER_NODE * node + chosen).tolist())), start, end))
    return Schedule(gpus, tuple(placements))


def one_each(jobs: Sequence[Job], gpus: int) -> Schedule:
    """Every job on one GPU, longest first."""
    return list_schedule(jobs, [1] * len(jobs), gpus)


def schedule(jobs: Sequence[Job], gpus: int) -> Schedule:
    """The best schedule found on up to `gpus` GPUs, of which some may stay unused: up to `FINE`, more never take longer
    by more than `NEAR`."""
    best: Schedule | None = None
    for used in range(gpus, 0, -max(1, gpus // FINE)):
        if best is not None and lower_bound(jobs, used) >= best.makespan / (1 + NEAR):
            break  # nor can fewer
        widened = _widened(jobs, used)
        if best is None or widened.makespan < best.makespan:
            best = Schedule(gpus, widened.placements)
    assert best is not None
    return best


def _widened(jobs: Sequence[Job], gpus: int) -> Schedule:
    widths = [1] * len(jobs)
    wider = [dict(pairwise(job.widths(gpus))) for job in jobs]
    best = one_each(jobs, gpus)
    enough = (1 + NEAR) * lower_bound(jobs, gpus)
    while jobs and best.makespan > enough:
        longest = sorted(range(len(jobs)), key=lambda k: -jobs[k].seconds[widths[k]])
        if widths[longest[0]] not in wider[longest[0]]:
            break  # nothing can end before the longest job
        for k in longest[: max(1, len(jobs) // WIDENED)]:
            widths[k] = wider[k].get(widths[k], widths[k])
        tried = list_schedule(jobs, widths, gpus)
        if tried.makespan < best.makespan:
            best = tried
    return best


def model_study(
    gpus: Sequence[int], price: float, seeds: int, device: str, tell: Callable[[str], None] = lambda _: None
) -> Records:
    """All records of the model on paper: `price` a GPU hour, `seeds` runs of each problem by each method."""
    records: Records = {"assumptions": assumption_records(), "cells": [], "plans": []}
    for name in SCENARIOS:
        tell(f"{name} cost: counting")
        scenario = Scenario(name)
        machine_here = machine(device, scenario)
        jobs = []
        for each in cells(scenario):
            costs = costs_by_width(each, machine_here, scenario, min(max(gpus), PER_NODE))
            records["cells"].append(cell_record(name, each, costs[1]))
            seconds = {ranks: cost.seconds for ranks, cost in costs.items()}
            jobs += [Job(f"{each.problem} {each.method_name} seed {seed}", seconds) for seed in range(seeds)]
        for n in gpus:
            tell(f"{name} cost: {n} GPUs")
            planned = schedule(jobs, n)
            records["plans"].append(plan_record(name, jobs, planned, price))
    return records


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


def references(device: str, tell: Callable[[str], None] = lambda _: None) -> list[ReferenceRecord]:
    """The comparisons; `device` is the model's own GPU."""
    records = []
    for problem in PROBLEM_NAMES:
        tell(f"comparison with the study: {problem}")
        records += [
            _record(
                f"{problem}: less time per iteration, {d}", "39 to 97, six of seven", "%", partial(_less, d, problem)
            )
            for d in dict.fromkeys((device, ERA))
        ]
    records.append(_record(f"longest cell, {ERA}, opt-disc", "9 (once)", "days", partial(_longest, "opt-disc")))
    records.append(_record(f"the same problem, {ERA}, disc-opt", "under 1", "days", partial(_longest, "disc-opt")))
    records.append(
        _record("spiral: evaluations of a forward loss, opt-disc over disc-opt", "36.9 (seconds)", "", _evaluations)
    )
    return records


def _record(what: str, published: str, unit: str, value: Callable[[str], float]) -> ReferenceRecord:
    low, central, high = (value(name) for name in SCENARIOS)
    return ReferenceRecord(what, published, low, central, high, unit)


def _hours(device: str, problem: str, method: str, scenario: str) -> float:
    assumed = Scenario(scenario)
    return cell_cost(cell(problem, method, assumed), machine(device, assumed), assumed).seconds / HOUR


def _less(device: str, problem: str, scenario: str) -> float:
    assumed = Scenario(scenario)
    disc, opt = (
        cell_cost(cell(problem, m, assumed), machine(device, assumed), assumed).seconds_iteration for m in METHOD_NAMES
    )
    return 100 * (1 - disc / opt)


def _longest(method: str, scenario: str) -> float:
    hours = {p: _hours(ERA, p, "opt-disc", scenario) for p in PROBLEM_NAMES}
    longest = max(hours, key=lambda p: hours[p])
    return _hours(ERA, longest, method, scenario) / DAY


def _evaluations(scenario: str) -> float:
    opt, disc = (cell("spiral", m, Scenario(scenario)).counts.forward for m in ("opt-disc", "disc-opt"))
    return opt / disc
