"""A first model where impulses make levels jump: each column decays to a level of rest, and jumps by its dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.grid import Grid

RATES = 60
RIDGE = 1e-3
CLEAR, LEAST_SHARE = 0.3, 0.08
"""Changes, in standard deviations, that are no noise, and the share of them that has to go either way."""


def both_ways(grids: Sequence[Grid], masks: Sequence[Array], column: int) -> bool:
    """Whether a column rises as well as falls, by more than noise, between rows that no impulse lies between.

    Then something that is not observed drives it, such as a dose that is still to be absorbed.
    """
    changes = []
    for grid, mask in zip(grids, masks, strict=True):
        seen = np.flatnonzero(mask & np.isfinite(grid.values[:, column]))
        hit = np.concatenate(([0], np.cumsum((grid.jumps != 0).any(1))))
        for a, b in pairwise(seen.tolist()):
            if hit[a] == hit[b]:  # the impulse at b itself comes after what is observed there
                changes.append(grid.values[b, column] - grid.values[a, column])
    told = np.array(changes)
    least = max(4, LEAST_SHARE * len(told))
    return bool((told > CLEAR).sum() >= least and (told < -CLEAR).sum() >= least)


@dataclass(frozen=True)
class Decay:
    """One column: z' = rate (rest - z), `jumps` `(impulses,)` for an impulse of size 1, from `start`."""

    rate: float
    rest: float
    start: float
    jumps: Array

    def at(self, grid: Grid, nodes: Array) -> Array:
        """The values `(k,)` at `nodes` of a grid, before the impulses there."""
        parts = _parts(grid, self.rate)[nodes]
        return np.asarray(self.rest + parts @ np.concatenate(([self.start - self.rest], self.jumps)))


def fitted_decay(grids: Sequence[Grid], masks: Sequence[Array], column: int) -> Decay | None:
    """The decay nearest to what is observed of a column at the nodes that `masks` mark; None without observations.

    For every rate of a grid a linear least squares problem; the best rate is taken.
    """
    seen = [mask & np.isfinite(grid.values[:, column]) for grid, mask in zip(grids, masks, strict=True)]
    if not any(rows.any() for rows in seen):
        return None
    values = np.concatenate([grid.values[rows, column] for grid, rows in zip(grids, seen, strict=True)])
    longest = max(float(grid.lengths.sum()) for grid in grids)
    shortest = float(np.median(np.concatenate([grid.lengths for grid in grids])))
    least, best = np.inf, None
    for rate in np.geomspace(0.05 / longest, max(3 / shortest, 10 / longest), RATES):
        rows = np.concatenate([_parts(grid, rate)[mask] for grid, mask in zip(grids, seen, strict=True)])
        design = np.hstack((np.ones((len(rows), 1)), rows))
        weight = np.linalg.solve(design.T @ design + RIDGE * np.eye(design.shape[1]), design.T @ values)
        error = float(((design @ weight - values) ** 2).sum() + RIDGE * (weight**2).sum())
        if error < least:
            least, best = error, Decay(float(rate), float(weight[0]), float(weight[0] + weight[1]), weight[2:])
    return best


def _parts(grid: Grid, rate: float) -> Array:
    """What is left at every node `(nodes, 1 + impulses)` of a start of 1 and of the impulses before it."""
    left = np.exp(-rate * grid.lengths)
    rows = np.zeros((len(grid.times), 1 + grid.jumps.shape[1]))
    rows[0, 0] = 1.0
    for k, share in enumerate(left):
        rows[k + 1] = share * (rows[k] + np.concatenate(([0.0], grid.jumps[k])))
    return rows
