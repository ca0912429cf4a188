"""Generated series: the angle of a damped pendulum, observed at irregular times, with noise and a gap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import pynode

SEEN, END = 4.0, 8.0
"""The encoder sees what lies before the first time, in seconds; series end at the second one."""

TICK = 0.05
"""Clocks tick so often; all that series observe, they observe at some tick."""

OBSERVATIONS, NOISE, GAP = 28, 0.1, 1.2
"""Times that are drawn for a series, the standard deviation of the noise in radians, and the length of the gap."""


class Pendulum(nn.Module):
    """State (angle, velocity); the context is (angular frequency, damping) of each series."""

    def forward(self, t: Tensor, y: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002 (autonomous)
        """dy/dt `(series, 2)`."""
        angle, velocity = y[:, :1], y[:, 1:]
        frequency, damping = context[:, :1], context[:, 1:]
        return torch.cat((velocity, -(frequency**2) * torch.sin(angle) - damping * velocity), dim=1)


@dataclass(frozen=True)
class Series:
    """Irregular series, one a row: `times`, `values` and whether they were `observed`, `(series, observations)`.

    Times increase along a row.  `truth` is the angle without noise at the same times; `grid` `(n,)` are regular times
    and `curves` `(series, n)` the angle there.
    """

    times: Tensor
    values: Tensor
    truth: Tensor
    observed: Tensor
    grid: Tensor
    curves: Tensor

    @property
    def seen(self) -> Tensor:
        """Which observations an encoder sees."""
        return self.observed & (self.times < SEEN)

    def rows(self, index: Tensor) -> Series:
        """Some of the series."""
        times, values, truth, observed = (x[index] for x in (self.times, self.values, self.truth, self.observed))
        return Series(times, values, truth, observed, self.grid, self.curves[index])


def pendulums(n: int, seed: int) -> Series:
    """`n` series with amplitudes, frequencies, damping, times and gaps of their own."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=random)

    start = torch.cat((uniform(0.5, 1.5, n, 1) * (1 - 2 * (uniform(0, 1, n, 1) > 0.5)), uniform(-1, 1, n, 1)), dim=1)
    kind = torch.cat((uniform(1.2, 2.2, n, 1), uniform(0.05, 0.3, n, 1)), dim=1)
    grid = TICK * torch.arange(0, round(END / TICK) + 1, 2)
    ticks = torch.rand((n, round(END / TICK)), generator=random).argsort(1)[:, :OBSERVATIONS]
    times = TICK * ticks.sort(1).values.float()
    gap = uniform(0.5, SEEN - GAP, n, 1)
    observed = (times < gap) | (times > gap + GAP)
    union, place = torch.cat((grid, times.reshape(-1))).unique(return_inverse=True)
    truth = pynode.NeuralODE(Pendulum(), pynode.DiscOpt(pynode.RK4, steps=1), union, context=2)
    angles = truth(start, context=kind).detach()[..., 0]
    at_grid, at_times = place[: len(grid)], place[len(grid) :].reshape(times.shape)
    curve = angles[at_times, torch.arange(n)[:, None]]
    values = curve + NOISE * torch.randn(times.shape, generator=random)
    return Series(times, values, curve, observed, grid, angles[at_grid].T)
