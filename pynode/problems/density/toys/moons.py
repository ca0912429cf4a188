"""Two interleaved half-moons (a toy of the study's code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pynode.problems.density.toys.base import Array, Toy

SCALE = 2.0
SHIFT = np.array([-1.0, -0.2])
STD = 0.1


class Moons(Toy):
    """Two half-circles of radius 2, one turned by half a turn and shifted into the other, with Gaussian noise of
    standard deviation 0.2 (after FFJORD).

    The second half-circle is the first one mirrored at the point (1/2, 1/4), before scale 2 and shift (-1, -0.2).
    """

    name: ClassVar[str] = "moons"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        angle = generator.uniform(0.0, np.pi, size=n)
        upper = np.stack((np.cos(angle), np.sin(angle)), axis=1)
        mirrored = generator.integers(2, size=n)[:, None] == 1
        moon = np.where(mirrored, np.array([1.0, 0.5]) - upper, upper)
        return np.asarray(SCALE * (moon + STD * generator.standard_normal((n, 2))) + SHIFT)
