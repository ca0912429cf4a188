"""The dark squares of a 4 x 4 checkerboard (a toy of the study's code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pynode.problems.density.toys.base import Array, Toy

SIDE = 2.0
SQUARES = 8


class Checkerboard(Toy):
    """Uniform on those 2 x 2 squares of [-4, 4]^2 whose column and row, counted from the origin, have an even sum
    (after FFJORD)."""

    name: ClassVar[str] = "checkerboard"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        column = generator.integers(-2, 2, size=n)
        row = 2 * generator.integers(-1, 1, size=n) + column % 2
        corner = np.stack((column, row), axis=1)
        return np.asarray(SIDE * (corner + generator.uniform(size=(n, 2))))

    def true_log_prob(self, x: Array) -> Array:
        """The logarithm of one over the area of the squares, -inf outside them."""
        cell = np.floor(x / SIDE)
        inside = (cell.sum(1) % 2 == 0) & (np.abs(cell + 0.5).max(1) < 2)
        return np.where(inside, -np.log(SQUARES * SIDE**2), -np.inf)
