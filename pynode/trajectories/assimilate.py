"""States of trajectories from observations: least squares with a prior, for the end of the data or a new start."""

from __future__ import annotations

import torch
from torch import Tensor

from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_steps, roll_out
from pynode.trajectories.windows import Windows

ACCURATE = 2
"""RK4 steps an interval."""
ITERATIONS = 25
DIFFERENCE = 1e-5


@torch.no_grad()
def assimilate(
    model: SeriesModel,
    windows: Windows,
    prior: Tensor,
    spread: Tensor,
    noise: Tensor,
    *,
    iterations: int = ITERATIONS,
) -> Tensor:
    """The states `(w, state)` at the first nodes of `windows` that fit what is observed in them.

    Minimises the squares of residuals over `noise` `(columns,)` plus those of the distance from `prior` `(w, state)`
    over `spread` (the same shape, or `(state,)`), by Levenberg and Marquardt's method for every window by itself.
    States from which a solve blows up are rejected, so the result is finite where `prior` is.
    """
    size = model.sizes.state
    spread = spread.expand_as(prior)
    states, damping = prior.clone(), torch.full((len(prior),), 1e-3, dtype=prior.dtype)
    residuals = _residuals(model, windows, states, prior, spread, noise)
    cost = _cost(residuals)
    for _ in range(iterations):
        shifted = [states + DIFFERENCE * torch.eye(size, dtype=prior.dtype)[k] for k in range(size)]
        moved = _residuals(
            model, _repeated(windows, size), torch.cat(shifted), prior.repeat(size, 1), spread.repeat(size, 1), noise
        )
        slopes = (moved.reshape(size, len(prior), -1) - residuals).permute(1, 2, 0) / DIFFERENCE
        slopes = torch.nan_to_num(slopes, nan=0.0, posinf=0.0, neginf=0.0)
        gram, pull = slopes.transpose(1, 2) @ slopes, (slopes.transpose(1, 2) @ torch.nan_to_num(residuals)[..., None])
        scale = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-12)
        step = torch.linalg.solve(gram + torch.diag_embed(damping[:, None] * scale), pull)[..., 0]
        tried = states - step
        new = _residuals(model, windows, tried, prior, spread, noise)
        new_cost = _cost(new)
        better = new_cost < cost
        states = torch.where(better[:, None], tried, states)
        residuals = torch.where(better[:, None], new, residuals)
        gain = torch.where(better, cost - new_cost, torch.zeros_like(cost))
        cost = torch.where(better, new_cost, cost)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-9, 1e9)
        if bool(((gain <= 1e-6 * cost) & (better | (damping > 1e6))).all()):
            break
    return states


def _residuals(
    model: SeriesModel, windows: Windows, states: Tensor, prior: Tensor, spread: Tensor, noise: Tensor
) -> Tensor:
    """`(w, residuals)`, each over its standard deviation."""
    path = roll_out(model, windows, states, by_steps(ACCURATE))[..., : model.sizes.observed].transpose(0, 1)
    data = torch.where(windows.seen > 0, path - windows.values, torch.zeros_like(path)) / noise
    return torch.cat((data.flatten(1), (states - prior) / spread), 1)


def _cost(residuals: Tensor) -> Tensor:
    return torch.nan_to_num(residuals.square().sum(1), nan=torch.inf, posinf=torch.inf)


def _repeated(windows: Windows, times: int) -> Windows:
    return Windows(**{k: v.repeat(times, *(1,) * (v.ndim - 1)) for k, v in vars(windows).items()})
