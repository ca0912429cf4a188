"""Matrices with a structure, containers of parameters, and the many ways to write a product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry

SLOPE = 0.3
"""A constant of the program that a field reads."""


@entry("antisymmetric", 4)
class AntisymmetricNet(nn.Module):
    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(4, 4))
        self.b = nn.Parameter(torch.zeros(4))
        self.gamma = gamma

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        A = self.W - self.W.T - self.gamma * torch.eye(4, dtype=y.dtype, device=y.device)
        return torch.tanh(y @ A.T + self.b)


@entry("negative definite", 3)
class NegativeDefinite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.L = nn.Parameter(torch.randn(3, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        L = torch.tril(self.L, diagonal=-1) + torch.diag(F.softplus(torch.diagonal(self.L)))
        return -(L @ L.T @ y.unsqueeze(-1)).squeeze(-1)


@entry("low rank", 4)
class LowRank(nn.Module):
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.U, self.V = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(2, 4))
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.scale * torch.tanh(F.linear(y, self.U @ self.V))


@entry("masked weights", 4)
class Masked(nn.Module):
    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("mask", torch.tril(torch.ones(4, 4)))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(F.linear(y, self.mask * self.fc.weight, self.fc.bias))


@entry("columns as vectors", 3)
class ColumnVectors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(3, 3) / 2)
        self.b = nn.Parameter(torch.randn(3, 1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.W @ y.T + self.b).T


@entry("einsum", 3)
class Einsum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.randn(3, 3) / 2)
        self.B = nn.Parameter(torch.randn(3, 3, 3) / 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(torch.einsum("ij,bj->bi", self.A, y) + torch.einsum("ijk,bj,bk->bi", self.B, y, y))


@entry("bilinear", 3)
class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.form = nn.Bilinear(3, 3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.form(y, y))


@entry("quadratic form", 3)
class QuadraticForm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.Q = nn.Parameter(torch.randn(3, 3))
        self.direction = nn.Parameter(torch.randn(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        energy = ((y @ self.Q) * y).sum(dim=1, keepdim=True)
        return torch.tanh(energy) * self.direction


@entry("matrix per sample", 3)
class MatrixPerSample(nn.Module):
    """A net gives every sample a matrix of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 9))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        A = self.net(y).reshape(-1, 3, 3)
        return (A @ y[..., None]).squeeze(-1)


@entry("antisymmetric matrix per sample", 3)
class AntisymmetricPerSample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 9)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        A = self.net(y).view(-1, 3, 3)
        return torch.bmm(A - A.transpose(1, 2), y.unsqueeze(2)).squeeze(2)


@entry("matmul and addmm", 3)
class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W1, self.b1 = nn.Parameter(torch.randn(3, 5) / 2), nn.Parameter(torch.randn(5))
        self.W2, self.b2 = nn.Parameter(torch.randn(5, 3) / 2), nn.Parameter(torch.randn(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = torch.relu(torch.matmul(y, self.W1) + self.b1)
        return torch.addmm(self.b2, h, self.W2, beta=0.5, alpha=0.7)


@entry("parameter list", 3)
class WithParameterList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(3, 3) / 2) for _ in range(3)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(3)) for _ in range(3)])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        for W, b in zip(self.weights, self.biases, strict=True):
            y = torch.tanh(y @ W + b)
        return y


@entry("parameter dict", 3)
class WithParameterDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p = nn.ParameterDict({"in": nn.Parameter(torch.randn(6, 3)), "out": nn.Parameter(torch.randn(3, 6) / 3)})

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return F.linear(torch.sin(F.linear(y, self.p["in"])), self.p["out"])


@entry("module dict", 3)
class WithModuleDict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"drift": nn.Linear(3, 3), "gate": nn.Linear(3, 3)})

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.parts["drift"](y).mul(self.parts["gate"](y).sigmoid())


@entry("stacked weights by index", 3)
class StackedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(4, 3, 3) / 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        for W in self.W:
            y = y + 0.3 * torch.tanh(y @ W)
        return y - self.W[-1, 0]


@entry("weights cut from one vector", 3)
class FlatParameters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.randn(3 * 5 + 5 + 5 * 3 + 3) / 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        W1, b1, W2, b2 = self.theta.split([15, 5, 15, 3])
        return F.linear(torch.tanh(F.linear(y, W1.view(5, 3), b1)), W2.view(3, 5), b2)


@entry("convolution over columns by unfold", 6)
class Unfolded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        windows = F.pad(y, (1, 1)).unfold(1, 3, 1)
        return torch.tanh((windows * self.kernel).sum(-1))


@entry("reads a global", 3)
class ReadsGlobal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(y)) - SLOPE * y


@entry("reads a closure", 3)
def reads_a_closure() -> nn.Module:
    decay = 0.2

    class Closure(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.tanh(self.fc(y)) - decay * y

    return Closure()


@entry("tensor as a plain attribute", 3)
class PlainTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.target = torch.tensor([0.5, -0.5, 1.0], dtype=torch.float64)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(y - self.target))


@entry("counts its evaluations", 3)
class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3))
        self.nfe = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.nfe += 1
        return self.net(y)


@entry("numbers as attributes", 3)
class NumbersAsAttributes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [4, 5]
        self.options = {"scale": 0.7}
        self.net = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.options["scale"] * torch.tanh(self.net(y)) / len(self.layers)


@entry("any rank, states without a batch", 3, lead=None)
@entry("any rank, states of rank 3", 3, lead=(2,))
class AnyRank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y) * torch.exp(-t)


@entry("adds a batch where there is none", 3, lead=None)
@entry("adds a batch where there is one", 3)
class AddsBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        single = y.dim() == 1
        if single:
            y = y.unsqueeze(0)
        out = torch.tanh(self.fc(torch.cat([y, t.expand(y.shape[0], 1)], dim=1)))
        return out.squeeze(0) if single else out


class Sine(torch.autograd.Function):
    """A function with a backward of its own, which is right."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.sin(x)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * torch.cos(x)


@entry("autograd function", 3)
class OwnFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return Sine.apply(self.fc(y))


@entry("calls another module's method", 3)
class CallsMethod(nn.Module):
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 5)

        def encode(self, x: Tensor) -> Tensor:
            return torch.tanh(self.fc(x))

    def __init__(self) -> None:
        super().__init__()
        self.encoder = self.Encoder()
        self.decoder = nn.Linear(5, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.decoder(self.encoder.encode(y))
