"""A neural ODE fitted to a file of series in a few lines of Python: what `series` and `predict` do, without records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pynode.datasets.splits import Array
from pynode.errors import InvalidArgument, NonFiniteLoss, UsageError
from pynode.methods.base import GradientMethod, check_method
from pynode.methods.disc_opt import DiscOpt
from pynode.problems.base import Evaluation, options_from_json
from pynode.problems.series.user_series import UserSeries
from pynode.trajectories.ahead import times_ahead
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.table import Rows, check_finite


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
    evaluation: Evaluation
    losses: tuple[float, ...]
    """The loss of every iteration."""

    @property
    def notices(self) -> list[str]:
        """What was read and decided, and what went wrong at the end of training, in sentences."""
        record: Any = self.evaluation.series["forecast"]
        return [*self.problem.series.notices, *record["notices"]]

    @property
    def errors(self) -> dict[str, float]:
        """RMSE over standard deviations of fit and held-out forecast, of the baselines too, and what training took."""
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
        with _as_in_python():
            return self._forecast(until, every)

    def _forecast(self, until: float | str, every: float | None) -> list[Forecast]:
        series = self.problem.series
        end = series.axis.parse(until) if isinstance(until, str) else float(until)
        times = times_ahead(series.axis, series.each, end, every, series.input_kinds)
        ahead = [(each, at) for each, at in zip(series.each, times, strict=True) if len(at)]
        values = self.problem.forecasts(self.model, [each for each, _ in ahead], [at for _, at in ahead])
        every_forecast = [
            Forecast(each.name, self.problem.columns, at, own) for (each, at), own in zip(ahead, values, strict=True)
        ]
        for own in every_forecast:
            check_finite(Rows(own.name, own.times, own.values), own.columns, series.axis)
        return every_forecast


@contextmanager
def _as_in_python() -> Iterator[None]:
    """Errors name arguments as Python has them, not the options of `predict`."""
    try:
        yield
    except UsageError as error:
        error.args = (re.sub(r"--(until|every)\b", r"\1", str(error)),)
        raise


def fit_series(
    data: Path | str,
    method: GradientMethod | None = None,
    *,
    iterations: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    callback: Callable[[int, float], None] | None = None,
    **options: Any,
) -> SeriesFit:
    """Fits the series in the file `data` by `method` (Disc-Opt by RK4 steps), as `series --data FILE` does.

        fit = pynode.fit_series("room.csv", pynode.OptDisc(rtol=1e-5), time="hour", inputs=("outdoor",))
        print(fit.errors["forecast_error"])
        for forecast in fit.forecast(216):
            print(forecast.name, forecast.times, forecast.values)

    `options` are those of the problem `series` (`SeriesOptions`): columns, hidden dimensions, field, split.  `callback`
    is called with the number and the loss of every iteration.  Raises `UsageError` for a file or options that can't be
    used, before training, and `NonFiniteLoss` or `SolveError` where training fails.
    """
    used = DiscOpt() if method is None else method
    check_method(used)
    settings = UserSeries.training
    count = settings.iterations if iterations is None else iterations
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidArgument("iterations", count, "not a positive integer", f"use e.g. {settings.iterations}")
    problem = UserSeries(seed=seed, options=options_from_json(UserSeries, {"data": str(data), **options}))
    problem.check()
    model = problem.model(seed)
    rate = settings.learning_rate if learning_rate is None else learning_rate
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    best, least, losses = model.theta(), float("inf"), []
    for iteration in range(count):
        if iteration % settings.validate_every == 0 and (loss := problem.validation_loss(model)) < least:
            best, least = model.theta(), loss
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 ** (iteration / (settings.rate_half_life or count))
        objective = problem.objective(used, model, problem.batch(iteration))
        if not np.isfinite(objective.value):
            raise NonFiniteLoss(f"the loss of iteration {iteration} is {objective.value}; lower the learning rate")
        objective.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(objective.value)
        if callback is not None:
            callback(iteration, objective.value)
    last = problem.validation_loss(model)
    if not min(last, least) < float("inf"):
        raise NonFiniteLoss(
            "the loss over long windows was never finite: the solves of every model that was tried blow up; lower the "
            "learning rate, or take shorter windows (window=8)"
        )
    if not last < least:
        model.set_theta(best)
    evaluation = problem.evaluate(model, used)
    record: Any = evaluation.series["forecast"]
    model.set_theta(torch.tensor(record["final"], dtype=torch.float64))
    return SeriesFit(problem, model, evaluation, tuple(losses))
