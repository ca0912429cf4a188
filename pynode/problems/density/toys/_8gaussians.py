"""Eight Gaussians on a circle (the study's problem 2)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from pynode.problems.density.toys.base import Array, Toy

SCALE = 1.414
"""The original divides by this number."""

ANGLES = np.arange(8) * (np.pi / 4)
CENTRES = 4.0 / SCALE * np.stack((np.cos(ANGLES), np.sin(ANGLES)), axis=1)
STD = 0.5 / SCALE


class EightGaussians(Toy):
    """Equal weights, centres at radius 4 / 1.414, standard deviation 0.5 / 1.414."""

    name: ClassVar[str] = "8gaussians"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        return CENTRES[generator.integers(8, size=n)] + STD * generator.standard_normal((n, 2))

    def true_log_prob(self, x: Array) -> Array:
        squares = ((x[:, None, :] - CENTRES) ** 2).sum(-1)
        constant = np.log(8 * 2 * np.pi * STD**2)
        return np.asarray(logsumexp(-0.5 * squares / STD**2, axis=1) - constant)


def entropy(n: int = 1200, reach: float = 6.0) -> float:
    """Entropy of the mixture in nats, the smallest expected negative log-likelihood, by the midpoint rule on a grid."""
    centres = -reach + 2 * reach / n * (np.arange(n) + 0.5)
    total = 0.0
    problem = EightGaussians()
    for row in centres:
        log_p = problem.true_log_prob(np.stack((np.full(n, row), centres), axis=1))
        total -= float((np.exp(log_p) * log_p).sum())
    return total * (2 * reach / n) ** 2
