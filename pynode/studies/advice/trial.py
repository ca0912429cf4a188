"""Short trainings: to weights where costs and errors are those of training, and to see that a setting trains."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pynode.errors import SolveError
from pynode.methods.base import GradientMethod
from pynode.studies.advice.measure import shown
from pynode.studies.advice.subject import Posed, Practice

APART = 1.07
"""Weights are kept at iterations that grow by this factor: whatever the number of iterations, several lie in the last
quarter, and the loss jumps from step to step."""

LAST, JUDGED = 0.25, 5
"""The part of a training whose weights are judged, and how many of them."""


@dataclass(frozen=True)
class Trained:
    """A short training: its iterations, seconds, final weights `(n_params,)`, and weights on the way by iteration.

    Where an iteration `failed`, the weights are the last ones at which the loss could be computed.
    """

    iterations: int
    seconds: float
    theta: Tensor
    looks: dict[int, Tensor]
    failed: bool = False

    def reached(self, iterations: int, judge: Callable[[Tensor], float]) -> float:
        """The least loss that `judge` finds over some weights of the last quarter of the first `iterations`; infinite
        where the training failed or was shorter."""
        if self.failed or self.iterations < iterations:
            return math.inf
        kept = [theta for at, theta in self.looks.items() if (1 - LAST) * iterations < at <= iterations]
        return min(map(judge, kept[:: max(1, len(kept) // JUDGED)]), default=math.inf)


def train(
    practice: Practice,
    method: GradientMethod,
    theta: Tensor,
    *,
    seconds: float,
    iterations: int,
) -> Trained:
    """Trains by `method` from `theta` with Adam, at most `iterations`, or until `seconds` have passed.

    The parameters are left as they are after the last iteration.  Raises `EngineUnavailable` or `InvalidArgument` for
    a method that can't solve this at all.
    """
    posed = Posed(practice.losses(0), practice.params)
    posed.set(theta)
    optimiser = torch.optim.Adam(practice.groups(), lr=practice.learning_rate)
    chosen = shown(method)
    began, spent, done = time.perf_counter(), 0.0, 0
    looks: dict[int, Tensor] = {}
    computed, at, following = theta, 0, 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(iterations):
            try:
                optimiser.zero_grad()
                loss = practice.losses(k)(chosen)
                for p, g in zip(practice.params, torch.autograd.grad(loss, list(practice.params), allow_unused=True)):  # noqa: B905
                    p.grad = g
            except SolveError:
                return Trained(at, spent, computed, looks, failed=True)
            if not math.isfinite(float(loss.detach())):
                return Trained(at, spent, computed, looks, failed=True)
            computed, at = posed.theta(), k
            optimiser.step()
            done, spent = k + 1, time.perf_counter() - began
            if done >= following or done == iterations:
                looks[done] = posed.theta()
                following = max(done + 1, math.ceil(APART * done))
            if spent > seconds:
                break
    return Trained(done, spent, posed.theta(), looks)


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
