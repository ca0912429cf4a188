"""Toys in two dimensions: fresh samples of a known distribution at every iteration, a density seen on a grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import i0e, logsumexp

from pynode.flows.flow import ACCURATE, Flow
from pynode.flows.metrics import density_on_grid, mass_on_grid
from pynode.flows.probes import philox_key
from pynode.placement import placed
from pynode.problems.base import Evaluation, TrainingSettings
from pynode.problems.density.base import VALIDATION, WHOLE, Density, to_list
from pynode.types import State

Array = npt.NDArray[np.float64]

GRID = 200
"""Cells in each direction of the grid on which density and mass are taken."""


class Toy(Density):
    """Onken & Ruthotto 2020, problem 2, after FFJORD: net 64-64-64, T = 0.5, 100 fresh samples an iteration.

    The study validates on 1,000 fresh samples; here they are the same 1,000 each time, and 10,000 others for the test.
    """

    training: ClassVar[TrainingSettings] = TrainingSettings(
        iterations=10_000, learning_rate=1e-3, weight_decay=1e-5, validate_every=100
    )
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 10}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-5, "atol": 1e-5}
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 60, "validate_every": 10, "hidden": (32, 32)}
    hidden: ClassVar[tuple[int, ...]] = (64, 64, 64)
    horizon: ClassVar[float] = 0.5
    batch_size: ClassVar[int] = 100
    reach: ClassVar[float] = 5.0
    """The data lie in [-reach, reach]^2."""

    @abstractmethod
    def draw(self, n: int, generator: np.random.Generator) -> Array:
        """`n` samples `(n, 2)`."""

    @property
    def dim(self) -> int:
        return 2

    def training_samples(self, iteration: int, share: slice = WHOLE) -> State:
        return self._fresh(self.batch_rows, (self.seed, iteration))[share]

    # of no seed: all runs are judged by the same samples

    def validation_samples(self) -> State:
        return self._validation.clone()  # the caller may change it

    def test_samples(self) -> State:
        return self._test.clone()

    @cached_property
    def _validation(self) -> State:
        return self._fresh(1000, (0, VALIDATION))

    @cached_property
    def _test(self) -> State:
        return self._fresh(10_000, (0, VALIDATION + 1))

    def _fresh(self, n: int, key: tuple[int, int]) -> State:
        samples = self.draw(n, np.random.Generator(np.random.Philox(key=philox_key(*key))))
        return placed(samples, self.device, self.dtype)

    def evaluate_further(self, model: Flow, test_nll: float) -> Evaluation:
        """Adds `mass`, the total probability on the grid; with a known density also `optimal_nll`, that of the test
        samples under the truth, and `excess_nll` beyond it.

        Series: the density on a coarser grid, and the way of a lattice of base points to the data.
        """
        density = density_on_grid(model, -self.reach, self.reach, GRID, ACCURATE)
        metrics = {"mass": mass_on_grid(density, -self.reach, self.reach)}
        truth = self.true_log_prob(self.test_samples().double().cpu().numpy())
        if truth is not None:
            optimum = -float(truth.mean())
            metrics |= {"optimal_nll": optimum, "excess_nll": test_nll - optimum}
        starts = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
        lattice = torch.cartesian_prod(starts, starts).to(device=self.device, dtype=self.dtype)
        series = {
            "density": to_list(torch.nn.functional.avg_pool2d(density[None].double(), 2)[0]),
            "grid": [-self.reach, self.reach],
            "trajectories": to_list(model.move(lattice, method=ACCURATE, backwards=True, times=41)),
        }
        return Evaluation(metrics, series)

    def true_log_prob(self, x: Array) -> Array | None:  # noqa: ARG002
        """The true log-density `(n,)` at `x` `(n, 2)`, where it is known."""
        return None


class EightGaussians(Toy):
    """Eight Gaussians on a circle (the study's problem 2).

    Equal weights, centres at radius 4 / 1.414, standard deviation 0.5 / 1.414; the original divides by this number.
    """

    name: ClassVar[str] = "8gaussians"
    angles: ClassVar[Array] = np.arange(8, dtype=np.float64) * (np.pi / 4)
    centres: ClassVar[Array] = 4.0 / 1.414 * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    std: ClassVar[float] = 0.5 / 1.414

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        return self.centres[generator.integers(8, size=n)] + self.std * generator.standard_normal((n, 2))

    def true_log_prob(self, x: Array) -> Array:
        squares = ((x[:, None, :] - self.centres) ** 2).sum(-1)
        constant = np.log(8 * 2 * np.pi * self.std**2)
        return np.asarray(logsumexp(-0.5 * squares / self.std**2, axis=1) - constant)


class TwoSpirals(Toy):
    """Two interleaved spirals (a toy of the study's code).

    Two arms of one and a half turns, opposite to each other, that end at radius pi (after FFJORD).  One arm is
    t (-cos t, sin t) plus uniform noise on [0, 0.5]^2, divided by 3, with t = 3 pi sqrt(u), u uniform; the other arm is
    its negative; Gaussian noise of standard deviation 0.1 is added to both.
    """

    name: ClassVar[str] = "2spirals"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        t = 3 * np.pi * np.sqrt(generator.uniform(size=n))
        arm = t[:, None] * np.stack((-np.cos(t), np.sin(t)), axis=1) + generator.uniform(0.0, 0.5, size=(n, 2))
        sign = 1.0 - 2.0 * generator.integers(2, size=n)
        return np.asarray(sign[:, None] * arm / 3.0 + 0.1 * generator.standard_normal((n, 2)))


class Checkerboard(Toy):
    """The dark squares of a 4 x 4 checkerboard (a toy of the study's code).

    Uniform on those 2 x 2 squares of [-4, 4]^2 whose column and row, counted from the origin, have an even sum (after
    FFJORD).
    """

    name: ClassVar[str] = "checkerboard"
    side: ClassVar[float] = 2.0
    squares: ClassVar[int] = 8

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        column = generator.integers(-2, 2, size=n)
        row = 2 * generator.integers(-1, 1, size=n) + column % 2
        corner = np.stack((column, row), axis=1)
        return np.asarray(self.side * (corner + generator.uniform(size=(n, 2))))

    def true_log_prob(self, x: Array) -> Array:
        """The logarithm of one over the area of the squares, -inf outside them."""
        cell = np.floor(x / self.side)
        inside = (cell.sum(1) % 2 == 0) & (np.abs(cell + 0.5).max(1) < 2)
        return np.where(inside, -np.log(self.squares * self.side**2), -np.inf)


class Moons(Toy):
    """Two interleaved half-moons (a toy of the study's code).

    Two half-circles of radius 2, one turned by half a turn and shifted into the other, with Gaussian noise of standard
    deviation 0.2 (after FFJORD).  The second half-circle is the first one mirrored at the point (1/2, 1/4), before
    scale 2 and shift (-1, -0.2).
    """

    name: ClassVar[str] = "moons"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        angle = generator.uniform(0.0, np.pi, size=n)
        upper = np.stack((np.cos(angle), np.sin(angle)), axis=1)
        mirrored = generator.integers(2, size=n)[:, None] == 1
        moon = np.where(mirrored, np.array([1.0, 0.5]) - upper, upper)
        return np.asarray(2.0 * (moon + 0.1 * generator.standard_normal((n, 2))) + np.array([-1.0, -0.2]))


class Pinwheel(Toy):
    """A pinwheel of five twisted arms (a toy of the study's code).

    Five Gaussian arms around radius 2, each turned clockwise by 0.25 exp(radius) (after FFJORD).  An arm is Gaussian
    about (1, 0) with standard deviation 0.3 along it and 0.1 across, before it is turned and scaled by 2.  Arms are
    drawn independently; the original gives each a fifth of the batch.
    """

    name: ClassVar[str] = "pinwheel"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        along, across = generator.standard_normal((2, n))
        along, across = 1.0 + 0.3 * along, 0.1 * across
        angle = 2 * np.pi / 5 * generator.integers(5, size=n) + 0.25 * np.exp(along)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.asarray(2.0 * np.stack((cos * along + sin * across, cos * across - sin * along), axis=1))


class SwissRoll(Toy):
    """A Swiss roll seen from its end (a toy of the study's code).

    The spiral t (cos t, sin t) / 5 with t uniform on [1.5 pi, 4.5 pi] and Gaussian noise of standard deviation 0.2
    (after FFJORD).
    """

    name: ClassVar[str] = "swissroll"

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        t = generator.uniform(1.5 * np.pi, 4.5 * np.pi, size=n)
        roll = t[:, None] * np.stack((np.cos(t), np.sin(t)), axis=1)
        return np.asarray((roll + generator.standard_normal((n, 2))) / 5.0)


class _NoisyRings(Toy):
    """Concentric rings of equal weights and uniform angles, with Gaussian noise."""

    radii: ClassVar[Array]
    std: ClassVar[float]

    def draw(self, n: int, generator: np.random.Generator) -> Array:
        """The original spaces the angles of a batch evenly, which makes its samples dependent; here they are not."""
        radius = self.radii[generator.integers(len(self.radii), size=n)]
        angle = generator.uniform(0.0, 2 * np.pi, size=n)
        ring = radius[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
        return np.asarray(ring + self.std * generator.standard_normal((n, 2)))

    def true_log_prob(self, x: Array) -> Array:
        """Gaussians averaged over their centres.

        On a circle of radius R the average is exp(-(|x|^2 + R^2) / 2 s^2) I0(|x| R / s^2) / 2 pi s^2; with I0 scaled by
        exp(-|x| R / s^2) the squares complete to (|x| - R)^2 and nothing overflows.
        """
        distance = np.linalg.norm(x, axis=1)[:, None]
        log_ring = np.log(i0e(distance * self.radii / self.std**2)) - 0.5 * ((distance - self.radii) / self.std) ** 2
        return np.asarray(logsumexp(log_ring, axis=1) - np.log(len(self.radii) * 2 * np.pi * self.std**2))


class Rings(_NoisyRings):
    """Four concentric rings (a toy of the study's code).

    Equal weights, radii 0.75 to 3, uniform angles, Gaussian noise of standard deviation 0.08 (after FFJORD).
    """

    name: ClassVar[str] = "rings"
    radii: ClassVar[Array] = np.array([0.75, 1.5, 2.25, 3.0])
    std: ClassVar[float] = 0.08


class Circles(_NoisyRings):
    """Two concentric circles (a toy of the study's code).

    Equal weights, radii 1.5 and 3, uniform angles, Gaussian noise of standard deviation 0.24 (after FFJORD).
    """

    name: ClassVar[str] = "circles"
    radii: ClassVar[Array] = 3.0 * np.array([0.5, 1.0])
    std: ClassVar[float] = 3.0 * 0.08
