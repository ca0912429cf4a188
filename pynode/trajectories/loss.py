"""The loss of multiple shooting: data, continuity between windows, starts about their mean, and a small network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pynode.trajectories.build import Prepared, samples_of
from pynode.trajectories.fields import LinearAndNetwork
from pynode.trajectories.matching import linear_match
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import Solver, by_steps, roll_out
from pynode.trajectories.windows import Windows

NETWORK_PRIOR = 0.1
"""Standard deviation of the weights of a network's last layer, by the model's unit of time, that is expected."""
DOSES_NETWORK_PRIOR = 0.001
"""The same where doses are given: few of their samples tell more than that what is there goes at some rate."""
HELD_NETWORK_PRIOR = 1e-4
"""The same of a field that is held down: it has no network to speak of."""
HELD_PRIOR, FIRM_PRIOR = 0.06, 0.001
"""The same of its linear part about that of the first field; of one that hardly depends on the state."""
FIRM_FROM = 1.0
"""Ridge of such a first field, at least."""
START_PRIOR = 0.3
NOTHING_PRIOR = 0.005
"""The same of slopes at the level 0 of the file, where nothing is given."""
JUMP_PRIOR = 0.3
"""The same of the logarithm of the factor of jumps."""
COVARIATE_PRIOR = 0.01
"""The same of the weights that read covariates, in standard deviations of theirs."""


@dataclass(frozen=True)
class Weights:
    """What the parts of the loss weigh: `noise` `(columns,)` of the data, `continuity`, and all `observations`.

    `nothing` `(columns,)` is a level at which the state stays as long as no impulse comes, None where there is none.
    """

    noise: Tensor
    continuity: float
    observations: int
    nothing: Tensor | None = None
    held: Tensor | None = None
    """The linear part `(state, state + known)` that the field is held to, where it is held down."""
    held_prior: float = HELD_PRIOR

    @classmethod
    def of(cls, prepared: Prepared, continuity: float, dtype: torch.dtype) -> Weights:
        """The weights for the training rows of `prepared`."""
        rows = zip(prepared.series.each, prepared.masks, strict=True)
        count = sum(int(np.isfinite(each.values[mask]).sum()) for each, mask in rows)
        level = prepared.nothing
        nothing = None if level is None else torch.as_tensor(level, dtype=dtype)
        noise = torch.as_tensor(prepared.curves.noise, dtype=dtype)
        if prepared.restraint is None:
            return cls(noise, continuity, max(count, 1), nothing)
        ridge = prepared.restraint.linear
        held = torch.as_tensor(linear_match(samples_of(prepared), ridge)[0], dtype=dtype)
        return cls(noise, continuity, max(count, 1), nothing, held, FIRM_PRIOR if ridge >= FIRM_FROM else HELD_PRIOR)


@torch.no_grad()
def data_loss(model: SeriesModel, windows: Windows, weights: Weights, most: int = 256) -> float:
    """The mean square of residuals over their noise in up to `most` of `windows`, solved accurately; infinite where a
    solve blows up."""
    if windows.count > most:
        windows = windows.take(torch.linspace(0, windows.count - 1, most).long())
    path = roll_out(model, windows, model.beginnings(windows), by_steps(2))[..., : model.sizes.observed]
    residual = (path.transpose(0, 1) - windows.values) * windows.seen / weights.noise
    loss = float(residual.square().sum() / windows.seen.sum().clamp_min(1))
    return loss if np.isfinite(loss) else float("inf")


def shooting_loss(model: SeriesModel, windows: Windows, weights: Weights, solve: Solver) -> Tensor:
    """Minus twice the log posterior by observation, up to a constant, times the square of the mean noise.

    Residuals count in units of their column's noise, gaps between a window's end and the next one's start too, starts
    of trajectories in units of their spread.
    """
    states = model.beginnings(windows)
    path = roll_out(model, windows, states, solve)
    residual = (path[..., : model.sizes.observed].transpose(0, 1) - windows.values) * windows.seen / weights.noise
    total = residual.square().sum()
    joined = windows.next_node >= 0
    if bool(joined.any()):
        gap = path[-1][joined] - model.nodes[windows.next_node[joined]]
        total = total + weights.continuity * (gap / _gap_scale(model, weights)).square().sum()
    total = total + _starts(model, windows, states)
    count = windows.seen.sum()
    loss = total / count
    inner = model.field.inner
    if isinstance(inner, LinearAndNetwork):
        expected = NETWORK_PRIOR if weights.nothing is None else DOSES_NETWORK_PRIOR
        if weights.held is not None:
            expected = HELD_NETWORK_PRIOR
        prior = (inner.network[-1].weight / expected).square().sum()
        for layer in inner.network[:-1]:
            prior = prior + 0.1 * layer.weight.square().sum()
        if weights.held is not None:
            prior = prior + ((inner.linear.weight - weights.held) / weights.held_prior).square().sum()
        sizes = model.sizes
        known = sizes.covariates
        if known:  # as many values as trajectories, not as many as rows
            reads = [layer.weight[:, -known:] for layer in (inner.linear, inner.network[0])]
            for weight in reads:
                prior = prior + (weight / COVARIATE_PRIOR).square().sum()
            prior = prior + (model.start_by / model.spread / START_PRIOR).square().sum()
            prior = prior + (model.jumps_by / JUMP_PRIOR).square().sum()
        if weights.nothing is not None:
            rest = weights.nothing.new_zeros(sizes.state + sizes.known)
            rest[: sizes.observed] = weights.nothing
            prior = prior + (inner(rest.new_zeros(1), rest) / NOTHING_PRIOR).square().sum()
        loss = loss + prior / weights.observations
    return loss * weights.noise.square().mean()


def _gap_scale(model: SeriesModel, weights: Weights) -> Tensor:
    hidden = weights.noise.mean().expand(model.sizes.hidden)
    return 0.5 * torch.cat((weights.noise, hidden))


def _starts(model: SeriesModel, windows: Windows, states: Tensor) -> Tensor:
    first = windows.is_first
    if model.initial != "learnt" or not bool(first.any()):
        return states.new_zeros(())
    away = (states[first] - model.mean_start(windows.covariates[first])) / model.spread
    return away.square().sum()
