"""Oscillator: pendulums over many periods, in any even dimension (a stress problem of RQ5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from pynode.errors import InvalidArgument
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import FieldSpec
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.methods.base import check_choice
from pynode.problems.base import TrainingSettings
from pynode.problems.series.base import LONGEST_HORIZON, MOST_DIMENSIONS, Array, TimeSeries, check_positive

POINTS_PER_PERIOD = 8
Architecture = Literal["mlp", "antisymmetric", "hamiltonian"]


@dataclass(frozen=True)
class OscillatorOptions:
    """`dim` even; `horizon` in periods of the slowest pendulum; `architecture` of the field and its `width`."""

    dim: int = 2
    """Dimension of the state, even: two for each pendulum."""
    horizon: float = 8.0
    """Length of the series in periods of the slowest pendulum."""
    width: int = 32
    """Width of the hidden layers."""
    architecture: Architecture = "mlp"
    """Architecture of the field."""

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 2 or self.dim % 2:
            raise InvalidArgument("dim", self.dim, "not a positive even integer", "two for each pendulum")
        if self.dim > MOST_DIMENSIONS:
            raise InvalidArgument("dim", self.dim, f"more than {MOST_DIMENSIONS:,}", "use fewer pendulums")
        check_positive("horizon", self.horizon, LONGEST_HORIZON)
        check_positive("width", self.width)
        check_choice("architecture", self.architecture, get_args(Architecture))


class Oscillator(TimeSeries):
    """dq_i/dt = w_i p_i, dp_i/dt = -w_i sin q_i with w_i from 1 to 2, each from (1, 0); state (q_1, .., p_1, ..).

    w_i (p_i^2 / 2 - cos q_i) is conserved for each i.  Nothing damps an error, so all methods must be accurate for as
    long as the horizon is.
    """

    name: ClassVar[str] = "oscillator"
    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=300, learning_rate=0.01, validate_every=5)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 2}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-7, "atol": 1e-9}
    Options: ClassVar[type[Any]] = OscillatorOptions
    options: OscillatorOptions
    accurate_steps: int = 32

    @property
    def field_spec(self) -> FieldSpec:
        dim, width = self.options.dim, self.options.width
        if self.options.architecture == "antisymmetric":
            return Antisymmetric(dim)
        if self.options.architecture == "hamiltonian":
            return Hamiltonian(dim, width)
        return MLP((dim, width, width, dim))

    @property
    def frequencies(self) -> Array:
        """w_i `(dim / 2,)`."""
        return np.linspace(1.0, 2.0, self.options.dim // 2) if self.options.dim > 2 else np.ones(1)

    def true_field(self, t: float, u: Array) -> Array:  # noqa: ARG002 (autonomous)
        q, p = np.split(u, 2)
        return np.concatenate((self.frequencies * p, -self.frequencies * np.sin(q)))

    def initial_state(self) -> Array:
        n = self.options.dim // 2
        return np.concatenate((np.ones(n), np.zeros(n)))

    def observation_times(self) -> Array:
        T = self.options.horizon
        return np.linspace(0, 2 * math.pi * T, max(3, round(POINTS_PER_PERIOD * T) + 1))
