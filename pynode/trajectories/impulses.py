"""A first model where impulses make levels jump: each column decays to a level of rest, and jumps by its dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.grid import Grid

RATES, CHUNKS = 60, 5
"""Rates that are tried, and the parts that they are tried in."""
RIDGE = 1e-3
RIDGE_OF_NOTHING = 1.0
"""The same of starts and levels of rest that are thought to be 0 in the file."""
PAIRED = 24
"""Rates that are tried in pairs."""
LEAST_ROWS = 30
"""Values below which two rates are not told from one."""
CLEARLY_LESS, LEAST_RESIDUAL = 0.4, 1e-4
"""Share of the residuals' squares that a second rate leaves at most, and the mean square that is worth one."""
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


def in_two_phases(grids: Sequence[Grid], masks: Sequence[Array], column: int) -> bool:
    """Whether what an impulse leaves of a column goes at two rates, fast and then slowly, by more than noise.

    Then a part of it is somewhere that is not observed, and comes back, as from a second compartment.  Compares the
    residuals of the best decay with those of the best sum of two.
    """
    lengths = np.concatenate([grid.lengths for grid in grids])
    longest = max(float(grid.lengths.sum()) for grid in grids)
    used = [np.flatnonzero(mask & np.isfinite(g.values[:, column])) for g, mask in zip(grids, masks, strict=True)]
    count = sum(map(len, used))
    impulses = grids[0].jumps.shape[1]
    if not impulses or not len(lengths) or count < LEAST_ROWS + 2 * impulses:
        return False
    rates = np.geomspace(0.2 / longest, max(3 / float(np.median(lengths)), 10 / longest), PAIRED)
    rows = np.concatenate([_parts(grid, rates)[nodes] for grid, nodes in zip(grids, used, strict=True)])
    values = np.concatenate([grid.values[nodes, column] for grid, nodes in zip(grids, used, strict=True)])

    def left(which: list[int]) -> float:
        design = np.hstack((np.ones((count, 1)), rows[:, which].reshape(count, -1)))
        gram = design.T @ design + RIDGE * np.eye(design.shape[1])
        return float(((design @ np.linalg.solve(gram, design.T @ values) - values) ** 2).sum())

    one = min(left([n]) for n in range(PAIRED))
    two = min(left([n, m]) for n in range(PAIRED) for m in range(n + 1, PAIRED))
    return bool(two < CLEARLY_LESS * one and one / count > LEAST_RESIDUAL)


@dataclass(frozen=True)
class Decay:
    """One column: z' = rate (rest - z), `jumps` `(impulses,)` for an impulse of size 1, from `start`."""

    rate: float
    rest: float
    start: float
    jumps: Array

    def at(self, grid: Grid, nodes: Array) -> Array:
        """The values `(k,)` at `nodes` of a grid, before the impulses there."""
        parts = _parts(grid, np.array([self.rate]))[nodes, 0]
        return np.asarray(self.rest + parts @ np.concatenate(([self.start - self.rest], self.jumps)))


def fitted_decays(
    grids: Sequence[Grid], masks: Sequence[Array], columns: int, nothing: Array | None = None
) -> list[Decay | None]:
    """For each of the first `columns`, the decay nearest to what is observed at the nodes that `masks` mark.

    None for a column without observations.  For every rate of a grid a linear least squares problem; the best rate is
    taken.  Levels of `nothing` `(columns,)` are where columns start and come to rest unless the data say otherwise.
    """
    longest = max(float(grid.lengths.sum()) for grid in grids)
    lengths = np.concatenate([grid.lengths for grid in grids])
    if not len(lengths) or not longest > 0:
        return [None] * columns
    rates = np.geomspace(0.05 / longest, max(3 / float(np.median(lengths)), 10 / longest), RATES)
    used = [np.flatnonzero(mask & np.isfinite(g.values).any(1)) for g, mask in zip(grids, masks, strict=True)]
    values = np.concatenate([grid.values[nodes] for grid, nodes in zip(grids, used, strict=True)])
    levels = [0.0] * columns if nothing is None else nothing.tolist()
    ridge = RIDGE if nothing is None else RIDGE_OF_NOTHING
    nearest: list[tuple[float, Decay | None]] = [(np.inf, None)] * columns
    for some in np.array_split(rates, CHUNKS):  # of all rates together, long series would fill the memory
        rows = np.concatenate([_parts(grid, some)[nodes] for grid, nodes in zip(grids, used, strict=True)])
        for column in range(columns):
            candidate = _nearest(some, rows, values[:, column], levels[column], ridge)
            if candidate is not None and (nearest[column][1] is None or candidate[0] < nearest[column][0]):
                nearest[column] = candidate
    return [decay for _, decay in nearest]


def _nearest(rates: Array, rows: Array, values: Array, level: float, ridge: float) -> tuple[float, Decay] | None:
    """The decay of one of `rates` nearest to `values` `(n,)` and, before it, how far it is from them.

    `rows` `(n, rates, 1 + impulses)` say what is left of a start and of impulses; `ridge` draws rest and start to
    `level`.
    """
    seen = np.isfinite(values)
    if not seen.any():
        return None
    known = values[seen] - level
    design = np.concatenate((np.ones((len(known), len(rates), 1)), rows[seen]), -1).transpose(1, 0, 2)
    penalties = np.array([ridge, ridge, *[RIDGE] * (design.shape[2] - 2)])
    gram = design.transpose(0, 2, 1) @ design + np.diag(penalties)
    weights = np.linalg.solve(gram, (design.transpose(0, 2, 1) @ known)[..., None])[..., 0]
    residuals = (design @ weights[..., None])[..., 0] - known
    errors = (residuals**2).sum(1) + (penalties * weights**2).sum(1)
    best = int(errors.argmin())
    weight = weights[best]
    rest = level + float(weight[0])
    return float(errors[best]), Decay(float(rates[best]), rest, rest + float(weight[1]), weight[2:])


def _parts(grid: Grid, rates: Array) -> Array:
    """What is left at every node `(nodes, rates, 1 + impulses)` of a start of 1 and of the impulses before it."""
    left = np.exp(-grid.lengths[:, None] * rates)[..., None]
    rows = np.zeros((len(grid.times), len(rates), 1 + grid.jumps.shape[1]))
    rows[0, :, 0] = 1.0
    doses = np.hstack((np.zeros((len(grid.jumps), 1)), grid.jumps))
    for k, share in enumerate(left):
        rows[k + 1] = share * (rows[k] + doses[k])
    return rows
