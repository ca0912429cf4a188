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
    least, best = np.inf, None
    for i, slow in enumerate(rates):
        for fast in rates[i + 1 :]:
            error, rest, shares = _linear(points, slow, fast)
            if error < least:
                least, best = error, Relaxation(float(slow), float(fast), rest, shares)
    return best


def _linear(points: Sequence[tuple[Array, Array]], slow: float, fast: float) -> tuple[float, float, Array]:
    """Sum of squares, level of rest and shares for these rates."""
    solvers, top, bottom = [], 0.0, 0.0
    for times, values in points:
        decays = np.exp(-times[:, None] * np.array([slow, fast]))
        solver = np.linalg.solve(decays.T @ decays + RIDGE * np.eye(2), decays.T)
        left = np.ones(len(times)) - decays @ (solver @ np.ones(len(times)))
        top, bottom = top + float(left @ values), bottom + float(left.sum())
        solvers.append((decays, solver))
    rest = top / max(bottom, 1e-12)
    shares = np.array([solver @ (values - rest) for (_, solver), (_, values) in zip(solvers, points, strict=True)])
    each = zip(solvers, points, shares, strict=True)
    error = sum(float(((values - rest - decays @ share) ** 2).sum()) for (decays, _), (_, values), share in each)
    return error + RIDGE * float((shares**2).sum()), rest, shares
