"""A first field without any solve: slopes of smooth curves through the data, matched by ridge regression and L-BFGS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pynode.datasets.splits import Array
from pynode.trajectories.fields import LinearAndNetwork


@dataclass(frozen=True)
class Samples:
    """Points `(k, state + known)` that a field reads, the slopes `(k, state)` to match there, by the model's time.

    The last `covariates` columns are constant over each of `trajectories` trajectories.
    """

    points: Array
    slopes: Array
    covariates: int = 0
    trajectories: int = 1

    @property
    def scales(self) -> Array:
        """The root mean square of each slope `(state,)`, at least a thousandth of the largest."""
        size = np.sqrt((self.slopes**2).mean(0))
        return np.asarray(np.maximum(size, 1e-3 * max(size.max(), 1e-6)))


@dataclass(frozen=True)
class Effort:
    """How firmly a field is held down: ridge of the linear part, ridge of the network, None for none of it.

    An infinite ridge of the linear part leaves a drift alone.
    """

    linear: float
    network: float | None


EFFORTS = (Effort(1e-4, None), Effort(1e-2, None), Effort(0.3, None), Effort(1e-4, 1e-3), Effort(1e-2, 0.03))
"""From rows of smooth curves alone it can't be told which is best: solves decide."""

FASTEST = 10.0
"""Largest rate of growth, decay or rotation of a first linear field, by the model's unit of time."""


def match(field: LinearAndNetwork, samples: Samples, effort: Effort, *, iterations: int = 150) -> None:
    """Fits `field` to `samples`: the linear part by ridge regression, then all of it by L-BFGS.

    Without an effort for it, and with few samples, the network stays at 0.
    """
    with torch.no_grad():
        field.network[-1].weight.zero_()
        field.network[-1].bias.zero_()
        weight, bias = linear_match(samples, effort.linear)
        field.linear.weight.copy_(torch.as_tensor(weight))
        field.linear.bias.copy_(torch.as_tensor(bias))
    if effort.network is None or len(samples.points) < 40:
        return
    ridge = effort.network
    points, slopes = torch.as_tensor(samples.points), torch.as_tensor(samples.slopes)
    scales = torch.as_tensor(samples.scales)
    parameters = list(field.parameters())
    optimiser = torch.optim.LBFGS(parameters, max_iter=iterations, history_size=20, line_search_fn="strong_wolfe")
    at = torch.zeros(())

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = ((field(at, points) - slopes) / scales).square().mean()
        network = (field.network[-1].weight / scales[:, None]).square().sum()
        for layer in field.network[:-1]:
            network = network + layer.weight.square().mean()
        loss = loss + ridge * network
        loss = loss + effort.linear * ((field.linear.weight / scales[:, None]).square().sum())
        loss.backward()
        return loss

    kept = [p.detach().clone() for p in parameters]
    optimiser.step(closure)
    optimiser.zero_grad()
    if not all(bool(torch.isfinite(p).all()) for p in parameters):
        with torch.no_grad():
            for p, before in zip(parameters, kept, strict=True):
                p.copy_(before)


def linear_match(samples: Samples, ridge: float) -> tuple[Array, Array]:
    """Matrix `(state, state + known)` and offset `(state,)` of the linear field nearest to the slopes."""
    state, width = samples.slopes.shape[1], samples.points.shape[1]  # constants of a trajectory are 0 here
    if len(samples.points) < 3:
        return np.zeros((state, width)), np.zeros(state)
    if np.isinf(ridge):
        return np.zeros((state, width)), samples.slopes.mean(0)
    mean, slope = samples.points.mean(0), samples.slopes.mean(0)
    centred = samples.points - mean
    ridges = np.full(width, ridge)
    ridges[width - samples.covariates :] += 20 / samples.trajectories  # as many as that differ, not as many as rows
    gram = centred.T @ centred + len(centred) * np.diag(ridges)
    weight = np.linalg.solve(gram, centred.T @ (samples.slopes - slope)).T
    weight[:, :state] = _slowed(weight[:, :state])
    return weight, slope - weight @ mean


def _slowed(matrix: Array) -> Array:
    """`matrix` with eigenvalues of at most `FASTEST` in size."""
    values, vectors = np.linalg.eig(matrix)
    size = np.abs(values)
    if size.max() <= FASTEST or np.linalg.cond(vectors) > 1e8:
        return matrix if size.max() <= FASTEST else matrix * (FASTEST / size.max())
    values = values * np.minimum(1, FASTEST / np.maximum(size, 1e-300))
    return np.asarray((vectors @ np.diag(values) @ np.linalg.inv(vectors)).real)
