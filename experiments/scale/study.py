"""The study's cells as sizes: problems, methods, and the settings that decide how much work they are.

Field evaluations of adaptive solves are those of this project's published runs at the study's tolerances: the
study's own table could not be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from experiments.benchmarks.records import power_law
from experiments.scale.assumptions import Scenario
from pynode.errors import UsageError
from pynode.fields.base import FieldSpec
from pynode.flows.divergence import Divergence, Exact, divergence
from pynode.methods.base import GradientMethod
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem
from pynode.problems.density.base import CHUNK, TANGENT_ENTRIES, Density
from pynode.problems.series.base import TimeSeries
from pynode.records.files import read_json
from pynode.settings.known import rivals
from pynode.training.config import default_method

PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "study"
"""The records of the study: a directory for each problem, named like it."""

TOLERANCES = "spiral-tolerances"
"""The directory of the spiral at several tolerances."""

LOOSE = 1e-4
"""Tolerances above this are left out of the fit: a handful of steps does not shrink any more."""

TABLES = ("power", "gas", "hepmass", "miniboone", "bsds300")

PROBLEM_NAMES = ("spiral", "8gaussians", *TABLES)

METHOD_NAMES = rivals()[0][::-1]

HELD_OUT: dict[str, tuple[int, int]] = {
    "8gaussians": (1_000, 10_000),
    "power": (184_435, 204_928),
    "gas": (94_685, 105_206),
    "hepmass": (35_013, 174_987),
    "miniboone": (3_284, 3_648),
    "bsds300": (50_000, 250_000),
}
"""Validation and test rows: of the toys as they are drawn, of the tables as Papamakarios et al. 2017 split them."""

GRID_POINTS = 200**2
"""Points at which a toy's density is evaluated at the end."""

INVERSES = 8
"""Transports of 2,000 rows at the end: there and back, from data and from the base, accurately and as trained."""

SHOWN = 2_000


class NoRecordsOfRuns(UsageError):
    """The published records that the numbers of evaluations are taken from are not there."""


@dataclass(frozen=True)
class Nfe:
    """Mean field evaluations of an iteration, forward and backward, for each block of a flow."""

    forward: float
    backward: float

    def times(self, factor: float) -> Nfe:
        """Both by the same factor."""
        return Nfe(self.forward * factor, self.backward * factor)


def recorded(name: str, folder: Path = PUBLISHED) -> Nfe:
    """Means over the runs of Opt-Disc in a published directory, of all blocks together; raises `NoRecordsOfRuns`."""
    summaries = [read_json(path) for path in sorted((folder / name / "runs").glob("opt-disc-dopri5-*/summary.json"))]
    if not summaries:
        raise NoRecordsOfRuns(
            f"{folder / name}: no runs of opt-disc there; the model takes its NFE from the published records, "
            "so run it from a whole checkout"
        )
    return Nfe(fmean(s["nfe_forward"] for s in summaries), fmean(s["nfe_backward"] for s in summaries))


def tolerance_exponent(folder: Path = PUBLISHED) -> float:
    """p in NFE ~ rtol^-p, fitted to the published runs of the spiral."""
    points = []
    for path in sorted((folder / TOLERANCES / "runs").glob("opt-disc-dopri5-*/summary.json")):
        rtol = float(read_json(path.with_name("config.json"))["method"]["rtol"])
        if rtol <= LOOSE:
            summary = read_json(path)
            points.append((rtol, summary["nfe_forward"] + summary["nfe_backward"]))
    fit = power_law([x for x, _ in points], [y for _, y in points]) if len(points) > 2 else None
    if fit is None:
        raise NoRecordsOfRuns(f"{folder / TOLERANCES}: no three runs at {LOOSE:g} or tighter; take a whole checkout")
    return -fit.exponent


def block_nfe(problem: str, blocks: int, scenario: Scenario, folder: Path = PUBLISHED) -> Nfe:
    """Of one block of a problem at the study's tolerances.

    Tables were trained for a few hundred iterations only, so `scenario` says how much more a trained one takes.
    """
    factor = scenario["NFE of trained tables"] if problem in TABLES else 1.0
    return recorded(problem, folder).times(factor / blocks)


def accurate_factor(rtol: float, folder: Path = PUBLISHED, *, accurate: float = 1e-6) -> float:
    """How many times as many evaluations a judging solve takes as a training solve at `rtol`."""
    return max(1.0, 10 ** (tolerance_exponent(folder) * math.log10(rtol / accurate)))


@dataclass(frozen=True)
class Sizes:
    """What decides the work of one loss: a field, rows `(batch)`, blocks, output times, dtype, divergence (None: the
    field alone, on one trajectory)."""

    spec: FieldSpec
    rows: int
    blocks: int
    times: tuple[float, ...]
    dtype: str
    divergence: Divergence | None

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return int(getattr(torch, self.dtype).itemsize)

    @property
    def columns(self) -> int:
        """Numbers of one row of the state that is solved."""
        return self.spec.state_dim + (self.divergence is not None)

    @property
    def block_weights(self) -> int:
        """Weights of one block."""
        return sum(slot.size for slot in self.spec.slots())

    @property
    def weights(self) -> int:
        """Weights of all blocks."""
        return self.blocks * self.block_weights


