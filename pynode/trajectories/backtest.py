"""How firmly a field has to be held down: fields of the first training rows, judged by forecasts of those that follow.

Errors on rows that a field was fitted to can't tell a law from what a network makes of a few rows; beyond these, or
beyond the levels that were seen, the latter blows up.  Backtests from several origins can (Tashman 2000).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from pynode.datasets.splits import Array
from pynode.trajectories.assimilate import ACCURATE, assimilate
from pynode.trajectories.build import Prepared, samples_of, state_on_curves
from pynode.trajectories.curves import make_curves
from pynode.trajectories.fields import HIDDEN, LinearAndNetwork
from pynode.trajectories.first_laws import modes_of, put_modes
from pynode.trajectories.grid import Grid
from pynode.trajectories.matching import EFFORTS, Effort, match
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_steps, roll_out
from pynode.trajectories.windows import together

ORIGINS = (0.7, 0.55, 0.85)
"""Shares of each trajectory's training rows that fields are matched to."""
AHEAD, AHEAD_WINDOWS = 0.35, 8
"""How far they are judged, in rows that they know, and in lengths of the first training windows, at most."""
FIRM = (Effort(3.0, None), Effort(30.0, None), Effort(np.inf, None))
"""Linear fields that hardly depend on the state, down to a drift alone."""
LARGEST = 3.0
"""Residual, in standard deviations of a column, that larger ones count as."""
ROWS = 10
"""Training rows below which nothing is tried."""
TRAJECTORIES = 64
"""Trajectories that are forecast, at most."""
ITERATIONS, MATCHING = 8, 80
START_SPREAD = 0.5
"""Standard deviation of states about the smooth curves, whose ends are rough."""

DOUBTFUL, SURE = 0.4, 0.2
"""Error of a field with a network below which it is left free: it forecasts well.  At the first origin, below which no
other one is tried."""
CLEAR = 0.75
"""Share of that error which a linear field has to come to."""
NEARLY, BETTER = 1.4, 0.9
"""Errors of at most so many times the least, and that of a field with a network: of linear fields with such errors the
one that is held down least is taken, since training makes more of it."""


def can_be_restrained(prepared: Prepared) -> bool:
    """Whether first fields are matched to smooth curves alone: no impulses, no relaxation."""
    return not prepared.sizes.impulses and not prepared.may_relax


def restrained(prepared: Prepared) -> Prepared:
    """`prepared` with a `restraint` of its field where linear fields forecast training rows clearly better than those
    with a network, and these don't forecast them well."""
    if sum(int(mask.sum()) for mask in prepared.masks) < ROWS:
        return prepared
    efforts = (*EFFORTS, *FIRM)
    free = np.array([effort.network is not None for effort in efforts])
    if backtests(prepared, [effort for effort in efforts if effort.network], ORIGINS[:1]).min() < SURE:
        return prepared
    errors = backtests(prepared, efforts)
    if not np.isfinite(errors).all():
        return prepared
    with_network, linear = float(errors[free].min()), float(errors[~free].min())
    if with_network < DOUBTFUL or linear > CLEAR * with_network:
        return prepared
    enough = min(NEARLY * linear, BETTER * with_network)
    chosen = next(k for k in range(len(efforts)) if not free[k] and errors[k] <= enough)
    if prepared.swings and backtest_of_modes(prepared) < errors[chosen]:
        return prepared
    return replace(prepared, restraint=efforts[chosen], backtested=(float(errors[chosen]), with_network))


def backtests(prepared: Prepared, efforts: Sequence[Effort], origins: Sequence[float] = ORIGINS) -> Array:
    """The error `(efforts,)` of forecasts of training rows by fields that `efforts` match to the rows before them.

    In standard deviations, averaged over columns, and geometrically over origins, so that none of them decides alone.
    NaN where nothing can be forecast.
    """
    return _over_origins(prepared, [partial(_match, effort) for effort in efforts], origins)


def _match(effort: Effort, field: LinearAndNetwork, part: Prepared) -> None:
    match(field, samples_of(part), effort, iterations=MATCHING)


