"""Real cells from start to end, each in a process of its own, one and two at a time, beside what the model says."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from experiments.benchmarks.process import ROOT, environment
from experiments.scale.assumptions import Scenario
from experiments.scale.cost import JUDGE, cell_cost
from experiments.scale.errors import CellFailure
from experiments.scale.machine import Machine
from experiments.scale.records import RunRecord
from experiments.scale.scheduling import Job, list_schedule
from experiments.scale.study import Cell, judgements, sizes_of
from experiments.scale.trials import Trial, mean_counts
from pynode.flows.divergence import Exact, divergence
from pynode.problems.density.base import Density
from pynode.problems.density.tables.base import Table
from pynode.records.files import write_json
from pynode.training.config import RunConfig, default_method

VALIDATIONS = 4

BESIDE = 2.0
"""Iterations beside the recorded ones: the warm-up and a probe of the memory."""

PATIENCE = 600.0
"""Seconds within which a cell must end."""


@dataclass(frozen=True)
class RealCell:
    """A trial that is trained for so many iterations."""

    trial: Trial
    iterations: int


CELLS: tuple[RealCell, ...] = (
    RealCell(Trial("8gaussians", "8gaussians", "disc-opt", {"hidden": (32, 32)}, dtype="float64"), 100),
    RealCell(Trial("8gaussians, opt-disc", "8gaussians", "opt-disc", {"hidden": (32, 32)}, dtype="float64"), 40),
    RealCell(Trial("digits", "digits", "disc-opt"), 80),
    RealCell(Trial("digits, opt-disc", "digits", "opt-disc"), 30),
    RealCell(Trial("43 columns, 2 x 128", "npy", "disc-opt", {"hidden": (128, 128), "batch": 500}, 43), 50),
    RealCell(Trial("43 columns, 2 x 128, opt-disc", "npy", "opt-disc", {"hidden": (128, 128), "batch": 500}, 43), 15),
)

SMALLEST = RealCell(Trial("one iteration", "8gaussians", "disc-opt", {"hidden": (2,), "batch": 2}), 1)
"""Its seconds are what every cell costs beside training and judging: process, imports, sampling, files."""


def config_of(real: RealCell, folder: Path) -> RunConfig:
    """The cell's configuration, by torch operators."""
    problem = real.trial.make(folder)
    settings, options = problem.training, dict(real.trial.options)
    if real.trial.columns:
        options["data"] = problem.options.data
    return RunConfig(
        problem=real.trial.problem,
        method=default_method(type(problem), real.trial.method, engine="eager"),
        seed=0,
        iterations=real.iterations,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        dtype=real.trial.dtype,
        validate_every=max(1, real.iterations // VALIDATIONS),
        memory_every=real.iterations,
        options=options,
    )


def as_cell(config: RunConfig) -> Cell:
    """The cell as the model sees it: counts of its first iteration and of one accurate solve stand for all of them."""
    problem = config.make_problem()
    assert isinstance(problem, Density)
    sizes = sizes_of(problem, config.dtype)
    model, batch = problem.model(config.seed), problem.batch(0)
    objective = problem.training_objective(config.method, model, batch)
    objective.backward()
    counts = mean_counts([objective.stats])
    held_out = problem.validation_samples()
    with torch.no_grad():
        estimate = Exact() if problem.dim <= 2 else divergence("gaussian")
        solved = model(held_out, method=JUDGE, divergence=estimate)
    accurate = float(sum(s.forward.n_f for s in solved.solves))
    validation, tests = judgements(
        sizes,
        (len(held_out), len(problem.test_samples())),
        accurate,
        counts.forward,
        config.iterations / config.validate_every + 1,
        on_grid=not isinstance(problem, Table),
    )
    if isinstance(problem, Table):  # fewer training rows than a chunk
        tests = (*tests[:-1], replace(tests[-1], rows=min(tests[-1].rows, len(problem.splits.train))))
    return Cell(
        config.problem, config.method.name, sizes, config.method, counts, config.iterations + BESIDE, validation, tests
    )


def run_cell(real: RealCell, directory: Path, folder: Path) -> float:
    """Seconds of the cell's process, which writes to `directory`; its table lies in `folder`; raises `CellFailure`."""
    config = directory.with_suffix(".json")
    write_json(config, config_of(real, folder).to_json())
    command = [sys.executable, "-m", "experiments.scale.child", str(config), str(directory)]
    before = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(1, "cpu"), cwd=ROOT, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CellFailure(f"the cell {real.trial.name} did not end within {PATIENCE:.0f} s") from error
    seconds = time.perf_counter() - before
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["it said nothing"]
        raise CellFailure(f"the cell {real.trial.name} ended with status {done.returncode}: {words[-1]}")
    return seconds


def measure(
    cells: Sequence[RealCell],
    folder: Path,
    machine: Machine,
    hear: Callable[[str], None],
    run: Callable[[RealCell, Path, Path], float] = run_cell,
) -> list[RunRecord]:
    """Runs the cells one at a time, then two at a time in the model's order, longest first, each by `run`."""
    hear("cells: the smallest one")
    started = run(SMALLEST, folder / "start", folder)
    predicted = {}
    for real in cells:
        hear(f"cells: predicting {real.trial.name}")
        cost = cell_cost(as_cell(config_of(real, folder)), machine, Scenario("central"))
        predicted[real.trial.name] = started + cost.seconds - cost.seconds_start
    by_name = {real.trial.name: real for real in cells}
    jobs = [Job(name, {1: seconds}) for name, seconds in predicted.items()]
    records = []
    for at_once in (1, 2):
        hear(f"cells: {len(cells)} of them, {at_once} at a time")
        planned = list_schedule(jobs, [1] * len(jobs), at_once)
        order = [by_name[p.job] for p in planned.placements]
        before = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            waiting = [
                (real.trial.name, pool.submit(run, real, folder / f"run-{at_once}-{k}", folder))
                for k, real in enumerate(order)
            ]
            seconds: dict[str, Any] = {name: future.result() for name, future in waiting}
        makespan = time.perf_counter() - before
        records += [RunRecord(name, at_once, predicted[name], seconds[name]) for name in predicted]
        records.append(RunRecord("all", at_once, planned.makespan, makespan))
    return records
