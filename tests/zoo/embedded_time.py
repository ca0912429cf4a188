"""Fields that depend on time: by concatenation, by embeddings, by FFJORD's layers, by gates."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry


def mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)
    )


@entry("t.expand", 2)
class Expanded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(3, 8, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([y, t.expand(len(y), 1)], 1))


@entry("ones_like times t", 2)
class OnesLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(3, 8, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        tt = torch.ones_like(y[:, :1]) * t
        return self.net(torch.cat([tt, y], dim=1))


@entry("t times ones", 2, dtype=torch.float32)
class TimesOnes(nn.Module):
    """Ones of the default dtype: users of float32 write it so."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(3, 8, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([t * torch.ones(y.shape[0], 1), y], dim=1))


@entry("t times ones of y's dtype", 2)
class TimesOnesOfDtype(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(3, 8, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        column = t * torch.ones(y.shape[0], 1, dtype=y.dtype, device=y.device)
        return self.net(torch.hstack((y, column)))


@entry("t by full and repeat", 2)
class FullAndRepeat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(4, 8, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        batch_size = y.shape[0]
        once = t.view(1, 1).repeat(batch_size, 1)
        other = t.reshape(1).unsqueeze(0).expand(batch_size, -1).to(y)
        return self.net(torch.cat([y, once, other.square()], dim=-1))


@entry("new_zeros and fill", 2)
class FilledColumns(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(3, 8, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = y.new_zeros(y.shape[0], 3)
        x[:, :2] = y
        x[:, 2] = t
        return self.net(x)


@entry("t added", 3)
class TimeAdded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.fc(y) + t) * (1 - t) + torch.cos(2 * math.pi * t) * torch.exp(-t)


@entry("sinusoidal embedding", 3)
class Sinusoidal(nn.Module):
    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.dim = dim
        self.net = mlp(3 + dim, 12, 3)

    def embed(self, t: Tensor) -> Tensor:
        half = self.dim // 2
        freqs = torch.exp(-math.log(10_000) * torch.arange(half, dtype=t.dtype, device=t.device) / half)
        args = t.reshape(-1, 1) * freqs[None]
        return torch.cat([torch.sin(args), torch.cos(args)], dim=-1)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([y, self.embed(t).expand(y.shape[0], -1)], dim=-1))


@entry("learnt embedding", 3)
class LearntEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 10))
        self.inp, self.out = nn.Linear(3, 10), nn.Linear(10, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        emb = self.time_mlp(t.view(1, 1))
        return self.out(F.silu(self.inp(y) + emb))


@entry("film", 3)
class FiLM(nn.Module):
    """Scale and shift of the hidden layer by a net of time, whose result is split."""

    def __init__(self) -> None:
        super().__init__()
        self.film = nn.Linear(1, 16)
        self.inp, self.out = nn.Linear(3, 8), nn.Linear(8, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        scale, shift = self.film(t[None]).split(8, dim=-1)
        return self.out(torch.tanh(self.inp(y)) * (1 + scale) + shift)


@entry("fourier time with a buffer", 2)
class FourierTime(nn.Module):
    freqs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.arange(1, 4))
        self.net = mlp(2 + 6, 10, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        phase = self.freqs.to(y.dtype) * t
        emb = torch.stack([phase.sin(), phase.cos()], dim=-1).flatten()
        return self.net(torch.cat([y, emb.unsqueeze(0).repeat(len(y), 1)], dim=1))


class ConcatLinear(nn.Module):
    """FFJORD's layers, as its repository has them."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self._layer = nn.Linear(dim_in + 1, dim_out)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        tt = torch.ones_like(x[:, :1]) * t
        return self._layer(torch.cat([tt, x], 1))


class ConcatSquashLinear(nn.Module):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self._layer = nn.Linear(dim_in, dim_out)
        self._hyper_bias = nn.Linear(1, dim_out, bias=False)
        self._hyper_gate = nn.Linear(1, dim_out)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self._hyper_gate(t.view(1, 1)))
        return self._layer(x) * gate + self._hyper_bias(t.view(1, 1))


class HyperLinear(nn.Module):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in, self.dim_out = dim_in, dim_out
        self.params_dim = dim_in * dim_out + dim_out
        self._hypernet = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, self.params_dim))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        params = self._hypernet(t.view(1, 1)).view(self.params_dim)
        b = params[: self.dim_out].view(self.dim_out)
        w = params[self.dim_out :].view(self.dim_out, self.dim_in)
        return F.linear(x, w, b)


class IgnoreLinear(nn.Module):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self._layer = nn.Linear(dim_in, dim_out)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self._layer(x)


class BlendLinear(nn.Module):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self._layer0 = nn.Linear(dim_in, dim_out)
        self._layer1 = nn.Linear(dim_in, dim_out)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        y0, y1 = self._layer0(x), self._layer1(x)
        return y0 + (y1 - y0) * t


class ODEnet(nn.Module):
    def __init__(self, layer: type[nn.Module], dims: tuple[int, ...] = (2, 8, 8, 2)) -> None:
        super().__init__()
        sizes: list[nn.Module] = [layer(i, o) for i, o in itertools.pairwise(dims)]
        self.layers = nn.ModuleList(sizes)
        self.activation_fns = nn.ModuleList([nn.Softplus() for _ in sizes[:-1]])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dx = y
        for i, layer in enumerate(self.layers):
            dx = layer(t, dx)
            if i < len(self.layers) - 1:
                dx = self.activation_fns[i](dx)
        return dx


for _layer in (ConcatLinear, ConcatSquashLinear, HyperLinear, IgnoreLinear, BlendLinear):
    entry(f"ffjord {_layer.__name__}", 2)(lambda layer=_layer: ODEnet(layer))


@entry("float32 ffjord", 2, dtype=torch.float32)
def float32_ffjord() -> nn.Module:
    return ODEnet(ConcatSquashLinear, (2, 16, 2))


@entry("mixture gated by time", 2)
class GatedMixture(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = mlp(2, 6, 2), mlp(2, 6, 2)
        self.sharpness = nn.Parameter(torch.tensor(4.0))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        gate = torch.sigmoid(self.sharpness * (t - 0.5))
        return gate * self.late(y) + (1 - gate) * self.early(y)


@entry("mixture by a soft selection of experts", 2)
class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
        self.centres = nn.Parameter(torch.linspace(0, 1, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        weights = torch.softmax(-((t - self.centres) ** 2) / 0.1, dim=0)
        return sum(w * torch.tanh(e(y)) for w, e in zip(weights, self.experts, strict=True))


@entry("matrix that turns with time", 2)
class TurningMatrix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(1.3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        c, s = torch.cos(self.rate * t), torch.sin(self.rate * t)
        rotation = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
        return y @ rotation.T - 0.1 * y


@entry("basis of time", 2)
class BasisOfTime(nn.Module):
    """Weights as a polynomial in time (Massaroli et al. 2020)."""

    def __init__(self, degree: int = 3) -> None:
        super().__init__()
        self.degree = degree
        self.coefficients = nn.Parameter(0.4 * torch.randn(degree, 2, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        weight = sum(self.coefficients[k] * t**k for k in range(self.degree))
        return torch.tanh(y @ weight)


@entry("forced by torch.where on time", 2)
class Switched(nn.Module):
    """A control that switches, without a branch in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Linear(2, 2)
        self.B = nn.Parameter(torch.ones(2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        u = torch.where(t < 0.5, torch.sin(4 * t), torch.zeros_like(t))
        return torch.tanh(self.A(y)) + u * self.B
