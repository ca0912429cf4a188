"""Van der Pol: an oscillator as stiff as one likes (a stress problem of RQ5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pynode.fields.base import FieldSpec
from pynode.fields.mlp import MLP
from pynode.problems.base import TrainingSettings
from pynode.problems.series.base import LONGEST_HORIZON, MOST_STIFFNESS, Array, TimeSeries, check_positive

N_POINTS = 41


@dataclass(frozen=True)
class VanDerPolOptions:
    """`stiffness` mu > 0; `horizon` in units of time, by default about one period; `width` of two hidden layers."""

    stiffness: float = 5.0
    """Parameter mu > 0 of the oscillator."""
    horizon: float | None = None
    """Length of the series in units of time; without one, about one period."""
    width: int = 32
    """Width of the two hidden layers."""

    def __post_init__(self) -> None:
        check_positive("stiffness", self.stiffness, MOST_STIFFNESS)
        check_positive("width", self.width)
        if self.horizon is not None:
            check_positive("horizon", self.horizon, LONGEST_HORIZON)


class VanDerPol(TimeSeries):
    """Lienard's form dx/dt = mu (x - x^3 / 3 - y), dy/dt = x / mu, from (2, 0): both components stay of order 1.

    The Jacobian's eigenvalues reach -3 mu on the slow branches, while the period grows like 1.614 mu.
    """

    name: ClassVar[str] = "van-der-pol"
    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=300, learning_rate=0.01, validate_every=5)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 8}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-7, "atol": 1e-9}
    Options: ClassVar[type[Any]] = VanDerPolOptions
    options: VanDerPolOptions

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # RK4 steps of 1 / (20 mu) resolve the fast phases, whose time scale is 1 / mu
        interval = float(self.times[1] - self.times[0])
        self.accurate_steps = max(16, math.ceil(20 * self.options.stiffness * interval))

    @property
    def field_spec(self) -> FieldSpec:
        return MLP((2, self.options.width, self.options.width, 2))

    def true_field(self, t: float, u: Array) -> Array:  # noqa: ARG002 (autonomous)
        mu = self.options.stiffness
        return np.array([mu * (u[0] - u[0] ** 3 / 3 - u[1]), u[0] / mu])

    def initial_state(self) -> Array:
        return np.array([2.0, 0.0])

    def observation_times(self) -> Array:
        mu = self.options.stiffness
        # the period: 2 pi for small mu, (3 - 2 log 2) mu + 7.014 mu^(-1/3) for large (Dorodnicyn 1947)
        period = 2 * math.pi if mu < 1 else (3 - 2 * math.log(2)) * mu + 7.014 * mu ** (-1 / 3)
        return np.linspace(0, self.options.horizon or period, N_POINTS)
