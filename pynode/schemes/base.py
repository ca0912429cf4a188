"""Butcher tableaux and the one stepper that runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.grid import StepSize, TimeGrid
from pynode.types import State, States, Times, VectorField


@dataclass(frozen=True)
class Scheme:
    """An explicit Runge-Kutta scheme: its Butcher tableau (A, b, c), its order and its name.

    `a` is strictly lower triangular, row i has i entries; `b` and `c` have one entry a stage (Hairer, Norsett & Wanner,
    Solving Ordinary Differential Equations I, sec. II.1).
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]

    def __post_init__(self) -> None:
        if not (len(self.a) == len(self.b) == len(self.c) and all(len(row) == i for i, row in enumerate(self.a))):
            raise InvalidArgument("a", self.a, "not a strictly lower triangular tableau", "row i must hold i entries")
        if abs(sum(self.b) - 1) > 1e-12 or any(
            abs(sum(row) - c) > 1e-12 for row, c in zip(self.a, self.c, strict=True)
        ):
            raise InvalidArgument("b", self.b, "inconsistent tableau", "b must sum to 1 and row i of a to c_i")

    @property
    def n_stages(self) -> int:
        """Field evaluations per step."""
        return len(self.b)

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
