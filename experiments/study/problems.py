"""Problems that stand in for sets of the study whose rows are not to be had: HIGGS for HEPMASS, generated rows for GAS.

They are used as any problem outside the package: `compare experiments/study/problems.py:Higgs --data FILE.npy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pynode.datasets.splits import Splits, cut, standardised
from pynode.problems.base import TrainingSettings
from pynode.problems.density.public_tables import Gas, Hepmass, PublicTable
from pynode.problems.density.user_tables import NpyTable


class Higgs(NpyTable):
    """HIGGS rows under the net and the schedule of HEPMASS: simulated collisions of the same kind, 24 columns.

    `--data` is a .npy file with the 28 features of UCI's HIGGS without its label.  Leave out the four b-tags by
    `--set drop=9,13,17,21`: they have three values each, and no density.  2 x 210, 10 blocks.
    """

    name: ClassVar[str] = "higgs"
    training: ClassVar[TrainingSettings] = PublicTable.training
    fixed_settings: ClassVar[Mapping[str, Any]] = Hepmass.fixed_settings
    adaptive_settings: ClassVar[Mapping[str, Any]] = PublicTable.adaptive_settings
    hidden: ClassVar[tuple[int, ...]] = Hepmass.hidden
    activation: ClassVar[str] = Hepmass.activation
    blocks: ClassVar[int] = Hepmass.blocks
    batch_size: ClassVar[int] = 100


class SyntheticGas(Gas):
    """Generated rows in the shape of GAS, 8 columns: sensors in changing mixtures of two gases.

    The net and the schedule are those of GAS.  No row of GAS was seen, so nothing here is comparable with its
    likelihoods.
    """

    name: ClassVar[str] = "gas-synthetic"
    synthetic: ClassVar[str | None] = (
        "responses of 8 sensors to two gases: power laws of concentrations that change in steps, with lag and noise"
    )
    batch_size: ClassVar[int] = 100

    def load(self) -> Splits:
        rows = sensor_rows(ROWS, seed=0)
        return standardised(self.name, cut(rows), rows.mean(axis=0), rows.std(axis=0, ddof=1))


ROWS = 30_000
SENSORS = 8
"""Rows and columns of the generated table."""

HOLD = 60
"""Mean number of rows for which a concentration stays."""


def sensor_rows(n: int, *, seed: int) -> npt.NDArray[np.float64]:
    """Readings `(n, 8)` of chemical sensors, row after row in time.

    Two gases have concentrations that stay for a random while and then jump to a new level, or to none.  The logarithm
    of a sensor's conductance is the sum of two power laws, `a log(1 + c1 / s) + b log(1 + c2 / t)`; it is followed with
    a lag of its own, and noise of 2 % is added.  The rows are shuffled at the end, as the parts of a test are not to
    differ in their mixtures.
    """
    generator = np.random.default_rng(seed)
    gases = np.stack([_levels(n, generator) for _ in range(2)], axis=1)
    angle = np.linspace(0.0, np.pi / 2, SENSORS)  # from a sensor of the first gas alone to one of the second
    sensitivity = generator.uniform(0.5, 1.2, (SENSORS, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    scale = generator.uniform(5.0, 60.0, (SENSORS, 2))
    lag = generator.uniform(2.0, 25.0, SENSORS)
    target = (sensitivity * np.log1p(gases[:, None, :] / scale)).sum(axis=2)
    response = np.empty((n, SENSORS))
    state = target[0]
    for row in range(n):
        state = state + (target[row] - state) / lag
        response[row] = state
    rows = response + 0.02 * generator.standard_normal((n, SENSORS))
    generator.shuffle(rows)
    return rows


def _levels(n: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """The concentration of one gas in ppm at each of `n` rows: none for a third of the times, else up to 500."""
    holds = generator.geometric(1 / HOLD, size=n)
    levels = np.where(generator.random(n) < 1 / 3, 0.0, generator.uniform(10.0, 500.0, n))
    return np.repeat(levels, holds)[:n]
