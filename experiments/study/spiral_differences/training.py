"""One training run of a variant, recorded as the authors record theirs: the loss after every update."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, field

import torch

from experiments.study.spiral_differences.records import DifferenceRecord
from experiments.study.spiral_differences.variants import Variant
from pynode.clock import load_average
from pynode.errors import SolveError
from pynode.least_squares import LeastSquares
from pynode.methods.disc_opt import DiscOpt
from pynode.problems.series.spiral import Spiral
from pynode.records.files import finite
from pynode.training.optimiser import make_adam

EVERY = 5
"""Iterations between recorded losses; the authors' iterations are multiples of it."""


@dataclass
class _Losses:
    """Losses after each update, the initial one first."""

    training: list[float] = field(default_factory=list)
    accurate: list[float] = field(default_factory=list)

    def recorded(self, iterations: int) -> dict[str, list[float | None]]:
        """The lists of a record, at multiples of `EVERY` and at the end."""
        lists = {"loss": self.training, "accurate_loss": self.accurate}
        lists |= {f"best_{name}": list(itertools.accumulate(values, min)) for name, values in lists.items()}
        at = recorded_iterations(iterations)
        return {name: [finite(v[i]) if i < len(v) else None for i in at] for name, v in lists.items()}


def recorded_iterations(iterations: int) -> list[int]:
    """Multiples of `EVERY`, and the last iteration."""
    return sorted({*range(0, iterations + 1, EVERY), iterations})


def run(variant: Variant, method_name: str, seed: int, iterations: int) -> DifferenceRecord:
    """Trains with `variant`; a failed solve or a loss that is not finite ends the run and is recorded.

    Adam updates one vector of all weights, in Float32 where the variant says so; the solves are always in float64.
    """
    problem, exact = Spiral(faithful=True), Spiral()
    method, accurate = variant.method(method_name), DiscOpt(steps=exact.accurate_steps)
    times, data = variant.times(problem, method), variant.states(problem)
    weights = variant.weights(problem, seed).to(torch.float32 if variant.single else torch.float64)
    model = problem.field_spec.build(theta=weights.double())
    adam = make_adam([weights.requires_grad_()], variant.rate)
    losses, drift, failure, engine = _Losses(), 0.0, None, ""
    start = time.perf_counter()
    try:
        for iteration in range(iterations + 1):
            fit = LeastSquares(method, model, problem.y0, times, data)
            if not math.isfinite(fit.loss):
                failure = f"loss {fit.loss} after {iteration} updates"
                break
            losses.training.append(fit.loss)
            losses.accurate.append(_loss_of(LeastSquares(accurate, model, exact.y0, exact.times, exact.data)))
            if iteration < iterations:
                model.zero_grad()
                fit.backward()
                weights.grad = torch.cat([p.grad.reshape(-1) for p in model.parameters()]).to(weights.dtype)  # type: ignore[union-attr]
                adam.step()
                model.set_theta(weights.detach().double())
            drift, engine = max(drift, fit.stats.drift or 0.0), fit.stats.engine
    except SolveError as error:
        failure = f"after {iteration} updates: {error}"
    return DifferenceRecord(
        variant=variant.name,
        method=method_name,
        seed=seed,
        iterations=recorded_iterations(iterations),
        seconds=time.perf_counter() - start,
        engine=engine,
        drift=drift if method.adaptive else None,
        load_average=load_average(),
        failure=failure,
        **losses.recorded(iterations),
    )


def _loss_of(fit: LeastSquares) -> float:
    return fit.loss if math.isfinite(fit.loss) else math.inf
