"""Spiral: fit du/dt = A^T u^3 from 30 points on [0, 1.5], extrapolate to t = 6 (the study's problem 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from pynode.fields.base import Field, FieldSpec
from pynode.fields.mlp import MLP
from pynode.gradients.base import GradientMethod
from pynode.grid import TimeGrid
from pynode.problems.base import Evaluation, Objective, Problem, TrainingSettings
from pynode.schemes.rk4 import RK4
from pynode.types import State

A = np.array([[-0.1, 2.0], [-2.0, -0.1]])
U0 = (2.0, 0.0)
T_END, N_POINTS = 1.5, 30
T_EXTRAPOLATED, N_EXTRAPOLATED = 6.0, 120
ACCURATE_STEPS = 4
"""RK4 steps per data interval when a trained field is judged: off by less than 3e-5 on the true field (tested)."""


class Spiral(Problem):
    """Onken & Ruthotto 2020, time series regression (after the example of DiffEqFlux).

    Loss: the sum of squares over both components and 30 points.  Data are solved to 1e-13 by DOP853.

    `faithful=True` restores two defects of the original: data from a solve at tolerances 1e-3 / 1e-6 (by Dormand-Prince
    here, by Tsit5 there), and fixed-step methods that step by 1.5/30 = 0.05 while the data are spaced 1.5/29, so that
    the k-th state meets data of another time and the learned field comes out scaled by about 30/29.
    """

    name: ClassVar[str] = "spiral"
    field_spec: ClassVar[FieldSpec] = MLP((2, 50, 2), "tanh", input_power=3)
    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=300, learning_rate=0.1, validate_every=1)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 1}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-7, "atol": 1e-9}

    def __init__(
        self, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu", faithful: bool = False
    ) -> None:
        super().__init__(dtype=dtype, device=device, faithful=faithful)
        self.times = self._tensor(np.linspace(0, T_END, N_POINTS))
        self.misaligned_times = self.times * ((N_POINTS - 1) / N_POINTS)
        self.y0 = self._tensor(np.array(U0))
        self.data = self._tensor(true_states(np.linspace(0, T_END, N_POINTS), loose=faithful))

    def batch(self, iteration: int) -> State:  # noqa: ARG002 (one trajectory, the same each time)
        return self.y0

    def objective(self, method: GradientMethod, field: Field, batch: State) -> Objective:
        ts = self.misaligned_times if self.faithful and not method.adaptive else self.times
        solution = method.solve(field, batch, ts)
        return Objective((solution.ys - self.data).square().sum(), (solution.stats,))

    @torch.no_grad()
    def validation_loss(self, field: Field) -> float:
        ys = RK4.solve(field, self.y0, TimeGrid.between(self.times, ACCURATE_STEPS))
        loss = float((ys - self.data).square().sum())
        return loss if math.isfinite(loss) else math.inf

    @torch.no_grad()
    def evaluate(self, field: Field) -> Evaluation:
        """Metrics `fit_loss` (sum of squares on [0, 1.5]) and `extrapolation_mse` (mean square error on [0, 6])."""
        t = np.linspace(0, T_EXTRAPOLATED, N_EXTRAPOLATED)
        truth = true_states(t)
        ys = RK4.solve(field, self.y0, TimeGrid.between(self._tensor(t), ACCURATE_STEPS)).double().cpu().numpy()
        error = float(np.mean((ys - truth) ** 2))
        return Evaluation(
            metrics={"fit_loss": self.validation_loss(field), "extrapolation_mse": error},
            series={
                "t": t.tolist(),
                "truth": truth.tolist(),
                "model": ys.tolist(),
                "data_t": self.times.tolist(),
                "data": self.data.tolist(),
            },
        )

    def _tensor(self, values: np.ndarray[Any, Any]) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device)


def true_states(t: np.ndarray[Any, Any], *, loose: bool = False) -> np.ndarray[Any, Any]:
    """The spiral's states `(time, 2)` at the times `t` `(time,)`; `loose` solves at tolerances 1e-3 / 1e-6."""
    solver, rtol, atol = ("RK45", 1e-3, 1e-6) if loose else ("DOP853", 1e-13, 1e-13)
    span = (t[0], t[-1])
    solved = solve_ivp(lambda _, u: A.T @ u**3, span, U0, t_eval=t, method=solver, rtol=rtol, atol=atol)
    return np.asarray(solved.y.T)
