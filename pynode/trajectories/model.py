"""The trainable model of a series: a field, what impulses do, where trajectories start, and the states at nodes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from pynode.trajectories.fields import IntervalField, Sizes
from pynode.trajectories.windows import Windows
from pynode.types import Theta

Initial: TypeAlias = Literal["given", "learnt", "encoded"]
"""Where the state at the beginning of a trajectory comes from: its first values, a parameter of its own, or a network
that reads its first points and covariates."""

LARGEST_LOG = 3.0
"""Of the factor by which covariates make jumps larger or smaller."""
ENCODED = 3
"""Observed rows that an encoder reads, the first ones."""


class SeriesModel(nn.Module):
    """A field over intervals, jumps of impulses `(impulses, state)`, the mean start of a trajectory as a linear
    function of its covariates, and the states `(nodes, state)` that windows start from.

    Jumps of a trajectory are larger or smaller by a factor whose logarithm is linear in its covariates: a dose raises
    the level in a heavier body less.

    `spread` `(state,)` is the standard deviation of starts about their mean, which is not trained.  `by_modes` says of
    a first model that it is a sum of modes.
    """

    def __init__(
        self,
        inner: nn.Module,
        sizes: Sizes,
        nodes: int,
        *,
        initial: Initial = "learnt",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.initial = initial
        self.by_modes = False
        self.sizes = sizes
        self.field = IntervalField(inner, sizes)
        self.jumps = nn.Parameter(torch.zeros(sizes.impulses, sizes.state, dtype=torch.float64))
        by = sizes.covariates if sizes.impulses else 0
        self.jumps_by = nn.Parameter(torch.zeros(by, sizes.impulses, dtype=torch.float64))
        self.start = nn.Parameter(torch.zeros(sizes.state, dtype=torch.float64))
        self.start_by = nn.Parameter(torch.zeros(sizes.covariates, sizes.state, dtype=torch.float64))
        self.nodes = nn.Parameter(torch.zeros(nodes, sizes.state, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(sizes.state, dtype=torch.float64))
        self.spread: Tensor
        self.encoder: nn.Module | None = None
        if initial == "encoded":
            width = ENCODED * (2 * sizes.observed + 1) + sizes.covariates
            layers = nn.Linear(width, 16, dtype=torch.float64), nn.Linear(16, sizes.state, dtype=torch.float64)
            with torch.no_grad():
                spread = torch.randn(layers[0].weight.shape, dtype=torch.float64, generator=generator)
                layers[0].weight.copy_(spread * width**-0.5)
                for silent in (layers[0].bias, layers[1].weight, layers[1].bias):
                    silent.zero_()
            self.encoder = nn.Sequential(layers[0], nn.Tanh(), layers[1])

    def beginnings(self, windows: Windows) -> Tensor:
        """The states `(w, state)` that windows begin with."""
        states, first = self.nodes[windows.node], windows.is_first
        if self.initial == "learnt" or not bool(first.any()):
            return states
        return torch.where(first[:, None], self.expected(windows), states)

    def expected(self, windows: Windows) -> Tensor:
        """The states `(w, state)` at the first node of trajectories: the mean for their covariates, with the first
        values where these are the start, or what the encoder reads off the first points."""
        mean = self.mean_start(windows.covariates)
        if self.initial == "given":
            observed = self.sizes.observed
            seen = windows.seen[:, 0] > 0
            known = torch.where(seen, windows.values[:, 0], mean[:, :observed])
            return torch.cat((known, mean[:, observed:]), -1)
        if self.encoder is None:
            return mean
        ranks = (windows.seen > 0).any(-1).cumsum(1)
        every = torch.arange(windows.count)
        points = []
        for k in range(ENCODED):
            wanted = ranks[:, -1:].clamp_max(k + 1)  # the last one again where there are fewer
            at = (ranks < wanted).sum(1)
            points += [windows.values[every, at], windows.seen[every, at], windows.offsets[every, at][:, None]]
        return mean + torch.as_tensor(self.encoder(torch.cat((*points, windows.covariates), -1)))

    def mean_start(self, covariates: Tensor) -> Tensor:
        """The expected state `(w, state)` at the first node of trajectories with these `covariates` `(w, c)`."""
        return self.start + covariates @ self.start_by

    def jumped(self, impulses: Tensor, covariates: Tensor) -> Tensor:
        """What `impulses` `(w, impulses)` add to the states `(w, state)` of trajectories with `covariates` `(w, c)`."""
        if self.jumps_by.numel():
            impulses = impulses * (covariates @ self.jumps_by).clamp(-LARGEST_LOG, LARGEST_LOG).exp()
        return impulses @ self.jumps

    @torch.no_grad()
    def theta(self) -> Theta:
        """All parameters in one vector, float64, on the CPU."""
        return torch.cat([p.detach().reshape(-1).double().cpu() for p in self.parameters()])

    @torch.no_grad()
    def set_theta(self, theta: Theta) -> None:
        """Overwrites all parameters."""
        at = 0
        for p in self.parameters():
            p.copy_(theta[at : at + p.numel()].reshape(p.shape))
            at += p.numel()
