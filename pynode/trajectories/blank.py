"""A model of a series whose weights are to be overwritten by trained ones, without the work of a first model."""

from __future__ import annotations

import numpy as np
import torch

from pynode.datasets.splits import Array
from pynode.trajectories.build import GROWTH, Prepared, state_on_curves
from pynode.trajectories.fields import HIDDEN, LinearAndNetwork
from pynode.trajectories.model import Initial, SeriesModel
from pynode.trajectories.relaxation import fitted_relaxation
from pynode.trajectories.windows import make_windows


def blank_model(
    prepared: Prepared,
    seed: int,
    *,
    widths: tuple[int, ...] = HIDDEN,
    inner: torch.nn.Module | None = None,
    initial: Initial = "learnt",
) -> SeriesModel:
    """As `first_model` with the same arguments, but for its parameters: no field is matched to the data.

    What is not among the parameters is the same: the `spread` of starts, which forecasts read.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = prepared.sizes
    own = inner if inner is not None else LinearAndNetwork(sizes, widths, generator)
    model = SeriesModel(own, sizes, prepared.nodes, initial=initial, generator=generator)
    starts, relaxed = _starts_on_curves(prepared), None
    if isinstance(own, LinearAndNetwork):
        relaxed = _starts_by_relaxation(prepared)
    if relaxed is not None or len(starts) > 2:
        starts = starts if relaxed is None else relaxed
        model.spread.copy_(torch.as_tensor(np.clip(starts.std(0), 0.1, None)))
    return model


def _starts_on_curves(prepared: Prepared) -> Array:
    """The states `(trajectories, state)` at the first nodes of those that are trained on, on their smooth curves."""
    every = zip(prepared.grids, prepared.places, prepared.masks, strict=True)
    return np.array(
        [
            state_on_curves(prepared, k, grid.times[place[:1]])[0]
            for k, (grid, place, mask) in enumerate(every)
            if mask.any()
        ]
    )


def _starts_by_relaxation(prepared: Prepared) -> Array | None:
    """The same where a first model would begin by two decays; None for other series, and where these can't be had."""
    if not prepared.may_relax:
        return None
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    if make_windows(prepared.grids, prepared.places, masks, GROWTH[-1], torch.float64) is None:
        return None
    relaxation = fitted_relaxation(prepared.grids, masks)
    if relaxation is None:
        return None
    scale = prepared.hidden.scales[0] * prepared.scaling.time
    every = zip(prepared.grids, prepared.places, prepared.masks, strict=True)
    starts = []
    for k, (grid, place, mask) in enumerate(every):
        clock = np.concatenate(([0.0], np.cumsum(grid.lengths)))
        if mask.any():
            starts.append(relaxation.states(k, clock[place], scale)[0])
    return np.array(starts)
