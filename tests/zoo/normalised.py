"""Normalised layers, reparametrised weights, attention over columns, modes of training."""

from __future__ import annotations

import math
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tests.zoo.entries import entry


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(F.gelu(self.fc1(self.norm(x))))


@entry("residual with layer norm", 3)
class ResidualNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 8), nn.Linear(8, 3)
        self.blocks = nn.Sequential(ResidualBlock(8), ResidualBlock(8))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.out(self.blocks(self.inp(torch.cat([y, t.expand(y.shape[0], 1)], dim=-1))))


@entry("layer norm without weights", 4)
class PlainLayerNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(F.layer_norm(y, (4,), eps=1e-3)))


@entry("layer norm by hand", 4)
class LayerNormByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.fc = nn.Linear(4, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        mean, var = h.mean(-1, keepdim=True), h.var(-1, keepdim=True, unbiased=False)
        return torch.tanh(self.gain * (h - mean) / torch.sqrt(var + 1e-5) + self.shift)


@entry("standard deviation", 4)
class StandardDeviation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        return (h - h.mean(dim=1, keepdim=True)) / (h.std(dim=1, keepdim=True) + 0.1)


@entry("group norm", 4)
class GroupNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.GroupNorm(2, 8), nn.SiLU(), nn.Linear(8, 4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


@entry("rms norm", 4)
class RMSNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(8, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc2(self.norm(torch.tanh(self.fc1(y))))


@entry("rms norm by hand", 4)
class RMSNormByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.fc = nn.Linear(4, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        return self.weight * h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)


@entry("softmax gates", 3)
class SoftmaxGates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates, self.values, self.out = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.out(F.softmax(self.gates(y), dim=-1) * self.values(y))


@entry("log softmax", 3)
class LogSoftmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(F.log_softmax(self.fc(y), dim=1))


@entry("attention over columns", 4)
class ColumnAttention(nn.Module):
    """Every column is a token of 3 features."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.randn(4, 3))
        self.q, self.k, self.v = (nn.Linear(3, 3, bias=False) for _ in range(3))
        self.out = nn.Linear(3, 1)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        tokens = y.unsqueeze(-1) * self.embed
        scores = self.q(tokens) @ self.k(tokens).transpose(-2, -1) / math.sqrt(3)
        return self.out(torch.softmax(scores, dim=-1) @ self.v(tokens)).squeeze(-1)


@entry("old weight norm", 3)
def old_weight_norm() -> nn.Module:
    class WeightNormed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.utils.weight_norm(nn.Linear(3, 8))
            self.fc2 = nn.utils.weight_norm(nn.Linear(8, 3), dim=1)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.fc2(torch.tanh(self.fc1(y)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return WeightNormed()


@entry("weight norm", 3)
class WeightNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = parametrizations.weight_norm(nn.Linear(3, 8))
        self.fc2 = parametrizations.weight_norm(nn.Linear(8, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc2(F.softplus(self.fc1(y)))


class SpectralNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            parametrizations.spectral_norm(nn.Linear(3, 8)), nn.ReLU(), parametrizations.spectral_norm(nn.Linear(8, 3))
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


@entry("spectral norm in eval", 3)
def spectral_norm_in_eval() -> nn.Module:
    return SpectralNormNet().train(mode=False)


@entry("old spectral norm in eval", 3)
def old_spectral_norm_in_eval() -> nn.Module:
    layer = nn.utils.spectral_norm(nn.Linear(3, 3))
    layer(torch.ones(2, 3))
    layer.train(mode=False)

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.tanh(self.layer(y))

    return Wrapped().train(mode=False)


class Symmetric(nn.Module):
    def forward(self, X: Tensor) -> Tensor:
        return X.triu() + X.triu(1).transpose(-1, -2)


class PositiveWeights(nn.Module):
    def forward(self, X: Tensor) -> Tensor:
        return F.softplus(X)


@entry("own parametrization", 3)
class OwnParametrization(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sym, self.pos = nn.Linear(3, 3), nn.Linear(3, 3)
        parametrize.register_parametrization(self.sym, "weight", Symmetric())
        parametrize.register_parametrization(self.pos, "weight", PositiveWeights())

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.sym(y)) - self.pos(y)


class Dropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


@entry("dropout in eval", 3)
def dropout_in_eval() -> nn.Module:
    return Dropped().train(mode=False)


class BatchNormed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.bn, self.fc2 = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.bn(self.fc1(y))))


@entry("batch norm in eval", 3)
def batch_norm_in_eval() -> nn.Module:
    module = BatchNormed()
    module(torch.zeros(()), 2 * torch.randn(20, 3) + 1)  # running statistics that are not 0 and 1
    return module.train(mode=False)


class LooksAtTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = torch.tanh(self.fc(y))
        if self.training:
            h = h - 0.1 * y
        return h


@entry("looks at self.training, in training", 3)
def in_training() -> nn.Module:
    return LooksAtTraining()


@entry("looks at self.training, in eval", 3)
def in_eval() -> nn.Module:
    return LooksAtTraining().train(mode=False)
