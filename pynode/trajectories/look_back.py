"""How many of a trajectory's last rows its state is found from: as many as forecast the training rows best."""

from __future__ import annotations

import numpy as np
import torch

from pynode.trajectories.assimilate import ACCURATE, assimilate
from pynode.trajectories.build import Prepared
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_steps, roll_out
from pynode.trajectories.windows import together

LENGTHS = (1, 2, 4, 8)
"""Numbers of rows that are tried, in lengths of the first training windows."""
ORIGINS = 12
"""Forecasts of training rows, at most, that a length is judged by."""
FEWEST = 3
AHEAD = 8
"""How far these forecasts go, in lengths of the first training windows."""
LOOSER = 4.0
"""The trained state of a node knows what follows it: it may move so much further here than in a forecast."""
ITERATIONS = 8


def look_back(model: SeriesModel, prepared: Prepared, around: torch.Tensor, noise: torch.Tensor) -> int:
    """The number of nodes before the end of the data at which a trained trajectory's state is found.

    States of training windows are found anew from 1, 2, 4 or 8 windows of rows before a node (a state that fits few
    rows may be far off where the model is not quite right), and followed beyond it; the number with the least median
    error of these forecasts is taken, the smaller one where they are alike.  1 where too few rows are known to tell.

    `around` `(state,)` is the standard deviation of a state about the trained one, `noise` `(columns,)` that of data.
    """
    origins = _origins(prepared)
    if len(origins) < FEWEST:
        return 1
    firsts = np.cumsum([0, *map(len, prepared.places)])
    nodes = model.nodes.detach().double()
    chosen, least = 1, np.inf
    for length in LENGTHS:
        if length > min(node for _, node in origins):
            break
        known, whole, priors = [], [], []
        for k, node in origins:
            grid, place = prepared.grids[k], prepared.places[k]
            mask = prepared.node_mask(k, prepared.masks[k])
            start, origin = int(place[node - length]), int(place[node])
            end = int(place[min(node + AHEAD, len(place) - 1)])
            after = np.arange(len(grid.times)) > origin
            known.append((grid, start, origin, mask & ~after))
            whole.append((grid, start, end, mask & after))
            priors.append(nodes[firsts[k] + node - length])
        states = assimilate(model, together(known), torch.stack(priors), LOOSER * around, noise, iterations=ITERATIONS)
        windows = together(whole)
        with torch.no_grad():
            path = roll_out(model, windows, states, by_steps(ACCURATE))[..., : model.sizes.observed].transpose(0, 1)
        squares = ((path - windows.values) * windows.seen / noise).square().sum((1, 2))
        errors = (squares / windows.seen.sum((1, 2)).clamp_min(1)).sqrt()
        error = float(torch.nan_to_num(errors, nan=torch.inf).median())
        if error < 0.98 * least:
            chosen, least = length, error
    return chosen


def _origins(prepared: Prepared) -> list[tuple[int, int]]:
    """Trajectories and nodes with training rows on both sides, at most `ORIGINS` of them."""
    every: list[tuple[int, int]] = []
    for k, (place, mask) in enumerate(zip(prepared.places, prepared.masks, strict=True)):
        trained = np.flatnonzero(prepared.node_mask(k, mask))
        last = int(np.searchsorted(place, trained[-1], side="right")) - 1 if len(trained) else 0
        longest = min(max(LENGTHS), last // 2)
        every += [(k, node) for node in range(max(longest, 1), last - max(longest // 2, 1) + 1)]
    wanted = np.linspace(0, max(len(every) - 1, 0), min(ORIGINS, len(every)))
    return [every[n] for n in np.unique(wanted.round().astype(int)).tolist()]
