"""Formulas of columns: slices, reductions, products, powers, conditions, writes in place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry


class Small(nn.Module):
    """Most formulas get one layer, so that there are parameters to differentiate by."""

    def __init__(self, dim: int = 3, out: int | None = None) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, dim if out is None else out)


@entry("bias in place", 3)
class BiasInPlace(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = y @ self.fc.weight.t()
        x += self.fc.bias
        x *= 0.5
        return x.tanh_()


@entry("columns in place", 3)
class ColumnsInPlace(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        out = torch.zeros_like(y)
        out[:, 0] = h[:, 1] * y[:, 2]
        out[:, 1] = -h[:, 0] + t
        out[:, 2] = torch.sin(h[:, 2])
        return out


@entry("empty_like filled", 3)
class EmptyFilled(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy = torch.empty_like(y)
        dy[..., 0], dy[..., 1] = y[..., 1], -y[..., 0]
        dy[..., 2:] = self.fc(y)[..., 2:]
        return dy


@entry("clone and change", 3)
class CloneAndChange(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        z = y.clone()
        z[:, 1] = y[:, 1] ** 2
        z[:, :2].mul_(0.5)
        return torch.tanh(self.fc(z))


@entry("norm of the state", 3)
class Normed(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        r = y.norm(dim=-1, keepdim=True)
        return self.fc(y) / (1 + r) - torch.linalg.norm(y, dim=-1, keepdim=True) * y


@entry("normalised state", 3)
class Normalised(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(F.normalize(y, dim=-1)))


@entry("logsumexp", 3)
class LogSumExp(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        return torch.tanh(h - torch.logsumexp(h, dim=1, keepdim=True))


@entry("cumsum", 4)
class CumSum(Small):
    def __init__(self) -> None:
        super().__init__(4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(torch.cumsum(y, dim=-1)))


@entry("sums and means", 4)
class SumsAndMeans(Small):
    def __init__(self) -> None:
        super().__init__(4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        total = h.sum(1)
        return y.mean(dim=1).unsqueeze(1) - torch.sin(total)[:, None] * y / h.pow(2).sum(-1, keepdim=True).add(1).sqrt()


@entry("largest and smallest column", 4)
class Extremes(Small):
    def __init__(self) -> None:
        super().__init__(4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        return torch.tanh(h - h.max(dim=-1, keepdim=True).values) + h.amin(dim=-1, keepdim=True)


@entry("kinks and ties at zero", 4)
class KinksAtZero(nn.Module):
    """At a zero state all columns are the largest, and the functions have kinks or quotients 0 / 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.5, 0.4, 0.3, 0.2]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        largest, smallest = y.max(dim=1, keepdim=True)[0], y.min(dim=1).values[:, None]
        a = self.weights[0] * torch.asinh(y) + self.weights[1] * F.relu6(y) - 0.1 * largest
        return a + self.weights[2] * torch.sinc(y) + self.weights[3] * y.norm(dim=1, keepdim=True) + 0.2 * smallest


