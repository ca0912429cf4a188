"""A Swiss roll seen from its end (a toy of the study's code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pynode.problems.density.toys.base import Array, Toy

SCALE = 5.0
STD = 1.0


class SwissRoll(Toy):
    """The spiral t (cos t, sin t) / 5 with t uniform on [1.5 pi, 4.5 pi] and Gaussian noise of standard deviation 0.2
    (after FFJORD)."""

    name: ClassVar[str] = "swissroll"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        t = generator.uniform(1.5 * np.pi, 4.5 * np.pi, size=n)
        roll = t[:, None] * np.stack((np.cos(t), np.sin(t)), axis=1)
        return np.asarray((roll + STD * generator.standard_normal((n, 2))) / SCALE)
