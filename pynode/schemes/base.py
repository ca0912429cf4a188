"""Butcher tableaux, embedded pairs among them, and the one stepper that runs them at steps of a given size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.grid import StepSize, TimeGrid
from pynode.types import State, States, Times, VectorField


@dataclass(frozen=True)
class Embedded:
    """What makes a scheme a pair that can control its step size.

    `error` are the weights of the local error estimate, the difference between the two formulas, one a stage.

    `interpolant` holds for each stage the coefficients of x, x^2, ... of a polynomial b_i: between t and t + h the
    solution is y + h sum_i b_i(x) k_i at t + x h (Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I,
    sec. II.6).  `exponents` are those of a PI step size controller, for the error of this step and of the one before
    (Hairer & Wanner, Solving Ordinary Differential Equations II, sec. IV.2).  Pairs that only torchdiffeq runs, with an
    interpolant and a controller of its own, have neither.  `solver` is the name of the pair, where that is not the
    scheme's.
    """

    error: tuple[float, ...]
    interpolant: tuple[tuple[float, ...], ...] | None = None
    exponents: tuple[float, float] | None = None
    solver: str | None = None


@dataclass(frozen=True)
class Scheme:
    """An explicit Runge-Kutta scheme: its Butcher tableau (A, b, c), its order and its name.

    `a` is strictly lower triangular, row i has i entries; `b` and `c` have one entry a stage (Hairer, Norsett & Wanner,
    Solving Ordinary Differential Equations I, sec. II.1).  `pair` says how the scheme estimates its error; without it
    the scheme is for steps of a given size only.
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    pair: Embedded | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not (len(self.a) == len(self.b) == len(self.c) and all(len(row) == i for i, row in enumerate(self.a))):
            raise InvalidArgument("a", self.a, "not a strictly lower triangular tableau", "row i must hold i entries")
        if abs(sum(self.b) - 1) > 1e-12 or any(
            abs(sum(row) - c) > 1e-12 for row, c in zip(self.a, self.c, strict=True)
        ):
            raise InvalidArgument("b", self.b, "inconsistent tableau", "b must sum to 1 and row i of a to c_i")
        if self.pair is not None and (len(self.pair.error) != len(self.b) or abs(sum(self.pair.error)) > 1e-12):
            problem, remedy = "no error estimate of this tableau", "give one weight for each stage, which sum to 0"
            raise InvalidArgument("error", self.pair.error, problem, remedy)

    def __hash__(self) -> int:
        return hash((self.name, self.order))  # plans are looked up by schemes at every solve

    @property
    def solver(self) -> str:
        """The name of an adaptive solver that takes its steps."""
        return self.name if self.pair is None or self.pair.solver is None else self.pair.solver

    @cached_property
    def formula(self) -> Scheme:
        """The scheme at steps of a given size: without the stages that only an error estimate needs."""
        n = max(i for i, weight in enumerate(self.b) if weight != 0) + 1
        if n == len(self.b) and self.pair is None:
            return self
        return replace(self, a=self.a[:n], b=self.b[:n], c=self.c[:n], pair=None)

    @property
    def n_stages(self) -> int:
        """Field evaluations per step."""
        return len(self.b)

    def dense_weights(self, x: float) -> tuple[float, ...]:
        """The interpolant's weights b_i(x), x from 0 to 1: at t + x h the solution is y + h sum b_i(x) k_i."""
        assert self.pair is not None
        assert self.pair.interpolant is not None
        return tuple(sum(c * x ** (k + 1) for k, c in enumerate(row)) for row in self.pair.interpolant)

    def step(self, f: VectorField, y: State, stage_times: Sequence[Tensor], h: StepSize) -> State:
        """One step of size `h` from `y` `(..., dim)`; `stage_times` are the scalars t + c_i h."""
        k: list[Tensor] = []
        for t, row in zip(stage_times, self.a, strict=True):
            k.append(f(t, _combine(y, row, k, h)))
        return _combine(y, self.b, k, h)

    def walk(self, f: VectorField, y0: State, grid: TimeGrid, ts: Times | None = None) -> Iterator[State]:
        """`y0` and the state after every step: n_steps + 1 states, differentiable in `ts` where that is given."""
        y = y0
        yield y
        for times, h in grid.schedule(self.c, y0, ts):
            y = self.step(f, y, times, h)
            yield y

    def trajectory(self, f: VectorField, y0: State, grid: TimeGrid) -> States:
        """The states of `walk` in one tensor `(n_steps + 1, ..., dim)`, written in place: for use without autograd."""
        states = y0.new_empty((grid.n_steps + 1, *y0.shape))
        for i, y in enumerate(self.walk(f, y0, grid)):
            states[i] = y
        return states

    def solve(self, f: VectorField, y0: State, grid: TimeGrid, ts: Times | None = None) -> States:
        """States at the output times of `grid`, `(time, ..., dim)`."""
        wanted = set(grid.output_indices)
        return torch.stack([y for i, y in enumerate(self.walk(f, y0, grid, ts)) if i in wanted])


def _combine(y: State, weights: Sequence[float], k: Sequence[Tensor], h: StepSize) -> State:
    """y + h sum_j weights_j k_j."""
    for w, kj in zip(weights, k, strict=False):
        if w != 0:
            y = y + (h * w) * kj if isinstance(h, Tensor) else torch.add(y, kj, alpha=h * w)
    return y
