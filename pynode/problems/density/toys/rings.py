"""Four concentric rings (a toy of the study's code)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import i0e, logsumexp

from pynode.problems.density.toys.base import Array, Toy

RADII = np.array([0.75, 1.5, 2.25, 3.0])
STD = 0.08


class Rings(Toy):
    """Equal weights, radii 0.75 to 3, uniform angles, Gaussian noise of standard deviation 0.08 (after FFJORD)."""

    name: ClassVar[str] = "rings"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        return draw_rings(n, generator, RADII, STD)

    def true_log_prob(self, x: Array) -> Array:
        return rings_log_prob(x, RADII, STD)


def draw_rings(n: int, generator: np.random.Generator, radii: Array, std: float) -> Array:
    """`n` samples `(n, 2)` of noisy rings with equal weights.

    The original spaces the angles of a batch evenly, which makes its samples dependent; here they are independent.
    """
    radius = radii[generator.integers(len(radii), size=n)]
    angle = generator.uniform(0.0, 2 * np.pi, size=n)
    ring = radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    return np.asarray(ring + std * generator.standard_normal((n, 2)))


def rings_log_prob(x: Array, radii: Array, std: float) -> Array:
    """Log-density `(n,)` at `x` `(n, 2)`.

    A Gaussian averaged over centres on a circle of radius R is exp(-(|x|^2 + R^2) / 2 s^2) I0(|x| R / s^2) / 2 pi s^2;
    with I0 scaled by exp(-|x| R / s^2) the squares complete to (|x| - R)^2 and nothing overflows.
    """
    distance = np.linalg.norm(x, axis=1)[:, None]
    log_ring = np.log(i0e(distance * radii / std**2)) - 0.5 * ((distance - radii) / std) ** 2
    return np.asarray(logsumexp(log_ring, axis=1) - np.log(len(radii) * 2 * np.pi * std**2))
