"""What the end of training is on: long windows of training rows or of all rows, and how many gradients are worth it."""

from __future__ import annotations

import numpy as np
import torch

from pynode.trajectories.build import Prepared, state_on_curves
from pynode.trajectories.loss import Weights, data_loss
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import outputs
from pynode.trajectories.windows import Windows, make_windows

LENGTHS = (2, 8)
"""Lengths of its windows, in those of the first."""
SHARES = (0.3, 0.7)
"""Of the gradients, by the lengths of windows."""
EVALUATIONS, AGAIN = 800, 150
"""Gradients on training rows, and on all rows after that, at most, by the lengths of windows together."""
CHUNK = 128
"""Windows of one solve."""
FEW_WINDOWS = 256
"""Windows beyond which fewer gradients are taken, so that each costs more but all together about as much."""
LEAST_EVALUATIONS = 60
MOST_WINDOWS = 4096
"""Windows of one gradient; of more, as many are chosen evenly, and the result is judged on all."""
SOLVES = 12
"""Solves of a window beyond which fewer gradients are taken."""
STEPS = 160
"""The same of steps of one solve, where rows are ever farther apart."""


def long_windows(prepared: Prepared, length: int, dtype: torch.dtype) -> Windows | None:
    """Windows of `length` first ones over the rows that `prepared` marks; None where there are none."""
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    return make_windows(prepared.grids, prepared.places, masks, length, dtype)


def evenly(windows: Windows) -> Windows:
    """The windows that gradients are of: all, or `MOST_WINDOWS` of them."""
    if windows.count <= MOST_WINDOWS:
        return windows
    return windows.take(torch.linspace(0, windows.count - 1, MOST_WINDOWS).round().long())


def worthwhile(windows: Windows, most: int) -> int:
    """Of `most` gradients as many as `windows` are worth, so that those that cost more are fewer."""
    if not windows.is_smooth:
        most = int(np.clip(most * SOLVES / windows.intervals, 20, most))
    elif (steps := outputs(windows)) > STEPS:
        most = int(np.clip(most * STEPS / steps, 20, most))
    if windows.count > FEW_WINDOWS:
        most = min(most, max(LEAST_EVALUATIONS, most * FEW_WINDOWS // windows.count))
    return most


def chunks_of(windows: Windows, size: int = CHUNK) -> list[tuple[float, Windows]]:
    """`windows` in parts of at most `size`, each with its share of the observed values, which are to add up to 1."""
    parts = [windows.take(which) for which in torch.arange(windows.count).split(size)]
    total = float(windows.seen.sum())
    return [(float(part.seen.sum()) / total, part) for part in parts]


def loss_of_all(model: SeriesModel, windows: Windows, weights: Weights) -> float:
    """The mean square of residuals over their noise in all windows."""
    return sum(share * data_loss(model, part, weights, part.count) for share, part in chunks_of(windows, MOST_WINDOWS))


@torch.no_grad()
def move_new_nodes(model: SeriesModel, prepared: Prepared, whole: Prepared) -> None:
    """Puts the nodes at rows that were held out in `prepared` onto the smooth curves of `whole`, through all rows."""
    first = 0
    for k, place in enumerate(whole.places):
        times = whole.grids[k].times[place]
        trained = prepared.curves.rows[k]
        new = times > (trained[-1] if len(trained) else -np.inf)
        if new.any():
            states = state_on_curves(whole, k, times[new])
            rows = first + torch.as_tensor(np.flatnonzero(new))
            model.nodes[rows] = torch.as_tensor(states, dtype=model.nodes.dtype)
        first += len(place)
