"""Vector fields of series: a linear part beside a small network, or a user's own, over one interval of a solve."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pynode.types import State

HIDDEN = (32,)


@dataclass(frozen=True)
class Sizes:
    """Columns of a model: observed and hidden states, inputs that go on between rows, impulses, covariates."""

    observed: int
    hidden: int = 0
    inputs: int = 0
    impulses: int = 0
    covariates: int = 0

    @property
    def state(self) -> int:
        """Dimension of the ODE."""
        return self.observed + self.hidden

    @property
    def known(self) -> int:
        """Inputs and covariates, which the field reads beside the state."""
        return self.inputs + self.covariates

    @property
    def columns(self) -> int:
        """Columns of a solve: state, inputs at both ends, clock, length of the interval, covariates."""
        return self.state + 2 * self.inputs + 2 + self.covariates


class LinearAndNetwork(nn.Module):
    """dz/dt = A x + b + W tanh(... V x + v) with x = (z, inputs, covariates); `hidden` are the widths of the network.

    The last layer starts at 0, so that an untrained field is the linear one.  Float64.
    """

    def __init__(self, sizes: Sizes, hidden: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        n_in = sizes.state + sizes.known
        self.linear = nn.Linear(n_in, sizes.state, dtype=torch.float64)
        widths = (n_in, *hidden, sizes.state)
        self.layers = nn.ModuleList(nn.Linear(i, o, dtype=torch.float64) for i, o in pairwise(widths))
        with torch.no_grad():
            for layer in (self.linear, *self.network):
                spread = layer.in_features**-0.5
                layer.weight.copy_(torch.randn(layer.weight.shape, dtype=torch.float64, generator=generator) * spread)
                layer.bias.copy_(torch.randn(layer.bias.shape, dtype=torch.float64, generator=generator) * 0.5)
            for layer in (self.linear, self.network[-1]):
                layer.weight.zero_()
                layer.bias.zero_()

    @property
    def network(self) -> list[nn.Linear]:
        """The layers of the network."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, t: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002 (autonomous)
        """The slope `(..., state)` at `x` `(..., state + known)`."""
        *inner, last = self.network
        h = x
        for layer in inner:
            h = torch.tanh(layer(h))
        return torch.as_tensor(self.linear(x) + last(h))


class IntervalField(nn.Module):
    """A field over one interval between two nodes, which every row of a batch has from 0 to 1.

    A row is (state, inputs at 0, inputs at 1, clock at 0, length, covariates); all but the state stay as they are.
    Rows of unequal intervals are one batch so.  `inner(t, x)` gives the slope by the model's time, with `t` `(..., 1)`
    the time since the trajectory's first node.
    """

    def __init__(self, inner: nn.Module, sizes: Sizes) -> None:
        super().__init__()
        self.inner, self.sizes = inner, sizes

    def forward(self, t: Tensor, y: State) -> State:
        s = self.sizes
        n, m = s.state, s.inputs
        length = y[..., n + 2 * m + 1 : n + 2 * m + 2]
        parts = [y[..., :n]]
        if m:
            first, last = y[..., n : n + m], y[..., n + m : n + 2 * m]
            parts.append(first + t * (last - first))
        if s.covariates:
            parts.append(y[..., n + 2 * m + 2 :])
        clock = y[..., n + 2 * m : n + 2 * m + 1] + t * length
        slope = self.inner(clock, torch.cat(parts, -1) if len(parts) > 1 else parts[0])
        return torch.cat((slope * length, torch.zeros_like(y[..., s.state :])), -1)


def rows_of(
    sizes: Sizes, state: Tensor, starts: Tensor, ends: Tensor, clock: Tensor, length: Tensor, covariates: Tensor
) -> State:
    """The batch `(windows, columns)` that `IntervalField` solves; `clock` and `length` are `(windows,)`."""
    parts = [state]
    if sizes.inputs:
        parts += [starts, ends]
    parts += [clock[:, None], length[:, None]]
    if sizes.covariates:
        parts.append(covariates)
    return torch.cat(parts, -1)
