"""The end of training: L-BFGS over long windows, by the same gradient method, on training rows and then on all rows."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor

from pynode.errors import SolveError, UsageError
from pynode.methods.base import GradientMethod
from pynode.trajectories.build import Prepared, state_on_curves, with_all_rows
from pynode.trajectories.loss import Weights, shooting_loss
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_method
from pynode.trajectories.windows import make_windows

EVALUATIONS = 400
"""Gradients that the end of training takes at most, by the lengths of its windows together."""
AGAIN = 150
"""The same of the training on all rows after it."""
LENGTHS = (2, 8)
"""Lengths of its windows, in those of the first."""
SHARES = (0.4, 0.6)
MOST_WINDOWS = 128
SMALLEST_CHANGE = 1e-8


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
    for share, length in zip(SHARES, LENGTHS, strict=True):
        windows = make_windows(prepared.grids, prepared.places, masks, length, best.nodes.dtype)
        if windows is None:
            break
        if windows.count > MOST_WINDOWS:
            windows = windows.take(torch.linspace(0, windows.count - 1, MOST_WINDOWS).round().long())
        tried = copy.deepcopy(best)
        least, kept, count = math.inf, best.theta(), 0
        most = int(share * evaluations)
        optimiser = torch.optim.LBFGS(
            tried.parameters(),
            max_iter=most,
            max_eval=most,
            history_size=40,
            tolerance_change=SMALLEST_CHANGE,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            nonlocal least, kept, count
            optimiser.zero_grad()
            loss = shooting_loss(tried, windows, weights, by_method(method, []))
            if not bool(torch.isfinite(loss)):
                raise FloatingPointError
            if float(loss.detach()) < least:
                least, kept = float(loss.detach()), tried.theta()
            loss.backward()
            count += 1
            return loss

        try:
            optimiser.step(closure)
        except (SolveError, FloatingPointError, UsageError):
            pass  # a step went too far: the best weights so far stand
        best.set_theta(kept)
        total += count
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
