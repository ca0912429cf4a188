"""The accepted steps of a forward solve in device memory, and the interpolated solution between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from pynode.types import State

_X, _REST, _BEND = Polynomial([0, 1]), Polynomial([1, -1]), Polynomial([1, -2])

QUARTIC = (
    (_REST**2 * _BEND * (1 + 4 * _X), _X * _REST**2 * _BEND, 16 * _X**2 * _REST**2),
    (-(_X**2) * _BEND * (5 - 4 * _X), _X**2 * _REST * _BEND, Polynomial([0])),
)
"""Weights of state, slope and middle at the left and the right end of a step of dopri5, by the fraction of the step."""

CUBIC = ((_REST**2 * (1 + 2 * _X), _X * _REST**2), (_X**2 * (3 - 2 * _X), -(_X**2) * _REST))
"""Weights of state and slope, for pairs of order 2 and 3."""

FIRST_CAPACITY = 64
"""Nodes for which memory is allocated at first."""


class Nodes:
    """State and slope at the beginning of each step, and with `with_middle` (dopri5) the state at its middle.

    A node is written at the position of a counter on the device, which only an accepted step increases: the next
    attempt overwrites a rejected one.  Points are s = sign * t, and increase.
    """

    def __init__(self, like: State, *, with_middle: bool) -> None:
        table = QUARTIC if with_middle else CUBIC
        self.columns = len(table[0])
        polynomials = [weight.coef for row in table for weight in row]
        degree = max(map(len, polynomials))
        padded = [[*map(float, coefficients), *[0.0] * (degree - len(coefficients))] for coefficients in polynomials]
        flags = [[float(column == 1) for _ in table for column in range(self.columns)]]
        options: dict[str, Any] = {"dtype": torch.float64, "device": like.device}
        self._polynomials = torch.tensor(padded, **options)
        self._powers = torch.arange(degree, **options)
        self._is_slope = torch.tensor(flags[0], **options)
        self._pair = torch.arange(2, device=like.device)
        self._shape = (2, self.columns, *(1 for _ in like.shape))
        self.count = torch.zeros(1, dtype=torch.int64, device=like.device)
        self._last = torch.zeros((), dtype=torch.int64, device=like.device)
        self.points = torch.full((FIRST_CAPACITY,), math.inf, **options)
        self.rows = like.new_zeros(FIRST_CAPACITY, self.columns, *like.shape)

    @property
    def capacity(self) -> int:
        """Nodes for which there is memory."""
        return len(self.points)

    def grow(self) -> None:
        """Doubles the memory, in new tensors; recordings that use the nodes have to be made again."""
        self.points = torch.cat((self.points, torch.full_like(self.points, math.inf)))
        self.rows = torch.cat((self.rows, torch.zeros_like(self.rows)))

    def clear(self) -> None:
        """Forgets all nodes."""
        self.count.zero_()
        self.points.fill_(math.inf)

    def write(self, s: Tensor, values: Sequence[State], accepted: Tensor) -> None:
        """Writes a node at `s` `()`, and keeps it where `accepted` `(1,)`."""
        self.points.index_copy_(0, self.count, s.reshape(1))
        self.rows.index_copy_(0, self.count, torch.stack(list(values))[None])
        self.count.add_(accepted)

    def close(self, s: Tensor, y: State, slope: State, n: int) -> None:
        """Writes the last node at `s` `()`, behind `n` others."""
        self.points[n].copy_(s)
        self.rows[n, 0].copy_(y)
        self.rows[n, 1].copy_(slope)
        if self.columns > 2:
            self.rows[n, 2].zero_()
        self.points[n + 1 :].fill_(math.inf)
        self._last.fill_(n - 1)

    def state(self, s: Tensor) -> State:
        """The state at the point `s` `()`."""
        left = torch.minimum((self.points <= s).sum() - 1, self._last).clamp(min=0)
        ends = left + self._pair
        begin, end = self.points.index_select(0, ends).unbind()
        size = end - begin
        weights = (self._polynomials * ((s - begin) / size) ** self._powers).sum(1) * size**self._is_slope
        rows = self.rows.index_select(0, ends)
        return (rows * weights.to(rows.dtype).reshape(self._shape)).sum((0, 1))

    def saved(self, n: int) -> tuple[Tensor, Tensor]:
        """Copies of the first `n` nodes."""
        return self.points[:n].clone(), self.rows[:n].clone()

    def restore(self, points: Tensor, rows: Tensor) -> None:
        """Copies nodes back that `saved` has copied."""
        n = len(points)
        self.points[:n].copy_(points)
        self.rows[:n].copy_(rows)
        self.points[n:].fill_(math.inf)
        self._last.fill_(n - 2)
