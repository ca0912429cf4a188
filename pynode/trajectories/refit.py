"""The last training, on all rows, after the errors of forecasts have been measured on held-out ones."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from pynode.methods.base import GradientMethod
from pynode.solution import SolveStats
from pynode.training.optimiser import make_adam
from pynode.trajectories.build import GROWTH, Prepared, state_on_curves, with_all_rows
from pynode.trajectories.loss import Weights, data_loss, shooting_loss
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.parts import Parts
from pynode.trajectories.rollout import by_method
from pynode.trajectories.windows import make_windows

ITERATIONS, RATE, BATCH, EVERY = 150, 0.003, 64, 25


def refitted(
    model: SeriesModel, prepared: Prepared, parts: Parts, method: GradientMethod, continuity: float, seed: int
) -> tuple[SeriesModel, int]:
    """A copy of `model` trained further by `method` on all rows, and the number of iterations; the best of it by the
    loss of the data over long windows.  The model itself where nothing was held out."""
    if not parts.anything_held_out:
        return model, 0
    whole = with_all_rows(prepared)
    best = copy.deepcopy(model)
    dtype = best.nodes.dtype
    _move_new_nodes(best, prepared, whole)
    masks = [whole.node_mask(k, mask) for k, mask in enumerate(whole.masks)]
    windows = [w for by in GROWTH[1:] if (w := make_windows(whole.grids, whole.places, masks, by, dtype)) is not None]
    if not windows:
        return model, 0
    weights = Weights.of(whole, continuity, dtype)
    trained = copy.deepcopy(best)
    optimiser = make_adam([{"params": list(trained.parameters())}], RATE)
    least = math.inf
    stats: list[SolveStats] = []
    for i in range(ITERATIONS + 1):
        if i % EVERY == 0:
            loss = data_loss(trained, windows[-1], weights)
            if loss < least:
                least = loss
                best.set_theta(trained.theta())
        if i == ITERATIONS:
            break
        batch = windows[min(len(windows) - 1, 2 * i // ITERATIONS)]
        if batch.count > BATCH:
            chosen = np.random.default_rng([seed, 1, i]).choice(batch.count, BATCH, replace=False)
            batch = batch.take(torch.as_tensor(np.sort(chosen)))
        stats.clear()
        objective = shooting_loss(trained, batch, weights, by_method(method, stats))
        if not bool(torch.isfinite(objective)):
            break  # the best weights so far stand
        objective.backward()
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 ** (i / (ITERATIONS / 3))
        optimiser.step()
        optimiser.zero_grad()
    return best, ITERATIONS


@torch.no_grad()
def _move_new_nodes(model: SeriesModel, prepared: Prepared, whole: Prepared) -> None:
    """Puts the nodes at rows that were held out onto smooth curves through all rows."""
    first = 0
    for k, place in enumerate(whole.places):
        times = whole.grids[k].times[place]
        trained = prepared.curves.rows[k]
        new = times > (trained[-1] if len(trained) else -np.inf)
        if new.any():
            states = state_on_curves(whole, k, times[new])
            rows = first + torch.as_tensor(np.flatnonzero(new))
            moving = model.sizes.moving
            model.nodes[rows, :moving] = torch.as_tensor(states, dtype=model.nodes.dtype)[:, :moving]
        first += len(place)
