"""A pinwheel of five twisted arms (a toy of the study's code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pynode.problems.density.toys.base import Array, Toy

ARMS = 5
RADIAL_STD, TANGENTIAL_STD = 0.3, 0.1
RATE = 0.25
SCALE = 2.0


class Pinwheel(Toy):
    """Five Gaussian arms around radius 2, each turned clockwise by 0.25 exp(radius) (after FFJORD).

    An arm is Gaussian about (1, 0) with standard deviation 0.3 along it and 0.1 across, before it is turned and scaled
    by 2.  Arms are drawn independently; the original gives each a fifth of the batch.
    """

    name: ClassVar[str] = "pinwheel"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        along, across = generator.standard_normal((2, n))
        along, across = 1.0 + RADIAL_STD * along, TANGENTIAL_STD * across
        angle = 2 * np.pi / ARMS * generator.integers(ARMS, size=n) + RATE * np.exp(along)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.asarray(SCALE * np.stack((cos * along + sin * across, cos * across - sin * along), axis=1))