def backtest_of_modes(prepared: Prepared) -> float:
    """The same error of the linear laws of sums of modes; infinite where the rows before an origin are too few."""
    too_few = False

    def put(field: LinearAndNetwork, part: Prepared) -> None:
        nonlocal too_few
        modes = modes_of(part, [part.node_mask(k, mask) for k, mask in enumerate(part.masks)])
        if modes is None:
            too_few = True
        else:
            put_modes(field, modes, part)

    error = float(_over_origins(prepared, [put], ORIGINS)[0])
    return np.inf if too_few or not np.isfinite(error) else error


_Make: TypeAlias = Callable[[LinearAndNetwork, Prepared], object]
"""What makes a field from the rows that are known at an origin."""


def _over_origins(prepared: Prepared, makes: Sequence[_Make], origins: Sequence[float]) -> Array:
    errors = np.array([_errors(prepared, share, makes).mean(-1) for share in origins])
    return np.asarray(np.exp(np.log(np.maximum(errors, 1e-6)).mean(0)))


def _errors(prepared: Prepared, share: float, makes: Sequence[_Make]) -> Array:
    """Errors `(makes, columns)` of forecasts from the first `share` of each trajectory's training rows."""
    known, after = _around(prepared, share)
    curves = make_curves(prepared.series, prepared.scaling, known)
    part = replace(prepared, masks=tuple(known), curves=curves)
    before, ahead, states = [], [], []
    for k in _chosen(prepared):
        rows, rows_ahead = part.node_mask(k, known[k]), part.node_mask(k, after[k])
        if rows.sum() > 1 and rows_ahead.any():
            grid, first, last = part.grids[k], *_last_window(part, rows)
            before.append((grid, first, max(last, first + 1), rows))
            ahead.append((grid, first, int(np.flatnonzero(rows_ahead)[-1]), rows_ahead))
            states.append(state_on_curves(part, k, grid.times[[first]])[0])
    columns = prepared.sizes.observed
    if not before:
        return np.full((len(makes), columns), np.nan)
    generator = torch.Generator().manual_seed(0)
    field = LinearAndNetwork(prepared.sizes, HIDDEN, generator)
    model = SeriesModel(field, prepared.sizes, 1, generator=generator)
    noise, prior = torch.as_tensor(curves.noise), torch.as_tensor(np.array(states))
    result = []
    for make in makes:
        make(field, part)
        result.append(_forecast_error(model, before, ahead, prior, noise))
    return np.array(result)


_Part = tuple[Grid, int, int, Array]


@torch.no_grad()
def _forecast_error(
    model: SeriesModel, before: Sequence[_Part], ahead: Sequence[_Part], prior: Tensor, noise: Tensor
) -> Array:
    """Root mean squares `(columns,)` of what a model misses `ahead`, from states found `before`."""
    spread = torch.full((model.sizes.state,), START_SPREAD, dtype=torch.float64)
    states = assimilate(model, together(before), prior, spread, noise, iterations=ITERATIONS)
    windows = together(ahead)
    path = roll_out(model, windows, states, by_steps(ACCURATE))[..., : model.sizes.observed].transpose(0, 1)
    missed = torch.nan_to_num(path - windows.values, nan=LARGEST).abs().clamp_max(LARGEST) * windows.seen
    return np.asarray((missed.square().sum((0, 1)) / windows.seen.sum((0, 1)).clamp_min(1)).sqrt().numpy())


def _around(prepared: Prepared, share: float) -> tuple[list[Array], list[Array]]:
    """Masks of the rows that are known at an origin, and of those that are forecast from there."""
    known, after = [], []
    for mask in prepared.masks:
        rows, every = np.flatnonzero(mask), np.arange(len(mask))
        last = max(2, round(share * len(rows)))
        end = last + max(1, min(round(AHEAD * last), AHEAD_WINDOWS * prepared.window))
        known.append(np.isin(every, rows[:last]))
        after.append(np.isin(every, rows[last:end]))
    return known, after


def _chosen(prepared: Prepared) -> list[int]:
    trained = [k for k, mask in enumerate(prepared.masks) if mask.any()]
    which = np.linspace(0, len(trained) - 1, min(TRAJECTORIES, len(trained))).round().astype(int)
    return [trained[n] for n in which.tolist()]


def _last_window(part: Prepared, rows: Array) -> tuple[int, int]:
    """First and last node of the rows that a state is found from, those at the end of `rows` `(nodes,)`."""
    nodes = np.flatnonzero(rows)
    count = max(part.window, 4 * part.sizes.state)
    return int(nodes[max(0, len(nodes) - count)]), int(nodes[-1])
