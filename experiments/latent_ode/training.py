"""Training of the latent ODE, and its errors beside those of baselines that need no training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.latent_ode.data import SEEN, Series, pendulums
from experiments.latent_ode.model import LatentODE
from pynode.methods.base import GradientMethod
from pynode.solution import SolveStats

SERIES, BATCH, WARM_UP = 400, 32, 200
"""Series to train on, in a batch, and iterations until the divergence from the prior counts in full."""


@dataclass(frozen=True)
class Trained:
    """A trained model, the negative evidence bound at every iteration, seconds of one core, and the work of it all."""

    model: LatentODE
    losses: list[float]
    seconds: float
    work: SolveStats


def trained(
    method: GradientMethod, iterations: int, seed: int = 0, progress: Callable[[int, float], object] = lambda *_: None
) -> Trained:
    """A model that has learnt `SERIES` pendulums; the same series, batches and initial weights for every method."""
    series = training_series(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LatentODE(method)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, iterations)
        losses, work, start = list[float](), SolveStats(), time.process_time()
        for iteration in range(iterations):
            parts = model.loss(series.rows(torch.randint(SERIES, (BATCH,))))
            loss = parts.reconstruction + min(1.0, iteration / WARM_UP) * parts.divergence
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimiser.step()
            schedule.step()
            assert model.dynamics.stats is not None
            work = work + model.dynamics.stats
            losses.append(float((parts.reconstruction + parts.divergence).detach()))
            progress(iteration, losses[-1])
    return Trained(model, losses, time.process_time() - start, work)


@dataclass(frozen=True)
class Errors:
    """Root mean square errors in radians against the curve without noise: where it was seen, and afterwards."""

    reconstruction: float
    extrapolation: float


def errors(curves: Tensor, series: Series) -> Errors:
    """Of `curves` `(series, n)` at the regular times."""
    squares, before = (curves - series.curves).square(), series.grid < SEEN
    return Errors(float(squares[:, before].mean().sqrt()), float(squares[:, ~before].mean().sqrt()))


def training_series(seed: int) -> Series:
    """The `SERIES` pendulums that models of this `seed` learn from."""
    return pendulums(SERIES, seed=1000 + seed)


def baselines(series: Series, seed: int = 0) -> dict[str, Tensor]:
    """Curves `(series, n)` by rules: the observations interpolated and the last one kept, a line, the mean curve.

    The mean is that of the series that models of this `seed` learn from.
    """
    grid = series.grid.numpy()
    interpolated, lines = np.zeros((2, len(series.times), len(grid)))
    for i, (times, values, seen) in enumerate(zip(series.times, series.values, series.seen, strict=True)):
        known, at = times[seen].numpy(), values[seen].numpy()
        interpolated[i] = np.interp(grid, known, at)
        lines[i] = np.polynomial.Polynomial.fit(known, at, 1)(grid)
    mean = training_series(seed).curves.mean(0).expand(len(series.times), -1)
    return {
        "interpolation, last value": torch.from_numpy(interpolated).float(),
        "line": torch.from_numpy(lines).float(),
        "mean curve": mean,
    }
