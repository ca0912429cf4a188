"""A whole training loop inside Julia: what the Julia methods cost where no other process and no torch is on the way."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from pynode.engines.julia.engine import bridge_options
from pynode.errors import InvalidArgument
from pynode.fields.base import System, system_of, why_no_system
from pynode.julia.session import default_session
from pynode.problems.series.base import TimeSeries
from pynode.solve import Solve
from pynode.training.config import RunConfig

REMEDY = "train it by compare --backend julia, where loss and update stay in torch"


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


@dataclass(frozen=True)
class JuliaLoop:
    """A training that Julia can do by itself: the label of its method, and the request."""

    label: str
    request: dict[str, Any]


def julia_loop(run: RunConfig) -> JuliaLoop:
    """The training of `run` as a loop inside Julia.

    Julia fits the states of a time series to its data: the loss is the sum of squares, the update is Adam's at one
    learning rate, the numbers are float64.  The model is a `Field`, or a module whose tape reads its parameters as they
    are.  Raises `InvalidArgument` for everything else; needs no Julia.
    """
    series = _series_of(run)
    model = series.model(run.seed)
    times = series.solve_times(run.method)
    system = _system_of(series, model, times, run)
    theta = torch.cat([torch.empty(0, dtype=torch.float64), *(p.detach().reshape(-1) for p in system.theta)])
    request = {
        "system": system.to_json(),
        "theta": theta.tolist(),
        "y0": series.y0.reshape(-1).tolist(),
        "ts": times.tolist(),
        "data": series.data.flatten(1).tolist(),
        "options": bridge_options(run.method.recipe, times),
        "iterations": run.iterations,
        "learning_rate": run.learning_rate,
    }
    return JuliaLoop(run.method.label, request)


def _series_of(run: RunConfig) -> TimeSeries:
    """The problem of `run`; raises `InvalidArgument` unless Julia knows its loss and its update."""
    problem = run.make_problem()
    if not isinstance(problem, TimeSeries):
        raise InvalidArgument("problem", problem.name, "no time series", "train a flow with compare --backend julia")
    for name, does in (
        ("objective", "a loss of its own, but the loop in Julia fits the sum of squares"),
        ("batch", "batches of its own, but the loop in Julia fits one trajectory"),
        ("parameter_groups", "parameter groups of its own, but the loop in Julia has one learning rate"),
    ):
        if getattr(getattr(problem, name), "__func__", None) is not getattr(TimeSeries, name):
            raise InvalidArgument("problem", problem.name, f"it has {does} ({name} is overridden)", REMEDY)
    hidden = int((~torch.isfinite(problem.data)).sum())
    if hidden:  # an error of the problem's own unless they are masked
        why = f"{hidden} of the data are masked, but the loop in Julia fits all of them"
        raise InvalidArgument("missing", f"'{problem.missing}'", why, REMEDY)
    for name, usual, what in (
        ("dtype", "float64", "the loop in Julia computes in float64"),
        ("weight_decay", 0.0, "the loop in Julia has no weight decay"),
        ("rate_drops", (), "the loop in Julia has one learning rate, and no validation"),
        ("rate_half_life", None, "the loop in Julia has one learning rate"),
        ("patience", None, "the loop in Julia has no validation that could stop it"),
    ):
        if (value := getattr(run, name)) != usual:
            raise InvalidArgument(name, value, what, f"set {name} = {usual!r} in the problem's training, or {REMEDY}")
    return problem


def _system_of(series: TimeSeries, model: Any, times: Tensor, run: RunConfig) -> System:
    """The model as Julia rebuilds it; raises `InvalidArgument` where an update in Julia would be another one."""
    problem, kind = series.name, type(model).__name__

    def refused(why: str) -> InvalidArgument:
        return InvalidArgument("problem", problem, f"its model {kind} {why}", REMEDY)

    if why_no_system(model) is None:
        system = system_of(model)
    else:
        solve = Solve(model, series.y0, times, run.method.recipe)
        if solve.no_system is not None:
            raise refused(f"can't be rebuilt in Julia: {solve.no_system}")
        system = solve.system
    known = {id(p): name for name, p in model.named_parameters()}
    if any(id(x) not in known or not x.requires_grad for x in system.theta):
        why = "computes with tensors that are no trainable parameters (buffers, frozen or computed weights)"
        raise refused(f"{why}, which the loop in Julia would train")
    if len({id(x) for x in system.theta}) < len(system.theta):
        raise refused("uses a parameter in two places, which the loop in Julia would train as two")
    return system


def train_in_julia(loop: JuliaLoop) -> JuliaTraining:
    """Trains by `loop`, all in Julia; raises what a session's `call` raises."""
    answer = default_session().call("train", {"problem": loop.request}).value
    rows = answer["iterations"]

    def middle(key: str) -> float:
        return median(float(row[key]) for row in rows)

    nfe = [row["nfe_forward"] + row["nfe_backward"] for row in rows]
    return JuliaTraining(
        label=loop.label,
        losses=[float(row["loss"]) for row in rows],
        seconds_forward=middle("seconds_forward"),
        seconds_backward=middle("seconds_backward"),
        seconds_optimiser=middle("seconds_optimiser"),
        warmup_seconds=float(answer["warmup_seconds"]),
        nfe=sum(nfe) / len(nfe),
        evaluations=(sum(nfe) + sum(row["n_vjp_backward"] for row in rows)) / len(nfe),
    )
