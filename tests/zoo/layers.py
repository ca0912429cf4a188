"""Layers that torch.nn has: recurrent cells, attention, convolutions, normalisations, parametrizations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry


@entry("nn gru cell", 6)
class GRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 6)
        self.x = nn.Parameter(torch.randn(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.cell(self.x.expand(len(y), 3), y) - y


@entry("nn lstm cell", 6)
class LSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(2, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h, c = y.chunk(2, -1)
        new_h, new_c = self.cell(torch.ones(len(y), 2, dtype=y.dtype) * t, (h, c))
        return torch.cat([new_h - h, new_c - c], -1)


@entry("nn rnn cell", 4)
class RNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(4, 4, nonlinearity="relu")

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.cell(y, y) - y


@entry("one and eight learnt slopes", 4)
class PReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.PReLU(), nn.Linear(8, 8), nn.PReLU(8), nn.Linear(8, 4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


@entry("nn multihead attention", 12)
class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = y.reshape(-1, 3, 4)
        return self.attention(x, x, x, need_weights=False)[0].reshape(len(y), -1)


@entry("nn transformer layer", 12)
class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.layer(y.reshape(-1, 3, 4)).reshape(len(y), -1)


@entry("nn conv1d", 8)
class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 3, 3, padding=1)
        self.second = nn.Conv1d(3, 1, 3, padding=1, padding_mode="circular")

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(y[:, None]))).squeeze(1)


@entry("nn conv1d of eleven columns", 11)
class OddConvolution(Convolution):
    """As many columns as the tracer has samples, or a multiple of them inside."""


@entry("nn conv2d", 16)
class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.second(F.relu(self.first(y.view(-1, 1, 4, 4)))).flatten(1)


@entry("nn embedding", 3)
class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y * self.table(torch.tensor(1)) + self.table.weight[2]


@entry("orthogonal parametrization", 4)
class Orthogonal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.linear(y))


@entry("matrix exponential of parameters", 4)
class Exponential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(4, 4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ torch.matrix_exp(self.W - self.W.T)


@entry("port-Hamiltonian", 4)
class PortHamiltonian(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.H = nn.Sequential(nn.Linear(4, 16), nn.Softplus(), nn.Linear(16, 1))
        self.R = nn.Parameter(0.3 * torch.randn(4, 4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.set_grad_enabled(True):
            z = y if y.requires_grad else y.requires_grad_(True)
            (slope,) = torch.autograd.grad(self.H(z), z, torch.ones(len(z), 1, dtype=z.dtype), create_graph=True)
        A = self.R.tril(-1)
        return slope @ (A - A.T - self.R @ self.R.T).T


@entry("mass matrix of two coordinates", 4)
class MassMatrix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.entries = nn.Linear(2, 3)
        self.force = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        q, v = y[:, :2], y[:, 2:]
        entries = self.entries(q)
        L = torch.zeros(len(y), 2, 2, dtype=y.dtype)
        L[:, 0, 0], L[:, 1, 1] = F.softplus(entries[:, 0]), F.softplus(entries[:, 1])
        L[:, 1, 0] = entries[:, 2]
        M = L @ L.transpose(-1, -2) + torch.eye(2, dtype=y.dtype)
        return torch.cat([v, torch.linalg.solve(M, -self.force(q)[..., None])[..., 0]], 1)


@entry("n bodies", 6)
class Bodies(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.masses = nn.Parameter(torch.rand(3) + 0.5)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        q = y.view(-1, 3, 2)
        apart = q[:, None] - q[:, :, None]
        cubes = (apart.pow(2).sum(-1) + 0.5) ** 1.5
        return (self.masses[None, None, :, None] * apart / cubes[..., None]).sum(2).reshape(len(y), 6)


@entry("coupled oscillators", 4)
class Kuramoto(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.K, self.w = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.w + (self.K * torch.sin(y[:, None, :] - y[:, :, None])).sum(-1)
