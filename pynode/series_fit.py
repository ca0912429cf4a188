"""A neural ODE fitted to a file of series in a few lines of Python: what `series` and `predict` do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pynode.datasets.splits import Array
from pynode.errors import Interrupted, InvalidArgument, NonFiniteLoss, PynodeError, UsageError
from pynode.methods.base import GradientMethod, check_method
from pynode.methods.disc_opt import DiscOpt
from pynode.problems.base import Evaluation
from pynode.problems.series.user_series import UserSeries
from pynode.records.events import EVENTS, Event
from pynode.records.files import lines_if_any
from pynode.records.iteration import IterationRecord
from pynode.training.config import OnFailure, RunConfig
from pynode.training.in_memory import TrainingInMemory
from pynode.training.keeping import OnDisk
from pynode.training.plan import configure
from pynode.training.restore import restore
from pynode.training.trainer import train
from pynode.trajectories.ahead import times_ahead
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.table import Rows, check_finite
from pynode.types import Theta

USUAL = ("resumed", "changed", "interrupted")
"""Events of a run directory that say nothing of the fit."""


@dataclass(frozen=True)
class Forecast:
    """Values `(k, columns)` of one trajectory at `times` `(k,)` after its last row, in the units of the file."""

    name: str
    columns: tuple[str, ...]
    times: Array
    values: Array


@dataclass(frozen=True)
class SeriesFit:
    """A fitted series: errors on held-out rows, and forecasts by the weights that were trained on all rows at last."""

    problem: UserSeries
    model: SeriesModel
    """With the weights that forecasts are made by."""
    method: GradientMethod
    judged: Theta
    """The weights `(n_params,)` that were trained without the held-out rows, which `evaluation` judges."""
    records: tuple[IterationRecord, ...]
    """Of every iteration, those of the stages after Adam too."""
    events: tuple[str, ...] = ()
    """What happened in the training, such as failed iterations, in sentences."""

    @cached_property
    def evaluation(self) -> Evaluation:
        """Errors of fit and held-out forecasts, beside those of forecasts without a model."""
        judged = self.problem.model(self.problem.seed)
        judged.set_theta(self.judged)
        return self.problem.evaluate(judged, self.method)

    @property
    def losses(self) -> tuple[float, ...]:
        """The loss of every iteration of Adam; NaN of one that failed."""
        return tuple(float("nan") if r.loss is None else r.loss for r in self.records if not r.stage)

    @property
    def notices(self) -> list[str]:
        """What was read and decided, and what went wrong in training, in sentences."""
        said = [*self.problem.series.notices, *self.problem.notices, *map(as_in_python, self.events)]
        return list(dict.fromkeys(said))

    @property
    def errors(self) -> dict[str, float]:
        """RMSE over standard deviations of fit and held-out forecast, of the baselines too."""
        return dict(self.evaluation.metrics)

    def __str__(self) -> str:
        """What was read and decided, and the errors, a line each."""
        known = [f"{name}: {value:.4g}" for name, value in self.errors.items()]
        return "\n".join([*self.notices, *known])

    @property
    def field(self) -> torch.nn.Module:
        """The field, in scaled columns and the model's unit of time."""
        return self.model.field.inner

    def forecast(self, until: float | str, *, every: float | None = None) -> list[Forecast]:
        """Forecasts of every trajectory to the time `until`, in the file's units or as a date, from its own last state.

        Rows are `every` apart, or as far as those of the file usually are.  Raises `InvalidArgument` for a time beyond
        which an input is known, `RunFailure` where a forecast is not finite.
        """
        if every is not None and not (isinstance(every, (int, float)) and 0 < every < float("inf")):
            raise InvalidArgument(
                "every", repr(every), "not a positive number", "give a length of time in the file's units"
            )
        series = self.problem.series
        try:
            end = series.axis.parse(until) if isinstance(until, str) else float(until)
        except InvalidArgument as error:
            raise UsageError(f"until{str(error).removeprefix(error.argument)}") from error
        times = times_ahead(series.axis, series.each, end, every, series.input_kinds)
        ahead = [(each, at) for each, at in zip(series.each, times, strict=True) if len(at)]
        values = self.problem.forecasts(self.model, [each for each, _ in ahead], [at for _, at in ahead])
        every_forecast = [
            Forecast(each.name, self.problem.columns, at, own) for (each, at), own in zip(ahead, values, strict=True)
        ]
        for own in every_forecast:
            check_finite(Rows(own.name, own.times, own.values), own.columns, series.axis)
        return every_forecast


