"""What all time series share: a known ODE gives the data, a field is fitted to them and solved beyond them."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from pynode.engines.fixed_steps import fixed_steps
from pynode.errors import InvalidArgument
from pynode.fields.base import Field, FieldSpec
from pynode.finite import check_finite
from pynode.grid import check_times
from pynode.least_squares import LeastSquares, Missing, observed_entries, sum_of_squares
from pynode.methods.base import GradientMethod
from pynode.problems.base import (
    BYTES_A_STEP,
    Evaluation,
    Need,
    Objective,
    Problem,
    bytes_of_weights,
    stages_of,
    steps_of,
    stores_stages,
)
from pynode.schemes.rk4 import RK4
from pynode.types import State, Times

Array = npt.NDArray[np.float64]

MOST_STIFFNESS, LONGEST_HORIZON, MOST_DIMENSIONS = 1_000, 10_000, 10_000
"""Beyond these the data alone, which an explicit solver computes at tolerances of 1e-13, would take hours."""


def check_positive(argument: str, value: float, most: float = math.inf) -> None:
    """Raises `InvalidArgument` unless `value` is a positive number, at most `most`."""
    if isinstance(value, bool) or not (isinstance(value, (int, float)) and 0 < value < math.inf):
        raise InvalidArgument(argument, value, "not a positive number", "use a number above 0")
    if value > most:
        raise InvalidArgument(argument, value, f"more than {most:,}", "use a smaller number")


class TimeSeries(Problem):
    """States of one trajectory at equidistant times; the loss is the sum of squares over components and times.

    A problem gives the true field, the field to fit, where the trajectory starts, and its times `(time,)`.  NaN or
    infinite data are an error unless `missing` is "mask": then these entries take no part in the sum.
    """

    missing: ClassVar[Missing] = "error"
    """What NaN and infinite data mean, as in `LeastSquares`."""

    accurate_steps: int
    """RK4 steps per data interval when a trained field is judged."""
    extrapolation: ClassVar[float] = 2.0
    """How far beyond the data, in multiples of their span, a trained field is followed."""
    n_extrapolated: ClassVar[int] = 120

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        t = self.observation_times()
        self.times = self._tensor(t).cpu()  # solves read them
        self.y0 = self._tensor(self.initial_state())
        self.data = self._tensor(self.true_states(t))

    def check(self) -> None:
        """Raises `UsageError` for times that are not monotone, and for NaN or infinite times, states or data."""
        super().check()
        check_times(self.times)
        check_finite("y0", self.y0, "give an initial state that is known")
        observed_entries(self.data, self.missing)

    @property
    @abstractmethod
    def field_spec(self) -> FieldSpec:
        """The field to fit."""

    @abstractmethod
    def true_field(self, t: float, u: Array) -> Array:
        """du/dt `(dim,)` of the system behind the data."""

    @abstractmethod
    def initial_state(self) -> Array:
        """u(0) `(dim,)`."""

    @abstractmethod
    def observation_times(self) -> Array:
        """Times of the data `(time,)`, the first one 0."""

    def true_states(self, t: Array) -> Array:
        """The true states `(time, dim)` at the times `t` `(time,)`, solved at tolerances of 1e-13."""
        solved = solve_ivp(
            self.true_field, (t[0], t[-1]), self.initial_state(), t_eval=t, method="DOP853", rtol=1e-13, atol=1e-13
        )
        return np.asarray(solved.y.T)

    def least_bytes(self, method: GradientMethod) -> list[Need]:
        spec, stages = self.field_spec, stages_of(method) * (len(self.times) - 1)
        kept = self.y0.numel() * self.dtype.itemsize if stores_stages(method) else 0
        return [
            Need("field", spec, bytes_of_weights(spec.n_params, self.dtype), "make it smaller"),
            Need("steps", steps_of(method), stages * (BYTES_A_STEP + kept), "take fewer steps"),
        ]

    def model(self, seed: int = 0) -> Field:
        return self.field_spec.build(seed=seed, dtype=self.dtype, device=self.device)

    def solve_times(self, method: GradientMethod) -> Times:  # noqa: ARG002 (for problems with defects)
        """The times `(time,)` whose states training compares with the data."""
        return self.times

    def batch(self, iteration: int) -> State:  # noqa: ARG002 (one trajectory, the same each time)
        return self.y0

    def objective(self, method: GradientMethod, model: Field, batch: State) -> Objective:
        fit = LeastSquares(method, model, batch, self.solve_times(method), self.data, missing=self.missing)
        if fit.on_device is None:
            return Objective(fit.loss, fit.backward, lambda: fit.tensor, (fit.stats,))
        return Objective(lambda: fit.loss, fit.backward, lambda: fit.tensor, (fit.stats,), on_device=fit.on_device)

    def loss(self, method: GradientMethod, model: Field, batch: State) -> Tensor:
        ys = method.solve(model, batch, self.solve_times(method)).ys
        return sum_of_squares(ys, self.data, self._observed)

    @cached_property
    def _observed(self) -> Tensor | None:
        return observed_entries(self.data, self.missing)

    @torch.no_grad()
    def validation_loss(self, model: Field) -> float:
        ys = fixed_steps(RK4, model, self.y0, self.times, self.accurate_steps)
        loss = float(sum_of_squares(ys, self.data, observed_entries(self.data, self.missing)))
        return loss if math.isfinite(loss) else math.inf

    @torch.no_grad()
    def evaluate(self, model: Field, method: GradientMethod) -> Evaluation:  # noqa: ARG002 (judged alike)
        """Metrics `fit_loss` (sum of squares over the data) and `extrapolation_mse` (mean square error beyond too)."""
        data_t = self.observation_times()
        t = np.linspace(0, self.extrapolation * data_t[-1], self.n_extrapolated)
        truth = self.true_states(t)
        finer = max(1, math.ceil(self.accurate_steps * (t[1] - t[0]) / (data_t[1] - data_t[0])))
        ys = fixed_steps(RK4, model, self.y0, self._tensor(t), finer).double().cpu().numpy()
        error = float(np.mean((ys - truth) ** 2))
        return Evaluation(
            metrics={"fit_loss": self.validation_loss(model), "extrapolation_mse": error},
            series={
                "t": t.tolist(),
                "truth": truth.tolist(),
                "model": ys.tolist(),
                "data_t": data_t.tolist(),
                # records hold no NaN: an entry that was not observed is null
                "data": [[v if math.isfinite(v) else None for v in row] for row in self.data.tolist()],
            },
        )

    def collocated(self, seed: int = 0, *, iterations: int = 2000, points: int = 400) -> Field:
        """A field fitted to the true derivatives in a tube around the true trajectory, without any solve.

        It has the dynamics that training would end with, so costs are measured where they matter: an untrained field is
        never stiff.  `points` equidistant in time, as many equidistant in arc length (a stiff system spends no time in
        its fast phases), each with three neighbours displaced by a tenth of the spread.  Adam, its rate falling by
        cosine from 0.01.
        """
        field = self.model(seed)
        dense = np.linspace(0, self.observation_times()[-1], 20 * points)
        way = self.true_states(dense)
        spread = way.std(axis=0)
        lengths = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0) / spread, axis=1))))
        by_length = np.searchsorted(lengths, np.linspace(0, lengths[-1], points)).clip(max=len(way) - 1)
        centres = np.concatenate((way[:: len(way) // points], way[by_length]))
        noise = np.random.default_rng(seed).standard_normal((3, *centres.shape))
        states = np.concatenate((centres, *(centres + 0.1 * spread * noise)))
        y, slopes = self._tensor(states), self._tensor(np.stack([self.true_field(0.0, u) for u in states]))
        # errors count relative to the size of each component's derivative, or fast phases hide the slow ones
        scale = slopes.square().mean(0).sqrt()
        optimiser = torch.optim.Adam(field.parameters(), lr=0.01)
        start = self.times[0].to(self.device)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
        for _ in range(iterations):
            loss = ((field(start, y) - slopes) / scale).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        return field

    def _tensor(self, values: Array) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device)
