"""Lotka-Volterra: predators and prey, a gentle periodic system (a stress problem of RQ5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pynode.fields.base import FieldSpec
from pynode.fields.mlp import MLP
from pynode.problems.base import TrainingSettings
from pynode.problems.series.base import LONGEST_HORIZON, Array, TimeSeries, check_positive

POINTS_PER_UNIT = 6


@dataclass(frozen=True)
class LotkaVolterraOptions:
    """`horizon` in units of time (a period is about 3.4), `width` of the field's two hidden layers."""

    horizon: float = 7.0
    """Length of the series in units of time; a period is about 3.4."""
    width: int = 32
    """Width of the two hidden layers."""

    def __post_init__(self) -> None:
        check_positive("horizon", self.horizon, LONGEST_HORIZON)
        check_positive("width", self.width)


class LotkaVolterra(TimeSeries):
    """du/dt = 1.5 u - u v, dv/dt = u v - 3 v from (1, 1); u - 3 log u + v - 1.5 log v is conserved."""

    name: ClassVar[str] = "lotka-volterra"
    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=300, learning_rate=0.01, validate_every=5)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 2}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-7, "atol": 1e-9}
    Options: ClassVar[type[Any]] = LotkaVolterraOptions
    options: LotkaVolterraOptions
    accurate_steps: int = 16

    @property
    def field_spec(self) -> FieldSpec:
        return MLP((2, self.options.width, self.options.width, 2))

    def true_field(self, t: float, u: Array) -> Array:  # noqa: ARG002 (autonomous)
        return np.array([1.5 * u[0] - u[0] * u[1], u[0] * u[1] - 3.0 * u[1]])

    def initial_state(self) -> Array:
        return np.array([1.0, 1.0])

    def observation_times(self) -> Array:
        T = self.options.horizon
        return np.linspace(0, T, max(3, round(POINTS_PER_UNIT * T) + 1))