class FitInterrupted(Interrupted):
    """Ctrl-C or a signal ended a fit; `fit` has the weights so far, and the records."""

    def __init__(self, signal_number: int, message: str, fit: SeriesFit) -> None:
        self.fit = fit
        super().__init__(signal_number, message)


@contextmanager
def _as_in_python() -> Iterator[None]:
    """Errors of a training name the arguments of `fit_series`, not the options of a command."""
    try:
        yield
    except (PynodeError, Interrupted) as error:
        error.args = (as_in_python(str(error)),)
        raise


def as_in_python(text: str) -> str:
    """A sentence with the arguments of `fit_series` in place of options of the command line."""
    text = re.sub(r"^--out (.*?): ", r"out = \1: ", text)
    text = re.sub(r"--resume\b", "resume=True", text)
    return re.sub(r"(?<![\w-])--([a-z][a-z-]*)", lambda match: match[1].replace("-", "_"), text)


def fit_series(
    data: Path | str,
    method: GradientMethod | None = None,
    *,
    iterations: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    on_failure: OnFailure = "stop",
    out: Path | str | None = None,
    resume: bool = False,
    callback: Callable[[int, float], None] | None = None,
    **options: Any,
) -> SeriesFit:
    """Fits the series in the file `data` by `method` (Disc-Opt by RK4 steps), as `series --data FILE` does.

        fit = pynode.fit_series("room.csv", pynode.OptDisc(rtol=1e-5), time="hour", inputs=("outdoor",))
        print(fit.errors["forecast_error"])
        for forecast in fit.forecast(216):
            print(forecast.name, forecast.times, forecast.values)

    `options` are those of the problem `series` (`SeriesOptions`): columns, hidden dimensions, field, split.  `callback`
    is called with the number and the loss (NaN where it failed) of every iteration, those of L-BFGS after Adam's too.
    `on_failure` says what follows an iteration of Adam whose solve fails or whose loss is not finite: "stop", "skip"
    its batch, or "restore" the best weights.  The training is kept in memory, or with `out` in that directory, from
    which `resume` goes on.

    Raises `UsageError` for a file or options that can't be used, before training, `NonFiniteLoss` or `SolveError` where
    training fails, and `FitInterrupted` (a `KeyboardInterrupt`), whose `fit` has the weights so far.
    """
    used = DiscOpt() if method is None else method
    check_method(used)
    config = configure(
        UserSeries,
        used,
        problem_options={"data": str(data), **options},
        seed=seed,
        iterations=iterations,
        learning_rate=learning_rate,
        on_failure=on_failure,
    )
    numbers = iter(range(2**63))

    def listener(record: IterationRecord) -> None:
        if callback is not None:
            callback(next(numbers), float("nan") if record.loss is None else record.loss)

    with _as_in_python():
        return _in_memory(config, listener) if out is None else _on_disk(config, Path(out), resume, listener)


def _in_memory(config: RunConfig, listener: Callable[[IterationRecord], None]) -> SeriesFit:
    training = TrainingInMemory(config, listener)

    def fit() -> SeriesFit:
        of_adam, of_stages = training.records
        problem, model, best, last = training.problem, training.model, training.best, training.last
        assert isinstance(problem, UserSeries)
        model.set_theta(last)
        return SeriesFit(problem, model, config.method, best, (*of_adam, *of_stages), tuple(training.events))

    try:
        summary = training.train()
    except Interrupted as error:
        raise FitInterrupted(error.signal_number, f"{error} in `fit` of this error", fit()) from None
    if summary["best_validation_loss"] is None:
        raise NonFiniteLoss(
            "the loss over long windows was never finite: the solves of every model that was tried blow up; lower the "
            "learning rate, or take shorter windows (window=8)"
        )
    return fit()


def _on_disk(
    config: RunConfig, directory: Path, resume: bool, listener: Callable[[IterationRecord], None]
) -> SeriesFit:
    train(config, directory, resume=resume, listener=listener)
    _, problem, judged = restore(directory)
    _, _, model = restore(directory, last=True)
    assert isinstance(problem, UserSeries)
    of_adam, of_stages = OnDisk(directory).records()
    events = [e for e in lines_if_any(directory / EVENTS, Event) if e.event not in USUAL]
    said = tuple(f"{e.event} {e.iteration}: {e.detail}" for e in events)
    return SeriesFit(problem, model, config.method, judged.theta(), (*of_adam, *of_stages), said)
