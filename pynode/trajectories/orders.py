"""How many derivatives of a column are hidden: more than one where a first field does not follow the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pynode.trajectories.assimilate import assimilate
from pynode.trajectories.build import GROWTH, Prepared, first_model, robust_loss
from pynode.trajectories.hidden import added
from pynode.trajectories.windows import make_windows

HIGHEST = 3
"""Order of the highest derivative: with it two frequencies, or a trend beside one, are linear."""
FAR = 0.5
"""Robust loss of first solves from which on they do not follow the data: 0.1 is that of the noise alone."""
BETTER = 0.6
"""Share of that loss which another derivative has to leave at most."""
ALIKE = 1.3
"""The same of a further one, where the first one helped and solves are still far from the data: there are pairs."""
LAGS = 0.75
"""The same of a first one where inputs drive the columns."""
WINDOWS = 24
"""Windows that are compared."""
SPREAD = 0.5
"""Standard deviation of their starts about the smooth curves, which higher derivatives are rough on."""
ITERATIONS = 8
ROWS = 60
"""Training rows of the columns below which nothing is tried."""


def deepened(prepared: Prepared) -> Prepared:
    """`prepared` with further derivatives of the columns that have hidden dimensions, where these are called for.

    A position and its rate of change are the whole state of a free swing, but not of one that is driven, or of a season
    about a trend.  First fields are matched to smooth curves and solved over long windows, each from the start that
    suits it best; second and third derivatives are added if that leaves much less of the residuals.
    """
    hidden = prepared.hidden
    columns = tuple(dict.fromkeys(hidden.columns))
    rows = sum(int(mask.sum()) for mask in prepared.masks)
    if prepared.sizes.impulses or rows < ROWS or bool(columns) == bool(prepared.sizes.inputs):
        return prepared
    least, by_modes = _loss(prepared)
    if least < FAR:
        return replace(prepared, swings=True) if by_modes else prepared
    if not columns:  # with inputs, coming back to a level says little: what lags behind them shows in the solves
        return _lagging(prepared, least)
    best = prepared
    for _ in range(HIGHEST - max(hidden.orders)):
        for column in columns:
            hidden = added(prepared.curves, hidden, column)
        tried = replace(prepared, hidden=hidden, sizes=replace(prepared.sizes, hidden=hidden.count))
        loss, by_modes = _loss(tried)
        if loss < (BETTER if best is prepared else ALIKE) * least:
            best, least = replace(tried, swings=by_modes and loss < FAR), min(loss, least)
        if least < FAR:
            break
    return best


def _lagging(prepared: Prepared, least: float) -> Prepared:
    """`prepared` with the rate of change of that column, if any, with which solves follow the data much better."""
    best, limit = prepared, LAGS * least
    for column in range(prepared.sizes.observed):
        hidden = added(prepared.curves, prepared.hidden, column)
        tried = replace(prepared, hidden=hidden, sizes=replace(prepared.sizes, hidden=hidden.count))
        loss, _ = _loss(tried)
        if loss < limit:
            best, limit = tried, loss
    return best


def _loss(prepared: Prepared) -> tuple[float, bool]:
    """The robust loss of a first field over long windows, each from the start that suits it best; whether it is a sum
    of modes."""
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    windows = make_windows(prepared.grids, prepared.places, masks, GROWTH[-1], torch.float64)
    if windows is None:
        return 0.0, False
    model = first_model(prepared, 0)
    if windows.count > WINDOWS:
        windows = windows.take(torch.linspace(0, windows.count - 1, WINDOWS).long())
    noise = torch.as_tensor(prepared.curves.noise)
    spread = torch.full((prepared.sizes.state,), SPREAD, dtype=torch.float64)
    starts = model.nodes.detach()[windows.node]
    states = assimilate(model, windows, starts, spread, noise, iterations=ITERATIONS)
    loss = robust_loss(model, windows, states, noise)
    return (loss if np.isfinite(loss) else float("inf")), model.by_modes
