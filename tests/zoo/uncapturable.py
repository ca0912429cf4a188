"""Fields that can't be a tape: branches, randomness, coupled samples, side effects on tensors, foreign code."""

from __future__ import annotations

import random
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry
from tests.zoo.normalised import BatchNormed, Dropped, SpectralNormNet


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)


@entry("if t > 0.5", 3, refused="value")
class BranchOnTime(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if t > 0.5:
            return -self.fc(y)
        return self.fc(y)


@entry("if the state is large", 3, refused="value")
class BranchOnState(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        return h / 2 if bool((h.abs() > 5).any()) else h


@entry("float(t)", 3, refused="value")
class FloatOfTime(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(y)) * float(t)


@entry("item of a parameter", 3, refused="value")
class ItemOfParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(3, 3), nn.Parameter(torch.tensor(0.5))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.scale.item() * torch.tanh(self.fc(y))


@entry("look-up in a table", 3, refused="value")
class Tabulated(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.linspace(0, 1, 11))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y) * self.table[int(10 * t)]  # type: ignore[index]


@entry("dropout in training", 3, refused="random|dropout", where="net.2")
def dropout_in_training() -> nn.Module:
    return Dropped()


@entry("noise", 3, refused="random")
class Noise(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y) + 0.1 * torch.randn_like(y)


@entry("rrelu in training", 3, refused="random")
class RandomSlopes(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return F.rrelu(self.fc(y), training=True)


@entry("python's random numbers", 3, refused="random|differ")
class PythonRandom(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y) * (1 + 0.1 * random.random())


@entry("batch norm in training", 3, refused="sample|batch|buffer", where="bn")
def batch_norm_in_training() -> nn.Module:
    return BatchNormed()


@entry("spectral norm in training", 3, refused="buffer|in place|chang")
def spectral_norm_in_training() -> nn.Module:
    return SpectralNormNet()


@entry("centred samples", 3, refused="sample")
class Centred(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y - y.mean(0))


@entry("neighbours in the batch", 3, refused="sample")
class Neighbours(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(torch.roll(y, 1, dims=0) - y)


@entry("attention between samples", 3, refused="sample")
class SampleAttention(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.softmax(self.fc(y) @ y.T, dim=-1) @ y


@entry("first sample leads", 3, refused="sample")
class FirstLeads(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y) + y[:1]


@entry("scaled by the norm of everything", 3, refused="sample")
class GlobalNorm(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y) / (1 + y.norm())


@entry("scaled by the number of samples", 3, refused="sample|batch")
class BatchSize(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y) / len(y)


@entry("interaction of particles, states of rank 3", 3, refused="sample|rank|dimension", lead=(4,))
class Interacting(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y) - (y - y.mean(-2, keepdim=True))


@entry("state changed in place", 3, refused="in place")
class ChangesState(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y *= 0.5
        return self.fc(y)


@entry("buffer changed in place", 3, refused="in place|buffer")
class ChangesBuffer(Layer):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(y) / (1 + self.calls)


@entry("counter that matters", 3, refused="differ|attribute|state")
class CounterThatMatters(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.nfe = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.nfe += 1
        return self.fc(y) / self.nfe


@entry("complex numbers", 2, refused="complex")
class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.phase = nn.Parameter(torch.tensor(0.3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        z = torch.view_as_complex(y.contiguous()) * torch.exp(1j * self.phase)
        return torch.view_as_real(z)


@entry("fourier transform", 4, refused="complex|fft")
class FourierTransform(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(y) * self.gain, n=4)


@entry("shape that depends on the data", 3, refused="shape|size|value|data")
class DataDependent(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        positive = y[y > 0]
        return self.fc(y) * positive.sum()


@entry("numpy inside", 3, refused="numpy|value|outside")
class NumpyInside(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(y) + torch.from_numpy(np.sin(y.detach().numpy()))


@entry("straight-through estimator", 3, refused="derivative|gradient|detach|cotangent")
class StraightThrough(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        return h + (torch.tanh(h) - h).detach()


@entry("part without gradient", 3, refused="derivative|gradient|cotangent")
class NoGradInside(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            gate = torch.sigmoid(self.fc(y))
        return gate * self.fc(y)


class Clipped(torch.autograd.Function):
    """Gives the cotangent on unless it is large."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        return grads[0].clamp(-0.05, 0.05)


@entry("gradient clipped on its way", 3, refused="derivative|gradient|cotangent")
class ClippedGradient(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return Clipped.apply(torch.tanh(self.fc(y)))


@entry("mass matrix solved for", 8, refused="solve|operat")
class MassMatrix(nn.Module):
    """The equations of motion with a mass matrix of a net, as Lagrangian nets have it."""

    def __init__(self) -> None:
        super().__init__()
        self.mass, self.force = nn.Linear(4, 16), nn.Linear(8, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        q, v = y.chunk(2, dim=-1)
        L = self.mass(q).reshape(-1, 4, 4)
        M = L @ L.transpose(-1, -2) + torch.eye(4, dtype=y.dtype)
        return torch.cat([v, torch.linalg.solve(M, self.force(y))], dim=-1)


@entry("sorted columns", 3, refused="sort|operat")
class SortedColumns(Layer):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.fc(torch.sort(y, dim=-1).values)


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(y)) * t


@entry("scripted", 3, refused="script|compiled")
def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module: nn.Module = torch.jit.script(Scripted())
        return module
