"""Whether the observed columns determine how they go on, or hidden dimensions are needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.curves import Curves, dense_times

AMBIGUOUS = 0.7
"""Share of the variance of slopes that the state leaves open beyond which a hidden dimension is added."""
NEAR, AWAY = 0.12, 0.35
"""Two states are the same level within NEAR standard deviations, if the path was AWAY from it in between."""
LEAST_PAIRS = 50
MOST_ORDERS = 2
MOST_POINTS = 500


@dataclass(frozen=True)
class Hidden:
    """Hidden dimensions: each is the derivative of this order of this model column, over its `scales`."""

    columns: tuple[int, ...] = ()
    orders: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()

    @property
    def count(self) -> int:
        """Number of hidden dimensions."""
        return len(self.columns)

    def states(self, curves: Curves, trajectory: int, times: Array, further: int = 0) -> Array:
        """The hidden states `(k, hidden)` of a trajectory at `times`, or their derivatives."""
        parts = [
            curves.states(trajectory, times, order + further)[:, column] / scale
            for column, order, scale in zip(self.columns, self.orders, self.scales, strict=True)
        ]
        return np.stack(parts, -1) if parts else np.empty((len(times), 0))


def ambiguity(curves: Curves, hidden: Hidden, inputs: list[Array]) -> tuple[Array, Array]:
    """How much of each column's slope the state leaves open, from 0 to about 1, and the pairs that it was measured on.

    `inputs` are the values `(k, inputs)` of the inputs at `dense_times` of each trajectory.  Compares slopes where a
    trajectory comes back to a state that it has been in; NaN for a column without slopes to speak of.
    """
    columns = len(curves.noise)
    squares, variance, pairs, rows = np.zeros(columns), np.zeros(columns), np.zeros(columns), np.zeros(columns)
    signal = np.zeros(columns)
    for k, times in enumerate(dense_times(curves)):
        if len(times) < 8 or not any(curves.smooth[k]):
            continue
        skip = max(1, len(times) // MOST_POINTS)
        at = times[::skip]
        state = np.hstack((curves.states(k, at), hidden.states(curves, k, at), inputs[k][::skip]))
        slopes = _highest(curves, hidden, k, at)
        first, second = _returns(state)
        difference = (slopes[first] - slopes[second]) ** 2
        smooth = np.array(curves.smooth[k])
        squares += np.where(smooth, difference.sum(0), 0)
        pairs += np.where(smooth, len(first), 0)
        variance += np.where(smooth, (slopes**2).sum(0), 0)
        signal += np.where(smooth, (curves.states(k, at) ** 2).sum(0), 0)
        rows += np.where(smooth, len(at), 0)
    share = np.full(columns, np.nan)
    clear = (rows > 0) & (pairs >= LEAST_PAIRS) & (np.sqrt(signal / np.maximum(rows, 1)) > curves.noise)
    share[clear] = (squares / np.maximum(pairs, 1) / 2)[clear] / np.maximum(variance / np.maximum(rows, 1), 1e-300)[
        clear
    ]
    return share, pairs


def decide(curves: Curves, inputs: list[Array], count: int | None = None) -> Hidden:
    """The hidden dimensions that the data call for, or `count` of them: derivatives of the most ambiguous columns."""
    hidden = Hidden()
    for _ in range(MOST_ORDERS if count is None else max(count, 1)):
        if count is not None and hidden.count >= count:
            break
        share, _ = ambiguity(curves, hidden, inputs)
        if count is None:
            chosen = [int(c) for c in np.flatnonzero(np.nan_to_num(share) > AMBIGUOUS)]
        else:
            order = np.argsort(-np.nan_to_num(share), kind="stable")
            fewest = min(_orders(hidden, len(share)))
            chosen = [int(c) for c in order if _orders(hidden, len(share))[c] == fewest][: count - hidden.count]
        if not chosen:
            break
        for column in chosen:
            hidden = added(curves, hidden, column)
    return hidden


def _orders(hidden: Hidden, columns: int) -> list[int]:
    return [sum(c == column for c in hidden.columns) for column in range(columns)]


def added(curves: Curves, hidden: Hidden, column: int) -> Hidden:
    """`hidden` with the next derivative of `column`."""
    order = _orders(hidden, len(curves.noise))[column] + 1
    values = [
        curves.states(k, times, order)[:, column]
        for k, times in enumerate(dense_times(curves))
        if len(times) and curves.smooth[k][column]
    ]
    scale = float(np.sqrt(np.mean(np.concatenate(values) ** 2))) if values else 0.0
    scale = scale or float(max(1e-300, max(last - first for first, last in curves.spans))) ** -order
    return Hidden((*hidden.columns, column), (*hidden.orders, order), (*hidden.scales, scale))


def _highest(curves: Curves, hidden: Hidden, trajectory: int, times: Array) -> Array:
    """The derivative `(k, columns)` of each column that the state has to determine: one beyond its hidden ones."""
    orders = _orders(hidden, len(curves.noise))
    return np.stack([curves.states(trajectory, times, o + 1)[:, c] for c, o in enumerate(orders)], -1)


def _returns(state: Array) -> tuple[Array, Array]:
    """Pairs of points at which the path is in the same state, having been elsewhere in between."""
    spread = state.std(0)
    scaled = state / np.where(spread > 1e-9, spread, 1.0)
    gap = np.abs(scaled[:, None] - scaled[None]).max(-1)
    # the farthest that the path was from its state at i before it came to j
    farthest = np.maximum.accumulate(np.triu(gap), axis=1)
    first, second = np.nonzero((gap < NEAR) & (farthest > AWAY) & (np.arange(len(gap))[:, None] < np.arange(len(gap))))
    return first, second
