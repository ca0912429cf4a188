"""A whole training loop inside Julia: what the Julia methods cost where no other process and no torch is on the way."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from pynode.engines.julia.engine import bridge_options
from pynode.errors import InvalidArgument
from pynode.julia.session import default_session
from pynode.methods.base import GradientMethod
from pynode.problems.base import Problem
from pynode.problems.series.base import TimeSeries


@dataclass(frozen=True)
class JuliaTraining:
    """What a loop reported: losses `[iterations]` before each update, medians of seconds, means of evaluations."""

    label: str
    losses: list[float]
    seconds_forward: float
    seconds_backward: float
    seconds_optimiser: float
    warmup_seconds: float
    nfe: float
    evaluations: float

    @property
    def seconds(self) -> float:
        """Of an iteration."""
        return self.seconds_forward + self.seconds_backward + self.seconds_optimiser


def check_series(problem: Problem) -> TimeSeries:
    """Raises `InvalidArgument` unless `problem` is a time series."""
    if not isinstance(problem, TimeSeries):
        raise InvalidArgument("problem", problem.name, "no time series", "train a flow with compare --backend julia")
    return problem


def train_in_julia(
    problem: Problem, method: GradientMethod, *, iterations: int, learning_rate: float, seed: int = 0
) -> JuliaTraining:
    """Trains the field of a time series from the weights of `seed` by Adam, all in Julia, float64.

    Data, weights, loss and update are those of the same training in torch.  Raises `InvalidArgument` for a problem that
    is no time series, and what a session's `call` raises.
    """
    series = check_series(problem)
    model = problem.model(seed)
    asked: dict[str, Any] = {
        "system": model.system().to_json(),
        "theta": model.theta().tolist(),
        "y0": series.y0.tolist(),
        "ts": series.times.tolist(),
        "data": series.data.tolist(),
        "options": bridge_options(method.recipe, series.times),
        "iterations": iterations,
        "learning_rate": learning_rate,
    }
    answer = default_session().call("train", {"problem": asked}).value
    rows = answer["iterations"]

    def middle(key: str) -> float:
        return median(float(row[key]) for row in rows)

    nfe = [row["nfe_forward"] + row["nfe_backward"] for row in rows]
    return JuliaTraining(
        label=method.label,
        losses=[float(row["loss"]) for row in rows],
        seconds_forward=middle("seconds_forward"),
        seconds_backward=middle("seconds_backward"),
        seconds_optimiser=middle("seconds_optimiser"),
        warmup_seconds=float(answer["warmup_seconds"]),
        nfe=sum(nfe) / len(nfe),
        evaluations=(sum(nfe) + sum(row["n_vjp_backward"] for row in rows)) / len(nfe),
    )
