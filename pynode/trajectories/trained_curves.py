"""Smooth curves of trained trajectories as forecasts of another one: their mean, and how they differ from it.

The law between first rows and what follows is estimated over trajectories, without a field: a regression on the first
rows, as of a mixed-effects model whose covariance is that of the curves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pynode.datasets.splits import Array
from pynode.trajectories.build import Prepared
from pynode.trajectories.grid import Grid


def curve_paths(prepared: Prepared, which: Sequence[int], grid: Grid, onward: Array) -> Tensor:
    """The curves `(n, nodes, columns)` of the trained trajectories `which`, at the first nodes of `grid`.

    Time counts from the first row of each.  Beyond its rows a curve goes on as those of the others do on average; where
    no other one was observed, as `onward` `(nodes, columns)` does, which says how many nodes there are.
    """
    since = grid.times[: len(onward)] - grid.times[grid.rows[0]]
    spans = np.array([prepared.curves.spans[k] for k in which])
    ends = spans[:, 1] - spans[:, 0]
    times = np.union1d(since, np.append(ends, 0.0).clip(since[0], since[-1]))
    inside = (times >= 0) & (times <= ends[:, None])
    curves = zip(which, spans.tolist(), strict=True)
    paths = np.array([prepared.curves.states(k, np.clip(begin + times, begin, end)) for k, (begin, end) in curves])
    both = (inside[:, 1:] & inside[:, :-1])[..., None]
    steps, count = np.diff(paths, axis=1), both.sum(0)
    own = np.diff([np.interp(times, since, column) for column in onward.T], axis=1).T
    usual = np.where(count > 0, (steps * both).sum(0) / np.maximum(count, 1), own)
    gone = np.concatenate((np.zeros_like(paths[:, :1]), np.where(both, steps, usual).cumsum(1)), 1)
    first = inside.argmax(1)  # the node from which each is followed in both directions
    every = np.arange(len(paths))
    paths = gone + (paths[every, first] - gone[every, first])[:, None]
    return torch.as_tensor(paths[:, np.searchsorted(times, since)])


def conditioned(paths: Tensor, values: Tensor, marks: Tensor, noise: Tensor) -> Tensor:
    """The expected path `(nodes, columns)`, given the `values` `(nodes, columns)` that `marks` (0 or 1) mark.

    The mean of `paths` `(n, nodes, columns)`, and of their differences from it the combination that is most likely
    for these values with `noise` `(columns,)`: the update of an ensemble Kalman filter (Evensen 1994).
    """
    mean = paths.mean(0)
    away, more = paths - mean, len(paths) - 1
    seen = (away / noise * marks).flatten(1)
    missed = ((values - mean) / noise * marks).flatten()
    gram = seen @ seen.T + more * torch.eye(more + 1, dtype=paths.dtype)
    weights = torch.linalg.solve(gram, seen @ missed)
    return torch.as_tensor(mean + (weights[:, None, None] * away).sum(0))
