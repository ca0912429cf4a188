"""What all toys share: two dimensions, fresh samples, a density that can be seen on a grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from pynode.flows.flow import ACCURATE, Flow
from pynode.flows.metrics import density_on_grid, mass_on_grid
from pynode.flows.probes import philox_key
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
        return torch.from_numpy(samples).to(device=self.device, dtype=self.dtype)

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
