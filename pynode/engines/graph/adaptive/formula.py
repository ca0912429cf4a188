"""One attempt of an adaptive step, and the step size control, as operators on tensors of the device.

The formulas, their order of evaluation and the constants are those of torchdiffeq's adaptive Runge-Kutta solvers.  All
functions can be recorded: none reads a value of the device or makes a tensor from numbers of the host.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchdiffeq._impl.odeint import SOLVERS

from pynode.types import State

Slope = Callable[[Tensor, State], State]
"""The right-hand side at a time `()` and a state."""

Norm = Callable[[Tensor], Tensor]
"""One number `()` for an error scaled by its tolerance."""

SAFETY, LARGEST_FACTOR, SMALLEST_FACTOR = 0.9, 10.0, 0.2
TINY, SMALL_STEP = 1e-15, 1e-6


def root_mean_square(x: Tensor) -> Tensor:
    """The default norm of the error of a step."""
    return x.abs().pow(2).mean().sqrt()


class Formula:
    """A solver's coefficients and tolerances, as tensors on the device of the state `like`.

    Times and step sizes are float64 for states of any dtype.
    """

    def __init__(self, solver: str, like: State, rtol: float, atol: float) -> None:
        kind = SOLVERS[solver]
        tableau = kind.tableau
        self.order: int = kind.order
        self.dtype = like.dtype
        self._like = like.new_empty(0).reshape(-1, *(1,) * like.ndim)
        self._alphas = tableau.alpha.to(device=like.device, dtype=like.dtype).unbind()
        self._at_end = [float(alpha) == 1.0 for alpha in tableau.alpha.to(like.dtype)]
        self._rows = [self.weights(row) for row in tableau.beta]
        self._solution, self._error, self._middle = map(self.weights, (tableau.c_sol, tableau.c_error, kind.mid))
        last = tableau.beta[-1]
        self._last_stage_is_solution = float(tableau.c_sol[-1]) == 0 and bool((tableau.c_sol[:-1] == last).all())

        def number(value: float) -> Tensor:
            return torch.full((), value, dtype=torch.float64, device=like.device)

        self._rtol, self._atol = number(rtol), number(atol)
        self._safety, self._largest, self._smallest = map(number, (SAFETY, LARGEST_FACTOR, SMALLEST_FACTOR))
        self._one, self._exponent = number(1.0), number(float(kind.order)).reciprocal()

    @property
    def stages(self) -> int:
        """Evaluations of the right-hand side in one attempt."""
        return len(self._rows)

    def weights(self, row: Tensor) -> Tensor:
        """Weights of slopes `(stages, ...)`, on the device of the state."""
        return row.to(self._like).reshape(-1, *self._like.shape[1:])

    def step(self, f: Slope, slopes: Tensor, y: State, t: Tensor, size: Tensor, end: Tensor) -> State:
        """The state at `end` = t + size; `slopes` `(stages + 1, ...)` holds the one at `t` and gets the others."""
        t, size, end = (x.to(self.dtype) for x in (t, size, end))
        state = y
        for i, (alpha, row, at_end) in enumerate(zip(self._alphas, self._rows, self._at_end, strict=True)):
            # the end is approached from below, in case the right-hand side jumps there
            time = torch.nextafter(end, end - 1) if at_end else t + alpha * size
            state = y + (slopes[: i + 1] * (row * size)).sum(0)
            slopes[i + 1].copy_(f(time, state))
        return state if self._last_stage_is_solution else y + (slopes * (self._solution * size)).sum(0)

    def error_ratio(self, slopes: Tensor, before: State, after: State, size: Tensor, norm: Norm) -> Tensor:
        """The estimated error of a step in units of the tolerances: up to 1 it is accepted."""
        error = (slopes * (self._error * size.to(self.dtype))).sum(0)
        return norm(error / (self._atol + self._rtol * torch.maximum(before.abs(), after.abs()))).abs()

    def next_size(self, size: Tensor, ratio: Tensor) -> Tensor:
        """The size of the next attempt, by torchdiffeq's integral controller; zero where that is not finite."""
        most_shrinking = torch.where(ratio < 1, self._one, self._smallest)
        wanted = self._safety / ratio.double() ** self._exponent
        factor = torch.minimum(self._largest, torch.maximum(wanted, most_shrinking))
        return usable(size * torch.where(ratio == 0, self._largest, factor))

    def first_size(self, f: Slope, t: Tensor, y: State, slope: State, norm: Norm) -> Tensor:
        """A size for the first attempt (Hairer, Norsett & Wanner, Solving ODEs I, II.4), by one more evaluation."""
        scale = self._atol + y.abs() * self._rtol
        of_state, of_slope = norm(y / scale).abs(), norm(slope / scale).abs()
        tiny = (of_state < 1e-5) | (of_slope < 1e-5)
        trial = (0.01 * of_state / of_slope).masked_fill(tiny, SMALL_STEP).abs()
        ahead = f((t + trial).to(self.dtype), y + trial * slope)
        of_curvature = (norm((ahead - slope) / scale) / trial).abs()
        largest = torch.where(of_curvature > of_slope, of_curvature, of_slope)
        flat = (of_slope <= TINY) & (of_curvature <= TINY)
        size = torch.where(flat, (trial * 1e-3).clamp(min=SMALL_STEP), (0.01 / largest) ** (1.0 / self.order)).abs()
        return usable(torch.minimum(100 * trial, size).double())

    def between(self, slopes: Tensor, before: State, after: State, size: Tensor, x: Tensor) -> State:
        """The state at the fraction `x` `()` of an accepted step, by torchdiffeq's polynomial of degree 4."""
        size, x = size.to(self.dtype), x.to(self.dtype)
        middle = before + (slopes * (size * self._middle)).sum(0)
        first, last = slopes[0], slopes[-1]
        coefficients = (
            size * first,
            size * (last - 4 * first) - 11 * before - 5 * after + 16 * middle,
            size * (5 * first - 3 * last) + 18 * before + 14 * after - 32 * middle,
            2 * size * (last - first) - 8 * (after + before) + 16 * middle,
        )
        total, power = before, x
        for coefficient in coefficients:
            total, power = total + power * coefficient, power * x
        return total


def usable(size: Tensor) -> Tensor:
    """`size` `()`, or zero where it is not finite or negative."""
    return torch.where(torch.isfinite(size), size, torch.zeros_like(size)).clamp(min=0)
