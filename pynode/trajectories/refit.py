"""The end of training: L-BFGS over long windows, by the same gradient method, on training rows and then on all rows."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from pynode.errors import SolveError, UsageError
from pynode.methods.base import GradientMethod
from pynode.trajectories.build import Prepared, state_on_curves, with_all_rows
from pynode.trajectories.loss import Weights, shooting_loss
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_method
from pynode.trajectories.windows import Windows, make_windows

EVALUATIONS = 800
"""Gradients that the end of training takes at most, by the lengths of its windows together."""
AGAIN = 150
"""The same of the training on all rows after it."""
LENGTHS = (2, 8)
"""Lengths of its windows, in those of the first."""
SHARES = (0.3, 0.7)
MOST_WINDOWS = 128
RATES = (1.0, 0.3, 0.1, 0.03)
"""Lengths of steps, each after a step of the one before was too long for a solve."""
SOLVES = 12
"""Solves of a window beyond which fewer gradients are taken."""
SMALLEST_CHANGE = 1e-8


class _Descent:
    """Loss and gradient of one optimisation, which keeps the best weights that were tried.

    Raises where a step went too far for a solve; what was kept before stands.
    """

    def __init__(
        self,
        model: SeriesModel,
        windows: Windows,
        weights: Weights,
        method: GradientMethod,
    ) -> None:
        self.model, self.windows, self.weights, self.method = model, windows, weights, method
        self.least, self.kept, self.count = math.inf, model.theta(), 0

    def __call__(self) -> float:
        self.model.zero_grad()
        self.count += 1
        loss = shooting_loss(self.model, self.windows, self.weights, by_method(self.method, []))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        if value < self.least:
            self.least, self.kept = value, self.model.theta()
        loss.backward()
        return value


def finished(
    model: SeriesModel, prepared: Prepared, method: GradientMethod, continuity: float, evaluations: int = EVALUATIONS
) -> tuple[SeriesModel, int]:
    """A copy of `model` after L-BFGS on the rows of training of `prepared`, and the gradients that this took.

    The best of all weights that were tried, so no worse than `model`; where a solve fails, those before it stand.
    """
    best = copy.deepcopy(model)
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    weights = Weights.of(prepared, continuity, best.nodes.dtype)
    total = 0
    for share, length in zip(SHARES, prepared.growth(LENGTHS), strict=True):
        windows = make_windows(prepared.grids, prepared.places, masks, length, best.nodes.dtype)
        if windows is None:
            break
        if windows.count > MOST_WINDOWS:
            windows = windows.take(torch.linspace(0, windows.count - 1, MOST_WINDOWS).round().long())
        most = int(share * evaluations)
        if not windows.is_smooth:
            most = int(np.clip(most * SOLVES / windows.intervals, 20, most))
        tried = copy.deepcopy(best)
        descent = _Descent(tried, windows, weights, method)
        for rate in RATES:
            if descent.count >= most:
                break
            tried.set_theta(descent.kept)
            optimiser = torch.optim.LBFGS(
                tried.parameters(),
                lr=rate,
                max_iter=most,
                max_eval=most - descent.count,
                history_size=40,
                tolerance_change=SMALLEST_CHANGE,
                line_search_fn="strong_wolfe",
            )
            try:
                optimiser.step(descent)
                break
            except (SolveError, FloatingPointError, UsageError):
                continue  # a step went too far: shorter ones from the best weights so far
        best.set_theta(descent.kept)
        total += descent.count
    return best, total


def refitted(
    model: SeriesModel, prepared: Prepared, method: GradientMethod, continuity: float
) -> tuple[SeriesModel, int]:
    """`model` after L-BFGS on all rows, and the gradients that this took."""
    whole = with_all_rows(prepared)
    moved = copy.deepcopy(model)
    _move_new_nodes(moved, prepared, whole)
    return finished(moved, whole, method, continuity, AGAIN)


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