@entry("polynomial features", 2)
class Polynomials(nn.Module):
    """As SINDy has them."""

    def __init__(self) -> None:
        super().__init__()
        self.xi = nn.Parameter(torch.randn(6, 2) / 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, z = y[:, 0:1], y[:, 1:2]
        library = torch.cat([torch.ones_like(x), x, z, x**2, x * z, z.pow(2)], dim=1)
        return library @ self.xi


@entry("outer products", 3)
class OuterProducts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(9, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc((y.unsqueeze(2) * y.unsqueeze(1)).flatten(1)))


@entry("powers", 2, positive=True)
class Powers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n = nn.Parameter(torch.tensor(1.7))
        self.k = nn.Parameter(torch.tensor([0.5, 0.9]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Hill functions with a learnt exponent; a base that is a number."""
        hill = y**self.n / (self.k**self.n + y**self.n)
        return hill - 0.5 * y**1.5 - 0.1 / y + 2.0 ** (-y)


@entry("numbers of all kinds", 3)
class Numbers(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = (1 - self.fc(y)) / 2 + 3 / (2 + y.square()) - math.pi
        return torch.rsub(h, 1).div(4).sub(y, alpha=0.5).neg()


@entry("conditions", 3)
class Conditions(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.fc(y)
        a = torch.where(h > y, h, y)
        b = torch.where((h > 0) & (y <= 0.5), a, -a)
        return b * (y >= -1).to(y.dtype)


@entry("masked by multiplication", 3)
class MaskedStates(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        mask = (y > 0).double()
        return self.fc(y) * mask + torch.sign(y) + y.masked_fill(y < 0, 0.0)


@entry("masks of the default dtype", 3)
class FloatMasks(Small):
    """0 and 1 are the same in float32, which people write out of habit."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = torch.tanh(self.fc(y))
        return (y > 0).float() * h - torch.where(y.abs() < 0.3, 1.0, 0.0) * y


@entry("clamps", 3)
class Clamps(Small):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = torch.clamp(self.fc(y), min=-0.5)
        return torch.clamp(h, max=0.4) + torch.minimum(h, y) + y.clamp_min(0.1) - torch.clip(y, -0.2, 0.2)


@entry("flip, roll and permuted columns", 4)
class Permuted(Small):
    def __init__(self) -> None:
        super().__init__(4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = torch.tanh(self.fc(y.flip(-1)))
        return torch.roll(h, 1, dims=-1) + y[:, [2, 0, 3, 1]] - y[:, ::2].repeat(1, 2) + y[:, -1:]


@entry("index by a buffer", 4)
class IndexBuffer(Small):
    order: Tensor

    def __init__(self) -> None:
        super().__init__(4)
        self.register_buffer("order", torch.tensor([3, 2, 1, 0]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(torch.index_select(y, 1, self.order))) - y[:, self.order]


@entry("split, stack and reshape", 6)
class Reshaped(nn.Module):
    """Three particles in the plane, each with the same net."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        particles = y.view(-1, 3, 2)
        centre = particles.mean(dim=1, keepdim=True)
        first, second, third = self.net(particles - centre).unbind(1)
        return torch.stack([third, first, second], dim=1).reshape(y.shape)


@entry("distances of particles", 6)
class Gravity(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.masses = nn.Parameter(torch.rand(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = y.reshape(*y.shape[:-1], 3, 2)
        d = x[..., None, :, :] - x[..., :, None, :]
        r2 = (d**2).sum(-1, keepdim=True) + 0.1
        return (self.masses[:, None] * d / r2.pow(1.5)).sum(-2).flatten(-2)


@entry("sequence of formulas", 2)
class Formulas(nn.Module):
    """Smooth functions, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7))
        self.b = nn.Parameter(torch.tensor([0.4, 0.6]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        u = torch.exp(-self.a * y) + torch.log(1 + y.square()) * self.b
        v = torch.sqrt(1 + u.abs()) + torch.tan(0.1 * u) + torch.atan2(u, 2 + self.b)
        return torch.lerp(u, v, 0.3) - torch.hypot(u, v) + torch.addcmul(u, v, y, value=0.2)


@entry("a constant field", 2)
class ConstantField(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drift = nn.Parameter(torch.tensor([0.3, -0.8]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.drift.expand_as(y)


@entry("a function of time alone", 2)
class TimeAlone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(t.reshape(1, 1)).expand(y.shape[0], -1)


@entry("no parameters", 2)
class NoParameters(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], -torch.sin(y[:, 0])], dim=1) * (1 + 0.1 * t)


@entry("the identity", 2)
class Identity(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y


@entry("zero", 2)
class Zero(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(y)


@entry("one column", 1)
class OneColumn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))
        self.rate = nn.Parameter(torch.tensor([0.5]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y) - self.rate * y * (1 - y)


@entry("half in another precision", 3, refused="float32|dtype|precision")
class HalfInFloat32(Small):
    """Time through float32, as `t * torch.ones(n, 1)` does with a float64 state."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(y)) * (t * torch.ones(y.shape[0], 1))
