"""Checks the model on this machine: calibrates it on some iterations and predicts others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from experiments.benchmarks.ceilings import SQUARE, measure
from experiments.benchmarks.records import spread
from experiments.scale.cost import Link, Machine, iteration_work
from experiments.scale.plan import Records
from experiments.scale.records import CalibrationRecord, TrialRecord
from experiments.scale.study import Counts, Sizes, fixed_counts, sizes_of
from experiments.scale.work import Work
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem, options_from_json
from pynode.records.files import finite
from pynode.solution import SolveStats
from pynode.training.config import DTYPES, default_method
from pynode.training.optimiser import make_adam

ROWS = 8_000
"""Of the tables of normal numbers."""

MOST_SECONDS, MOST_REPEATS, LEAST_REPEATS = 4.0, 40, 5
"""Of one measurement."""

CEILING_TURNS = 5


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
        objective = problem.objective(method, model, batch)
        float(objective.value)
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


def fit_machine(work: Sequence[Work], seconds: Sequence[float], operations: float, dtype: str) -> Machine:
    """The machine whose bytes a second and seconds an operator explain `seconds` best (least squares of relative
    errors, nothing negative), its rate of products being `operations` a second, as measured apart.

    On a CPU nothing is hidden: overlap 0.
    """
    t = np.asarray(seconds)
    rest = np.maximum(t - np.array([w.operations for w in work]) / operations, 0.0)
    matrix = np.array([[w.bytes, w.launches] for w in work])
    (per_byte, per_launch), _ = nnls(matrix / t[:, None], rest / t)
    here = Link(np.inf, 0.0)
    bandwidth = 1.0 / per_byte if per_byte > 0 else np.inf
    return Machine({dtype: operations}, float(bandwidth), float(per_launch), 0.0, np.inf, here, here)


def check(
    tell: Callable[[str], None] = lambda _: None,
    calibration: Sequence[Trial] = CALIBRATION,
    held_out: Sequence[Trial] = HELD_OUT,
    most_seconds: float = MOST_SECONDS,
) -> Records:
    """Records of the check, on one thread."""
    before = only_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            return _check(tell, calibration, held_out, most_seconds, Path(name))
    finally:
        only_threads(before)


def _check(
    tell: Callable[[str], None],
    calibration: Sequence[Trial],
    held_out: Sequence[Trial],
    most_seconds: float,
    folder: Path,
) -> Records:
    tell("plain products and a copy")
    ceilings = {dtype: _ceilings(dtype) for dtype in ("float32", "float64")}
    measured: list[tuple[Trial, Measured]] = []
    for trial in (*calibration, *held_out):
        tell(f"iterations: {trial.name}")
        measured.append((trial, run(trial, folder, most_seconds)))
    seen = [m for t, m in measured if not t.held_out]
    square, copied = ceilings["float32"]
    fitted = fit_machine([m.work for m in seen], [median(m.seconds) for m in seen], square, "float32")
    machine = replace(fitted, operations={dtype: rate for dtype, (rate, _) in ceilings.items()})
    return {
        "calibration": [CalibrationRecord("float32", square, finite(fitted.bandwidth), fitted.launch, square, copied)],
        "trials": [_record(t, m, machine) for t, m in measured],
    }


def _ceilings(dtype: str) -> tuple[float, float]:
    """Operations and bytes a second of the square product and of the copy, medians of some turns."""
    turns = [measure([SQUARE], dtype, 1, "cpu") for _ in range(CEILING_TURNS)]
    product, copied = (median(1e9 * turn[k]["rate"] for turn in turns) for k in (0, 1))
    return product, copied


def _record(trial: Trial, measured: Measured, machine: Machine) -> TrialRecord:
    seconds = spread(measured.seconds)
    counts = measured.counts
    return TrialRecord(
        name=trial.name,
        held_out=trial.held_out,
        problem=trial.problem,
        method=trial.method,
        dtype=trial.dtype,
        batch=measured.sizes.rows,
        widths=list(measured.sizes.spec.widths),  # type: ignore[attr-defined]
        evaluations=counts.forward + counts.backward + counts.products,
        operations=measured.work.operations,
        bytes=measured.work.bytes,
        launches=measured.work.launches,
        predicted=machine.seconds(measured.work, trial.dtype),
        measured=seconds.middle,
        low=seconds.low,
        high=seconds.high,
        processor=median(measured.processor),
        repeats=len(measured.seconds),
    )
