"""Short trainings: to weights where costs and errors are those of training, and to see that a setting trains."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from pynode.errors import SolveError
from pynode.methods.base import GradientMethod
from pynode.studies.advice.measure import shown
from pynode.studies.advice.subject import Posed, Practice

LOOKS = 5
"""How often the accurate loss is looked at, over the last quarter of a training: it jumps from step to step."""


@dataclass(frozen=True)
class Trained:
    """A short training: its iterations, seconds, final weights `(n_params,)`, some of the last quarter, and its loss.

    The loss is accurate: the median over the weights that were kept.  Infinite where an iteration failed.
    """

    iterations: int
    seconds: float
    theta: Tensor
    kept: tuple[Tensor, ...]
    reached: float


def train(
    practice: Practice,
    method: GradientMethod,
    theta: Tensor,
    judge: Callable[[Tensor], float],
    *,
    seconds: float,
    iterations: int,
) -> Trained:
    """Trains by `method` from `theta` with Adam, at most `iterations`, or until `seconds` have passed.

    `judge` gives the accurate loss at weights.  The parameters are left as they are after the last iteration.
    """
    posed = Posed(practice.losses(0), practice.params)
    posed.set(theta)
    optimiser = torch.optim.Adam(practice.groups(), lr=practice.learning_rate)
    chosen = shown(method)
    began, spent, done = time.perf_counter(), 0.0, 0
    looks: dict[int, Tensor] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(iterations):
            try:
                optimiser.zero_grad()
                loss = practice.losses(k)(chosen)
                for p, g in zip(practice.params, torch.autograd.grad(loss, list(practice.params), allow_unused=True)):  # noqa: B905
                    p.grad = g
            except SolveError:
                return Trained(done, spent, theta, (), math.inf)
            if not math.isfinite(float(loss.detach())):
                return Trained(done, spent, theta, (), math.inf)
            optimiser.step()
            done, spent = k + 1, time.perf_counter() - began
            if _is_look(done, iterations):
                looks[done] = posed.theta()
            if spent > seconds:
                break
    end = posed.theta()
    kept = [theta for at, theta in looks.items() if at > 0.7 * done] or [end]
    reached = median(sorted(judge(theta) for theta in kept))
    posed.set(end)
    return Trained(done, spent, end, tuple(kept), reached)


def _is_look(done: int, iterations: int) -> bool:
    """Whether the weights after `done` iterations are kept: some of the last quarter, whenever the time ends."""
    return done % max(1, iterations // (4 * LOOKS)) == 0 or done == iterations


def judge_of(exact: Posed, method: GradientMethod) -> Callable[[Tensor], float]:
    """The loss at given weights by `method`, without a gradient; infinite where the solve fails."""

    def judge(theta: Tensor) -> float:
        exact.set(theta)
        try:
            with torch.no_grad():
                value = float(exact.loss(method))
        except SolveError:
            return math.inf
        return value if math.isfinite(value) else math.inf

    return judge
