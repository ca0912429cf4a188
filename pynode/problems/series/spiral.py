"""Spiral: fit du/dt = A^T u^3 from 30 points on [0, 1.5], extrapolate to t = 6 (the study's problem 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.integrate import solve_ivp

from pynode.fields.base import FieldSpec
from pynode.fields.mlp import MLP
from pynode.methods.base import GradientMethod
from pynode.problems.base import TrainingSettings
from pynode.problems.series.base import Array, TimeSeries
from pynode.types import Times

A = np.array([[-0.1, 2.0], [-2.0, -0.1]])
T_END, N_POINTS = 1.5, 30


class Spiral(TimeSeries):
    """Onken & Ruthotto 2020, time series regression (after the example of DiffEqFlux).

    Loss: the sum of squares over both components and 30 points.  Data are solved to 1e-13 by DOP853.

    `faithful=True` restores two defects of the original: data from a solve at tolerances 1e-3 / 1e-6 (by Dormand-Prince
    here, by Tsit5 there), and fixed-step methods that step by 1.5/30 = 0.05 while the data are spaced 1.5/29, so that
    the k-th state meets data of another time and the learned field comes out scaled by about 30/29.
    """

    name: ClassVar[str] = "spiral"
    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=300, learning_rate=0.1, validate_every=1)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 1}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-7, "atol": 1e-9}
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 30, "validate_every": 1}
    defects: ClassVar[str | None] = "data from a loose solve, compared with states of other times"
    # off by less than 3e-5 on the true field (tested)
    accurate_steps: int = 4
    extrapolation: ClassVar[float] = 4.0

    @property
    def field_spec(self) -> FieldSpec:
        return MLP((2, 50, 2), "tanh", input_power=3)

    def true_field(self, t: float, u: Array) -> Array:  # noqa: ARG002 (autonomous)
        return np.asarray(A.T @ u**3)

    def initial_state(self) -> Array:
        return np.array([2.0, 0.0])

    def observation_times(self) -> Array:
        return np.linspace(0, T_END, N_POINTS)

    def true_states(self, t: Array) -> Array:
        if not self.faithful or len(t) != N_POINTS:
            return super().true_states(t)
        loose = solve_ivp(self.true_field, (0, T_END), self.initial_state(), t_eval=t, rtol=1e-3, atol=1e-6)
        return np.asarray(loose.y.T)

    @property
    def misaligned_times(self) -> Times:
        """The times that the original's fixed steps really reach."""
        return self.times * ((N_POINTS - 1) / N_POINTS)

    def solve_times(self, method: GradientMethod) -> Times:
        return self.misaligned_times if self.faithful and not method.adaptive else self.times
