"""How firmly a field has to be held down: fields of the beginning of the training rows, judged on those that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from pynode.datasets.splits import Array
from pynode.trajectories.assimilate import ACCURATE, assimilate
from pynode.trajectories.build import Prepared, samples_of, state_on_curves
from pynode.trajectories.curves import make_curves
from pynode.trajectories.fields import HIDDEN, LinearAndNetwork
from pynode.trajectories.matching import EFFORTS, Effort, match
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_steps, roll_out
from pynode.trajectories.windows import together

CUTS = (0.55, 0.7, 0.85)
"""Shares of each trajectory's training rows that fields are matched to."""
AHEAD = 0.35
"""How far they are judged, in lengths of what they know."""
FIRM = (Effort(3.0, None), Effort(30.0, None), Effort(np.inf, None))
CAP = 3.0
"""Residual, in standard deviations of a column, that larger ones count as."""
ITERATIONS = 8
STATE_SPREAD = 0.5


def backtests(prepared: Prepared, efforts: Sequence[Effort]) -> Array:
    """Errors `(cuts, efforts, columns)` of forecasts of training rows, in standard deviations of the columns."""
    return np.array([_errors(prepared, cut, efforts) for cut in CUTS])


def _errors(prepared: Prepared, cut: float, efforts: Sequence[Effort]) -> list[Array]:
    known, after = [], []
    for each, mask in zip(prepared.series.each, prepared.masks, strict=True):
        rows = np.flatnonzero(mask)
        last = max(2, round(cut * len(rows)))
        end = max(last + 1, round(last * (1 + AHEAD)))
        marks = np.arange(len(mask))
        known.append(np.isin(marks, rows[:last]))
        after.append(np.isin(marks, rows[last:end]))
    curves = make_curves(prepared.series, prepared.scaling, known)
    part = replace(prepared, masks=tuple(known), curves=curves)
    samples = samples_of(part)
    windows, states = [], []
    for k, (grid, place) in enumerate(zip(part.grids, part.places, strict=True)):
        rows_known, rows_after = part.node_mask(k, known[k]), part.node_mask(k, after[k])
        if not (rows_known.sum() > 1 and rows_after.any()):
            continue
        seen = np.flatnonzero(rows_known)
        begin = int(seen[max(0, len(seen) - max(prepared.window, 4 * prepared.sizes.state))])
        last, end = int(seen[-1]), int(np.flatnonzero(rows_after)[-1])
        windows.append((grid, begin, last, end, rows_known, rows_after))
        states.append(state_on_curves(part, k, grid.times[[begin]])[0])
    columns = prepared.sizes.observed
    if not windows:
        return [np.full(columns, np.nan)] * len(efforts)
    before = together([(g, b, max(last, b + 1), m) for g, b, last, _, m, _ in windows])
    whole = together([(g, b, end, m) for g, b, _, end, _, m in windows])
    generator = torch.Generator().manual_seed(0)
    field = LinearAndNetwork(prepared.sizes, HIDDEN, generator)
    model = SeriesModel(field, prepared.sizes, 1, generator=generator)
    noise = torch.as_tensor(curves.noise)
    spread = torch.full((prepared.sizes.state,), STATE_SPREAD, dtype=torch.float64)
    prior = torch.as_tensor(np.array(states))
    result = []
    for effort in efforts:
        match(field, samples, effort)
        found = assimilate(model, before, prior, spread, noise, iterations=ITERATIONS)
        with torch.no_grad():
            path = roll_out(model, whole, found, by_steps(ACCURATE))[..., :columns].transpose(0, 1)
        residual = torch.nan_to_num(path - whole.values, nan=1e9).abs().clamp_max(CAP) * whole.seen
        result.append((residual.square().sum((0, 1)) / whole.seen.sum((0, 1)).clamp_min(1)).sqrt().numpy())
    return result


CLEAR = 0.75
DOUBTFUL = 0.4
NEARLY = 1.15


def restrained(prepared: Prepared) -> Prepared:
    efforts = [*EFFORTS, *FIRM]
    errors = np.exp(np.log(np.nanmean(backtests(prepared, efforts), 2)).mean(0))
    free = np.array([effort.network is not None for effort in efforts])
    least = float(np.nanmin(errors[~free]))
    print("   backtest", errors.round(3))
    if errors[free].min() < DOUBTFUL or least > CLEAR * errors[free].min():
        return prepared
    # the least firm of those that are about as good
    chosen = next(k for k in range(len(efforts)) if not free[k] and errors[k] <= NEARLY * least)
    print("   chosen", chosen, efforts[chosen])
    return replace(prepared, restraint=efforts[chosen])
