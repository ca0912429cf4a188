"""First fields that are a law of few numbers, where slopes of smooth curves say too little: decays, and modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from pynode.datasets.splits import Array
from pynode.trajectories.fields import LinearAndNetwork
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.modes import MOST_POINTS, SPACING, Modes, fitted_modes
from pynode.trajectories.relaxation import fitted_relaxation

if TYPE_CHECKING:
    from pynode.trajectories.build import Prepared


@torch.no_grad()
def begin_by_relaxation(
    model: SeriesModel, field: LinearAndNetwork, prepared: Prepared, masks: Sequence[Array]
) -> bool:
    """Begins field, nodes and starts by two decays; False where these can't be had."""
    relaxation = fitted_relaxation(prepared.grids, masks)
    if relaxation is None:
        return False
    scale = prepared.hidden.scales[0] * prepared.scaling.time
    product = relaxation.slow * relaxation.fast
    _clear(field)
    field.linear.weight[0, 1] = scale
    field.linear.weight[1, :2] = torch.tensor([-product / scale, -(relaxation.slow + relaxation.fast)])
    field.linear.bias[1] = product * relaxation.rest / scale
    states = []
    for k, (grid, place) in enumerate(zip(prepared.grids, prepared.places, strict=True)):
        clock = np.concatenate(([0.0], np.cumsum(grid.lengths)))
        states.append(relaxation.states(k, clock[place], scale))
    model.nodes.copy_(torch.as_tensor(np.concatenate(states)))
    firsts = np.array([s[0] for s, mask in zip(states, prepared.masks, strict=True) if mask.any()])
    model.start.copy_(torch.as_tensor(firsts.mean(0)))
    model.spread.copy_(torch.as_tensor(np.clip(firsts.std(0), 0.1, None)))
    return True


@torch.no_grad()
def begin_by_modes(model: SeriesModel, field: LinearAndNetwork, prepared: Prepared, masks: Sequence[Array]) -> bool:
    """Begins field and nodes by a sum of modes; False where these can't be had."""
    modes = modes_of(prepared, masks)
    if modes is None:
        return False
    put_modes(field, modes, prepared)
    scales = _scales(prepared)
    states = []
    for k, (grid, place) in enumerate(zip(prepared.grids, prepared.places, strict=True)):
        clock = np.concatenate(([0.0], np.cumsum(grid.lengths)))
        states.append(modes.derivatives(k, clock[place], prepared.hidden.count) / scales)
    model.nodes.copy_(torch.as_tensor(np.clip(np.concatenate(states), -10, 10)))
    return True


@torch.no_grad()
def put_modes(field: LinearAndNetwork, modes: Modes, prepared: Prepared) -> None:
    """Makes `field` the linear law of `modes`, of a column and its derivatives as `prepared` scales them."""
    _clear(field)
    law, scales = modes.coefficients, _scales(prepared)
    for row in range(len(law) - 1):
        field.linear.weight[row, row + 1] = scales[row + 1] / scales[row]
    field.linear.weight[-1, : len(law)] = torch.as_tensor(-law * scales / scales[-1])
    field.linear.bias[-1] = law[0] * modes.rest / scales[-1]


def _scales(prepared: Prepared) -> Array:
    """Of the column and its derivatives `(state,)`, by the model's time."""
    time = prepared.scaling.time
    return np.array([1.0, *(s * time**order for order, s in enumerate(prepared.hidden.scales, 1))])


def modes_of(prepared: Prepared, masks: Sequence[Array]) -> Modes | None:
    """The modes of the observed column, of as many as the state has dimensions."""
    points, paths = [], []
    longest = max(float(grid.lengths.sum()) for grid in prepared.grids)
    spacing = max(SPACING, longest / MOST_POINTS)
    for k, (grid, mask) in enumerate(zip(prepared.grids, masks, strict=True)):
        seen = mask & np.isfinite(grid.values[:, 0])
        clock = np.concatenate(([0.0], np.cumsum(grid.lengths)))[seen]
        points.append((clock, grid.values[seen, 0]))
        at = np.arange(clock[0], clock[-1], spacing) if len(clock) > 1 else clock[:0]
        paths.append((at, prepared.curves.states(k, grid.times[0] + at * prepared.scaling.time)[:, 0]))
    return fitted_modes(points, paths, prepared.sizes.state)


def _clear(field: LinearAndNetwork) -> None:
    """Sets the linear part and the network's last layer to 0."""
    for part in (field.linear.weight, field.linear.bias, field.network[-1].weight, field.network[-1].bias):
        part.zero_()
