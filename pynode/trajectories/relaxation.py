"""A first model of one column that rises and falls: the sum of two decays, with rates that all trajectories share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.grid import Grid

RATES = 28
RIDGE = 1e-3


@dataclass(frozen=True)
class Relaxation:
    """z = rest + a exp(-slow t) + b exp(-fast t); `shares` `(trajectories, 2)` are a and b, by the model's time."""

    slow: float
    fast: float
    rest: float
    shares: Array

    def states(self, trajectory: int, times: Array, scale: float) -> Array:
        """The column and its slope over `scale` `(k, 2)`, at `times` since the first node."""
        decays = np.exp(-times[:, None] * np.array([self.slow, self.fast]))
        parts = decays * self.shares[trajectory]
        slope = -(parts * np.array([self.slow, self.fast])).sum(1) / scale
        return np.stack((self.rest + parts.sum(1), slope), -1)


def fitted_relaxation(grids: Sequence[Grid], masks: Sequence[Array]) -> Relaxation | None:
    """The two decays nearest to the first column at the nodes that `masks` mark, None where there are too few values.

    For each pair of rates of a grid the rest is linear.
    """
    points = []
    for grid, mask in zip(grids, masks, strict=True):
        seen = mask & np.isfinite(grid.values[:, 0])
        clock = np.concatenate(([0.0], np.cumsum(grid.lengths)))
        points.append((clock[seen], grid.values[seen, 0]))
    gaps = np.concatenate([np.diff(t) for t, _ in points])
    if not len(gaps) or sum(len(t) for t, _ in points) < 4 * sum(len(t) > 0 for t, _ in points):
        return None
    longest = max(float(t[-1]) for t, _ in points if len(t))
    rates = np.geomspace(0.1 / longest, 3 / float(np.quantile(gaps, 0.1)), RATES)
    return _nearest(points, rates)


def _nearest(points: Sequence[tuple[Array, Array]], rates: Array) -> Relaxation:
    """The pair of `rates` with the least sum of squares, for all pairs and trajectories at once.

    Sums over the points of each trajectory are all that least squares needs: of products of two decays `(trajectories,
    rates, rates)`, and of decays by themselves and by the values `(trajectories, rates)`.
    """
    decays = [np.exp(-times[:, None] * rates) for times, _ in points]
    gram = np.array([e.T @ e for e in decays])
    ones = np.array([e.sum(0) for e in decays])
    dots = np.array([e.T @ values for e, (_, values) in zip(decays, points, strict=True)])
    counts = np.array([float(len(values)) for _, values in points])
    sums = np.array([values.sum() for _, values in points])
    squares = np.array([(values**2).sum() for _, values in points])
    i, j = np.triu_indices(len(rates), 1)
    first, second, both = gram[:, i, i] + RIDGE, gram[:, j, j] + RIDGE, gram[:, i, j]
    determinant = first * second - both**2

    def solved(a: Array, b: Array) -> tuple[Array, Array]:
        return (second * a - both * b) / determinant, (first * b - both * a) / determinant

    one_i, one_j = solved(ones[:, i], ones[:, j])
    top = (sums[:, None] - dots[:, i] * one_i - dots[:, j] * one_j).sum(0)
    bottom = (counts[:, None] - ones[:, i] * one_i - ones[:, j] * one_j).sum(0)
    rest = top / np.maximum(bottom, 1e-12)
    pull_i, pull_j = dots[:, i] - rest * ones[:, i], dots[:, j] - rest * ones[:, j]
    share_i, share_j = solved(pull_i, pull_j)
    total = squares[:, None] - 2 * rest * sums[:, None] + rest**2 * counts[:, None]
    errors = (total - share_i * pull_i - share_j * pull_j).sum(0)
    best = int(errors.argmin())
    shares = np.stack((share_i[:, best], share_j[:, best]), -1)
    return Relaxation(float(rates[i[best]]), float(rates[j[best]]), float(rest[best]), shares)
