"""Iterations that are measured on this machine: a few to calibrate by, and others that the model has not seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.scale.cost import iteration_work
from experiments.scale.study import Counts, Sizes, fixed_counts, sizes_of
from experiments.scale.work import Work
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem, options_from_json
from pynode.solution import SolveStats
from pynode.training.config import DTYPES, default_method
from pynode.training.optimiser import make_adam

ROWS = 8_000
"""Of the tables of normal numbers."""

MOST_SECONDS, MOST_REPEATS, LEAST_REPEATS = 4.0, 40, 5
"""Of one measurement."""


@dataclass(frozen=True)
class Trial:
    """A problem with options, by a method, in a dtype; `columns` of a table of normal numbers, 0 for other problems."""

    name: str
    problem: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    columns: int = 0
    dtype: str = "float32"
    held_out: bool = True

    def make(self, folder: Path) -> Problem:
        """The problem; its table is written to `folder` if need be."""
        kind, options = PROBLEMS.load(self.problem), dict(self.options)
        if self.columns:
            options["data"] = str(normal_table(folder, self.columns))
        return kind(dtype=DTYPES[self.dtype], options=options_from_json(kind, options))


def normal_table(folder: Path, columns: int) -> Path:
    """A file of normal numbers, which cost what any others cost."""
    path = folder / f"normal-{columns}.npy"
    if not path.exists():
        np.save(path, np.random.default_rng(0).standard_normal((ROWS, columns)))
    return path


def _net(units: int, layers: int, batch: int, **more: Any) -> dict[str, Any]:
    return {"hidden": (units,) * layers, "batch": batch, **more}


CALIBRATION: tuple[Trial, ...] = tuple(
    Trial(f"43 columns, 2 x {units}, batch {batch}", "npy", "disc-opt", _net(units, 2, batch), 43, held_out=False)
    for units, batch in ((8, 10), (64, 200), (64, 2000), (256, 500))
)
"""Disc-Opt of one architecture in one dtype."""

HELD_OUT: tuple[Trial, ...] = (
    Trial("43 columns, 2 x 128, batch 1000", "npy", "disc-opt", _net(128, 2, 1000), 43),
    Trial("MINIBOONE's net, batch 200", "npy", "disc-opt", _net(860, 2, 200, activation="softplus"), 43),
    Trial("MINIBOONE's net, batch 200, opt-disc", "npy", "opt-disc", _net(860, 2, 200, activation="softplus"), 43),
    Trial("POWER's net, batch 1000", "npy", "disc-opt", _net(60, 3, 1000, blocks=5), 6),
    Trial("GAS's net, batch 100, opt-disc", "npy", "opt-disc", _net(160, 3, 100, blocks=5), 8),
    Trial("digits", "digits", "disc-opt"),
    Trial("digits, opt-disc", "digits", "opt-disc"),
    Trial("8gaussians", "8gaussians", "disc-opt", dtype="float64"),
    Trial("8gaussians, batch 500, opt-disc", "8gaussians", "opt-disc", {"batch": 500}, dtype="float64"),
    Trial("spiral", "spiral", "disc-opt", dtype="float64"),
    Trial("spiral, opt-disc", "spiral", "opt-disc", dtype="float64"),
)
"""Other sizes, depths, activations, numbers of blocks, divergences, dtypes, and the other method."""


@dataclass(frozen=True)
class Measured:
    """Seconds of each iteration, on the clock and on the processor, the sizes, and the work that the model counts for
    the mean of their evaluations."""

    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    sizes: Sizes
    counts: Counts
    work: Work


def run(trial: Trial, folder: Path, most_seconds: float = MOST_SECONDS) -> Measured:
    """Trains for some iterations as the trainer does, by torch operators, and times forward, backward and update."""
    problem = trial.make(folder)
    method = default_method(type(problem), trial.method, engine="eager")
    model, settings = problem.model(0), problem.training
    optimiser = make_adam(problem.parameter_groups(model), settings.learning_rate, settings.weight_decay)
    seconds: list[float] = []
    processor: list[float] = []
    stats: list[SolveStats] = []
    start = time.perf_counter()
    while len(seconds) < LEAST_REPEATS + 2 or (
        time.perf_counter() - start < most_seconds and len(seconds) < MOST_REPEATS
    ):
        batch = problem.batch(len(seconds))
        before, used = time.perf_counter(), time.process_time()
        objective = problem.training_objective(method, model, batch)
        float(objective.loss.detach())
        objective.backward()
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - before)
        processor.append(time.process_time() - used)
        stats.append(objective.stats)
    sizes = sizes_of(problem, trial.dtype)
    counts = mean_counts(stats[2:]) if method.adaptive else fixed_counts(sizes, method)
    return Measured(tuple(seconds[2:]), tuple(processor[2:]), sizes, counts, iteration_work(sizes, method, counts))


def mean_counts(stats: list[SolveStats]) -> Counts:
    """Means over iterations."""
    n = len(stats)
    forward = sum(s.forward.n_f for s in stats) / n
    return Counts(forward, sum(s.backward.n_f for s in stats) / n, sum(s.backward.n_vjp for s in stats) / n)


def only_threads(n: int) -> int:
    """Sets torch's threads; how many there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    return before
