"""Two concentric circles (a toy of the study's code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pynode.problems.density.toys.base import Array, Toy
from pynode.problems.density.toys.rings import draw_rings, rings_log_prob

SCALE = 3.0
RADII = SCALE * np.array([0.5, 1.0])
STD = SCALE * 0.08


class Circles(Toy):
    """Equal weights, radii 1.5 and 3, uniform angles, Gaussian noise of standard deviation 0.24 (after FFJORD)."""

    name: ClassVar[str] = "circles"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        return draw_rings(n, generator, RADII, STD)

    def true_log_prob(self, x: Array) -> Array:
        return rings_log_prob(x, RADII, STD)
