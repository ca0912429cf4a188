"""The map of who wins (RQ5): what a gradient of a given accuracy costs by either method, over stress problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from torch import Tensor

from pynode.engines.choice import AUTO, automatic_engines
from pynode.errors import SolveError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.problems.series.base import TimeSeries
from pynode.schemes.dopri8 import DOPRI8
from pynode.studies.gradients.errors import gradient_errors
from pynode.studies.gradients.oracle import continuous_gradient
from pynode.studies.gradients.record import GradientErrorRecord
from pynode.studies.gradients.timing import CAREFUL, Repeats
from pynode.studies.winners.record import NO_METHOD, TARGETS, WinnerRecord

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
TOLERANCES = tuple(10.0**-k for k in range(1, 11))


@dataclass(frozen=True)
class Axis:
    """One option of one problem, swept over `values`; `fixed` are the problem's other options.

    `fit` is how many iterations and points the field is fitted to the dynamics with, see `TimeSeries.collocated`.
    """

    name: str
    problem: str
    option: str
    values: tuple[float, ...]
    fixed: tuple[tuple[str, float], ...] = ()
    fit: tuple[int, int] = (1000, 200)

    def values_of(self, *, quick: bool) -> tuple[float, ...]:
        """All values, or the two smallest."""
        return self.values[:2] if quick else self.values


AXES = {
    axis.name: axis
    for axis in (
        # after fewer iterations the field of the largest stiffness has no fast phases
        Axis("stiffness", "van-der-pol", "stiffness", (0.5, 2.0, 5.0, 10.0, 20.0), fit=(3000, 100)),
        Axis("horizon", "oscillator", "horizon", (1, 4, 16)),
        Axis("dimension", "oscillator", "dim", (2, 8, 32), (("horizon", 2.0),)),
        Axis("width", "lotka-volterra", "width", (16, 64, 256), fit=(1000, 100)),
    )
}


def one_engine(name: str) -> str:
    """The engine that `name` stands for throughout a map: with "auto" the first that is available, kernels if it can.

    Raises `EngineUnavailable` where the engine called `name` can't run here.
    """
    if name == AUTO:
        return next(e.name for e in automatic_engines() if e.fallback or e.unavailable() is None)
    OptDisc(engine=name).check_available()
    return name


def engine_of_reference(engine: str) -> str:
    """What computes reference gradients in a map by `engine`: kernels, which agree with torch to rounding, or torch."""
    return engine if engine == "fused" else "eager"


def measure_cell(
    axis: Axis,
    value: float,
    *,
    seed: int = 0,
    collocation: int | None = None,
    steps: Sequence[int] = STEPS,
    tolerances: Sequence[float] = TOLERANCES,
    best: float = min(TARGETS),
    repeats: Repeats = CAREFUL,
    engine: str = AUTO,
) -> list[WinnerRecord]:
    """Disc-Opt (RK4) over `steps` and Opt-Disc (dopri5) over `tolerances`, each until its error is below `best`.

    At weights that `collocation` iterations (those of the axis) fit to the problem's dynamics, by one engine; `repeats`
    says how often gradients are timed.  A cell without a reference gradient is one record that says so.
    """
    engine = one_engine(engine)
    kind = PROBLEMS.load(axis.problem)
    problem = kind(seed=seed, options=options_from_json(kind, {**dict(axis.fixed), axis.option: value}))
    assert isinstance(problem, TimeSeries)
    iterations, points = axis.fit
    model = problem.collocated(seed, iterations=collocation or iterations, points=points)
    params = list(model.parameters())

    def loss_of(method: GradientMethod) -> Tensor:
        return problem.objective(method, model, problem.batch(0)).loss

    try:
        reference = continuous_gradient(
            loss_of, params, target=1e-8, scheme=DOPRI8, first=2, engine=engine_of_reference(engine)
        )
    except SolveError as error:
        failed = GradientErrorRecord(axis.problem, NO_METHOD, NO_METHOD, NO_METHOD, False, 0.0, 0.0)
        return [_as_winner(replace(failed, failure=f"no reference gradient: {error}"), axis, value, seed)]
    records = []
    families: tuple[list[GradientMethod], ...] = (
        [DiscOpt(steps=n, engine=engine) for n in steps],
        [OptDisc(rtol=tol, atol=tol / 100, engine=engine, adjoint="backsolve", drift="ignore") for tol in tolerances],
    )
    for methods in families:
        measured = gradient_errors(
            lambda method: problem.objective(method, model, problem.batch(0)),
            params,
            methods,
            problem=axis.problem,
            repeats=repeats,
            reference=reference,
            own_loss=False,
        )
        records += [_as_winner(record, axis, value, seed) for record in _until(measured, best)]
    return records


def _until(records: Iterator[GradientErrorRecord], best: float) -> Iterator[GradientErrorRecord]:
    """Records up to the first that is better than asked for."""
    for record in records:
        yield record
        if record.error is not None and record.error < best:
            return


def _as_winner(record: GradientErrorRecord, axis: Axis, value: float, seed: int) -> WinnerRecord:
    """The record of the cell of `axis` at `value`."""
    shared = {f.name: getattr(record, f.name) for f in fields(WinnerRecord) if hasattr(record, f.name)}
    return WinnerRecord(axis=axis.name, value=float(value), seed=seed, **shared)
