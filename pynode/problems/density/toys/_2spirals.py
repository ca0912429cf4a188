"""Two interleaved spirals (a toy of the study's code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pynode.problems.density.toys.base import Array, Toy

TURNS = 1.5
WIDTH = 0.5
SCALE = 3.0
STD = 0.1


class TwoSpirals(Toy):
    """Two arms of one and a half turns, opposite to each other, that end at radius pi (after FFJORD).

    One arm is t (-cos t, sin t) plus uniform noise on [0, 0.5]^2, divided by 3, with t = 3 pi sqrt(u), u uniform; the
    other arm is its negative; Gaussian noise of standard deviation 0.1 is added to both.
    """

    name: ClassVar[str] = "2spirals"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        t = TURNS * 2 * np.pi * np.sqrt(generator.uniform(size=n))
        arm = t[:, None] * np.stack((-np.cos(t), np.sin(t)), axis=1) + generator.uniform(0.0, WIDTH, size=(n, 2))
        sign = 1.0 - 2.0 * generator.integers(2, size=n)
        return np.asarray(sign[:, None] * arm / SCALE + STD * generator.standard_normal((n, 2)))
