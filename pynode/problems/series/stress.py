"""The stress problems of RQ5: as stiff, as long and of as many dimensions as one likes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from pynode.arguments import check_choice
from pynode.errors import InvalidArgument
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import FieldSpec
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.problems.base import TrainingSettings
from pynode.problems.series.base import (
    LONGEST_HORIZON,
    MOST_DIMENSIONS,
    MOST_STIFFNESS,
    Array,
    TimeSeries,
    check_positive,
)

POINTS_PER_UNIT = 6

POINTS_PER_PERIOD = 8

Architecture = Literal["mlp", "antisymmetric", "hamiltonian"]

N_POINTS = 41


class _Stress(TimeSeries):
    """How a stress problem is trained."""

    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=300, learning_rate=0.01, validate_every=5)
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-7, "atol": 1e-9}


@dataclass(frozen=True)
class LotkaVolterraOptions:
    """Options of `LotkaVolterra`."""

    horizon: float = 7.0
    """Length of the series in units of time; a period is about 3.4."""
    width: int = 32
    """Width of the two hidden layers."""

    def __post_init__(self) -> None:
        check_positive("horizon", self.horizon, LONGEST_HORIZON)
        check_positive("width", self.width)


class LotkaVolterra(_Stress):
    """Lotka-Volterra: predators and prey, a gentle periodic system (a stress problem of RQ5).

    du/dt = 1.5 u - u v, dv/dt = u v - 3 v from (1, 1); u - 3 log u + v - 1.5 log v is conserved.
    """

    name: ClassVar[str] = "lotka-volterra"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 2}
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


@dataclass(frozen=True)
class OscillatorOptions:
    """Options of `Oscillator`."""

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


class Oscillator(_Stress):
    """Oscillator: pendulums over many periods, in any even dimension (a stress problem of RQ5).

    dq_i/dt = w_i p_i, dp_i/dt = -w_i sin q_i with w_i from 1 to 2, each from (1, 0); state (q_1, .., p_1, ..).

    w_i (p_i^2 / 2 - cos q_i) is conserved for each i.  Nothing damps an error, so all methods must be accurate for as
    long as the horizon is.
    """

    name: ClassVar[str] = "oscillator"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 2}
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


@dataclass(frozen=True)
class VanDerPolOptions:
    """Options of `VanDerPol`."""

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


class VanDerPol(_Stress):
    """Van der Pol: an oscillator as stiff as one likes (a stress problem of RQ5).

    Lienard's form dx/dt = mu (x - x^3 / 3 - y), dy/dt = x / mu, from (2, 0): both components stay of order 1.

    The Jacobian's eigenvalues reach -3 mu on the slow branches, while the period grows like 1.614 mu.
    """

    name: ClassVar[str] = "van-der-pol"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 8}
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