def sizes_of(problem: Problem, dtype: str) -> Sizes:
    """Sizes of a problem with its options; `dtype` is that of its training."""
    if isinstance(problem, Density):
        chosen = problem.options
        return Sizes(
            problem.field_spec,
            problem.batch_rows,
            problem.blocks if chosen.blocks is None else chosen.blocks,
            (0.0, problem.horizon if chosen.horizon is None else chosen.horizon),
            dtype,
            problem.training_divergence,
        )
    assert isinstance(problem, TimeSeries)
    times = tuple(problem.times.tolist())
    return Sizes(problem.field_spec, 1, 1, times, dtype, None)


@dataclass(frozen=True)
class Counts:
    """Work of one iteration: field evaluations forward, field evaluations and products backward."""

    forward: float
    backward: float
    products: float


@dataclass(frozen=True)
class Judged:
    """Solves that judge a model: `rows` in chunks of `chunk`, `nfe` evaluations each, by `divergence`, so many
    `times`; `shared` where ranks divide the chunks among themselves instead of doing the same."""

    rows: int
    chunk: int
    nfe: float
    divergence: Divergence | None
    times: float
    shared: bool = True


@dataclass(frozen=True)
class Cell:
    """One run of the study up to its seed: what is trained, how, how long, and how it is judged on the way."""

    problem: str
    method_name: str
    sizes: Sizes
    method: GradientMethod
    counts: Counts
    iterations: float
    validation: Judged
    tests: tuple[Judged, ...]


def cells(scenario: Scenario, problems: Sequence[str] = PROBLEM_NAMES) -> list[Cell]:
    """All problems by both methods, at the study's settings."""
    return [cell(problem, method, scenario) for problem in problems for method in METHOD_NAMES]


def cell(problem: str, method_name: str, scenario: Scenario) -> Cell:
    """A problem by a method, at the study's settings."""
    kind = PROBLEMS.load(problem)
    settings = kind.training
    sizes = sizes_of(kind(), settings.dtype)
    method = default_method(kind, method_name, engine="eager")
    adaptive = block_nfe(problem, sizes.blocks, scenario)
    counts = adaptive_counts(sizes, adaptive) if method.adaptive else fixed_counts(sizes, method)
    is_table = settings.patience is not None
    iterations = min(settings.iterations, scenario["iterations of tables"]) if is_table else settings.iterations
    validations = iterations / settings.validate_every + 1
    if sizes.divergence is None:
        steps = getattr(kind, "accurate_steps", 1) * (len(sizes.times) - 1)
        judge = Judged(1, 1, 4.0 * steps, None, validations)
        return Cell(problem, method_name, sizes, method, counts, iterations, judge, ())
    rtol = float(kind.adaptive_settings["rtol"])
    accurate = adaptive.forward * sizes.blocks * accurate_factor(rtol)
    judge, tests = judgements(
        sizes, HELD_OUT[problem], accurate, counts.forward, validations, on_grid=kind.training.patience is None
    )
    return Cell(problem, method_name, sizes, method, counts, iterations, judge, tests)


def judgements(
    sizes: Sizes, held_out: tuple[int, int], accurate: float, as_trained: float, validations: float, *, on_grid: bool
) -> tuple[Judged, tuple[Judged, ...]]:
    """Validation and final evaluation of a flow, as `pynode.problems.density` does them.

    `held_out`: validation and test rows; `accurate`, `as_trained`: evaluations of the two kinds of solves; `on_grid`: a
    toy, whose density is drawn, not a table, whose training rows are judged too.
    """
    validation_rows, test_rows = held_out
    chunk = chunk_of(sizes.spec)

    def judged(rows: int, nfe: float, by: Divergence, times: float = 1, *, shared: bool = True) -> Judged:
        return Judged(rows, min(chunk, rows), nfe, by, times, shared)

    estimate = Exact() if sizes.spec.state_dim <= 2 else divergence("gaussian")
    tests = (
        judged(test_rows, accurate, Exact()),
        judged(test_rows, as_trained, Exact()),
        # transports carry the trace along, whoever reads it
        judged(min(SHOWN, test_rows), (accurate + as_trained) / 2, Exact(), INVERSES, shared=False),
        judged(GRID_POINTS if on_grid else CHUNK, accurate, Exact(), shared=not on_grid),
    )
    return judged(validation_rows, accurate, estimate, validations), tests


def fixed_counts(sizes: Sizes, method: GradientMethod) -> Counts:
    """Counts of Disc-Opt, known beforehand."""
    plain: Any = method
    steps = plain.steps if isinstance(plain.steps, int) else sum(plain.steps)
    n = float(len(plain.scheme.b) * steps * len(list(pairwise(sizes.times))) * sizes.blocks)
    return Counts(n, n if plain.memory == "recompute" else 0.0, n)


def adaptive_counts(sizes: Sizes, nfe: Nfe) -> Counts:
    """Counts of Opt-Disc with so many evaluations a block."""
    return Counts(nfe.forward * sizes.blocks, nfe.backward * sizes.blocks, nfe.backward * sizes.blocks)


def chunk_of(spec: FieldSpec) -> int:
    """Rows that are judged at once, as the problems have it."""
    widest = max(slot.shape[0] for slot in spec.slots())
    return max(1, min(CHUNK, TANGENT_ENTRIES // (spec.state_dim * widest)))
