"""The modules as users of torch write them, with nothing of pynode's."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class Spiral(nn.Module):
    """The net of torchdiffeq's demonstration."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.net(y**3)


class ConcatenatedTime(nn.Module):
    """An MLP of (y, t)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([y, t.expand(len(y), 1)], dim=1))


class EmbeddedTime(nn.Module):
    """Time by sines and cosines and a net of its own, which shifts and scales the hidden layer."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(-math.log(10.0) * torch.arange(8, dtype=torch.float64) / 8))
        self.embed = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 128))
        self.inner, self.outer = nn.Linear(4, 64), nn.Linear(64, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        angles = t * self.frequencies
        scale, shift = self.embed(torch.cat([angles.sin(), angles.cos()])).chunk(2)
        return self.outer(F.silu(self.inner(y) * (1 + scale) + shift))


class ConcatSquashLayer(nn.Module):
    """FFJORD's layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer, self.gate = nn.Linear(inputs, outputs), nn.Linear(1, outputs)
        self.bias = nn.Linear(1, outputs, bias=False)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.layer(x) * torch.sigmoid(self.gate(t.view(1, 1))) + self.bias(t.view(1, 1))


class HyperLayer(nn.Module):
    """A layer whose weights are a net of time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.weights = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, outputs * (inputs + 1)))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        row = self.weights(t.view(1, 1)).view(-1)
        return F.linear(x, row[self.outputs :].view(self.outputs, self.inputs), row[: self.outputs])


class Layered(nn.Module):
    """Layers that take the time, with tanh in between."""

    def __init__(self, layer: type[nn.Module], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([layer(i, o) for i, o in pairwise(widths)])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            y = torch.tanh(layer(t, y))
        return self.layers[-1](t, y)


class ConcatSquash(Layered):
    """FFJORD's net."""

    def __init__(self) -> None:
        super().__init__(ConcatSquashLayer, (2, 64, 64, 2))


class Hyper(Layered):
    """FFJORD's hyper layers."""

    def __init__(self) -> None:
        super().__init__(HyperLayer, (2, 32, 2))


class Residual(nn.Module):
    """Two residual blocks with LayerNorm and GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 64), nn.Linear(64, 8)
        self.norms = nn.ModuleList([nn.LayerNorm(64) for _ in range(2)])
        self.blocks = nn.ModuleList([nn.Linear(64, 64) for _ in range(2)])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        h = self.inner(y)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            h = h + F.gelu(block(norm(h)))
        return self.outer(h)


class WeightNorm(nn.Module):
    """An MLP with normalised weights."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(weight_norm(nn.Linear(4, 64)), nn.ELU(), weight_norm(nn.Linear(64, 4)))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.net(y)


class Antisymmetric(nn.Module):
    """W - W^T and a little damping (Haber and Ruthotto 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(32, 32) / 6)
        self.b = nn.Parameter(torch.zeros(32))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        W = self.W - self.W.T - 0.1 * torch.eye(32, dtype=y.dtype)
        return torch.tanh(F.linear(y, W, self.b))


class Hamiltonian(nn.Module):
    """(dH/dp, -dH/dq) of an energy net, by autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1, bias=False))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        with torch.enable_grad():
            y = y.requires_grad_(True)
            (slope,) = torch.autograd.grad(self.energy(y).sum(), y, create_graph=True)
        by_q, by_p = slope.chunk(2, dim=1)
        return torch.cat([by_p, -by_q], dim=1)


class SecondOrder(nn.Module):
    """Positions and velocities, the force by a net."""

    def __init__(self) -> None:
        super().__init__()
        self.force = nn.Sequential(nn.Linear(4, 64), nn.Softplus(), nn.Linear(64, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        q, v = y.split(2, dim=-1)
        return torch.cat([v, self.force(torch.cat([q, v], dim=-1)) - 0.1 * v], dim=-1)


class LotkaVolterra(nn.Module):
    """The known terms with learnt coefficients, and a net (Rackauckas et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.tensor(1.3)), nn.Parameter(torch.tensor(0.9))
        self.gamma, self.delta = nn.Parameter(torch.tensor(0.8)), nn.Parameter(torch.tensor(1.8))
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        prey, predator = y[:, 0], y[:, 1]
        meetings = prey * predator
        known = torch.stack(
            [self.alpha * prey - self.beta * meetings, self.gamma * meetings - self.delta * predator], 1
        )
        return known + 0.1 * self.net(y)


class Gru(nn.Module):
    """GRU-ODE: the gates of a cell without an input (De Brouwer et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.reset, self.update, self.new = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        r, z = torch.sigmoid(self.reset(y)), torch.sigmoid(self.update(y))
        return (1 - z) * (torch.tanh(self.new(r * y)) - y)


MODULES: dict[str, tuple[type[nn.Module], int]] = {
    "spiral": (Spiral, 2),
    "concatenated-time": (ConcatenatedTime, 4),
    "embedded-time": (EmbeddedTime, 4),
    "concatsquash": (ConcatSquash, 2),
    "hyper": (Hyper, 2),
    "residual": (Residual, 8),
    "weight-norm": (WeightNorm, 4),
    "antisymmetric": (Antisymmetric, 32),
    "hamiltonian": (Hamiltonian, 4),
    "second-order": (SecondOrder, 4),
    "lotka-volterra": (LotkaVolterra, 2),
    "gru": (Gru, 16),
}
"""The module and the dimension of its state, by the names of a report."""


def module_called(name: str) -> nn.Module:
    """A new module, in float64, always with the same parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODULES[name][0]().double()


def states_of(name: str, batch: int) -> Tensor:
    """Initial states `(batch, dim)`, always the same; positive, so that populations make sense."""
    dim = MODULES[name][1]
    draw = torch.randn(batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(batch))
    return 0.5 * draw.abs() + 0.25
