"""Multilayer perceptrons: every activation, as a module and as a function, and the usual variations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry

MODULES: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "softplus beta 2": partial(nn.Softplus, beta=2, threshold=5),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu tanh": partial(nn.GELU, approximate="tanh"),
    "relu": nn.ReLU,
    "relu in place": partial(nn.ReLU, inplace=True),
    "relu6": nn.ReLU6,
    "leaky relu": partial(nn.LeakyReLU, 0.2),
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "celu": partial(nn.CELU, 0.7),
    "selu": nn.SELU,
    "mish": nn.Mish,
    "hardtanh": nn.Hardtanh,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "softsign": nn.Softsign,
    "logsigmoid": nn.LogSigmoid,
    "tanhshrink": nn.Tanhshrink,
    "softmax": partial(nn.Softmax, dim=-1),
}

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.tanh": torch.tanh,
    "F.softplus": F.softplus,
    "F.silu": F.silu,
    "F.elu": F.elu,
    "F.gelu": F.gelu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.leaky_relu_": lambda x: F.leaky_relu_(x, 0.1),
    "torch.sin": torch.sin,
    "x.cos()": lambda x: x.cos(),
    "exp(-x**2)": lambda x: torch.exp(-(x**2)),
    "x * sigmoid(x)": lambda x: x * torch.sigmoid(x),
    "swish by hand": lambda x: x / (1 + torch.exp(-x)),
    "square": lambda x: 0.1 * x.square(),
    "atan": torch.atan,
    "log cosh": lambda x: torch.log(torch.cosh(x)),
    "rational": lambda x: x / torch.sqrt(1 + x * x),
    "clamp": lambda x: x.clamp(-1, 1),
    "abs": lambda x: x.abs(),
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "log1p": lambda x: torch.sign(x) * torch.log1p(x.abs()),
    "soft threshold": lambda x: torch.sign(x) * F.relu(x.abs() - 0.2),
    "maximum": lambda x: torch.maximum(x, 0.3 * x),
    "erf": lambda x: torch.special.erf(x),
    "reciprocal": lambda x: torch.reciprocal(1 + x.abs()),
    "rsqrt": lambda x: x * torch.rsqrt(x.pow(2) + 1),
    "sinh": lambda x: torch.sinh(torch.tanh(x)),
    "expm1": lambda x: torch.expm1(-x.abs()),
    "multiplied in place": lambda x: x.mul_(0.5).sigmoid_(),
}


class ActivationNet(nn.Module):
    """Ignores time, as most examples do."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), activation, nn.Linear(8, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


class FunctionNet(nn.Module):
    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(3, 7)
        self.fc2 = nn.Linear(7, 3)
        self.activation = activation

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = self.activation(self.fc1(y))
        return self.fc2(h)


IMPRECISE = ("celu", "hardsigmoid")
"""Torch's backward passes of these have constants in single precision, off by 1e-8 in float64."""

for _name, _module in MODULES.items():
    _refused = "not the derivative of its value" if _name in IMPRECISE else None
    entry(f"nn {_name}", 3, refused=_refused)(lambda module=_module: ActivationNet(module()))
for _name, _function in FUNCTIONS.items():
    entry(_name, 3)(lambda function=_function: FunctionNet(function))


@entry("spiral", 2)
class Spiral(nn.Module):
    """The example of torchdiffeq."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y**3)


@entry("float32 spiral", 2, dtype=torch.float32)
def float32_spiral() -> nn.Module:
    return Spiral()


@entry("no biases", 3)
class NoBiases(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 6, bias=False)
        self.outer = nn.Linear(6, 3, bias=False)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(y)))


@entry("linear alone", 3)
class LinearField(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Linear(3, 3, bias=False)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.A(y)


@entry("deep and narrow", 4)
class DeepNarrow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 16)
        self.hidden = nn.ModuleList([nn.Linear(16, 16) for _ in range(7)])
        self.last = nn.Linear(16, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = torch.tanh(self.first(y))
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        return self.last(x)


@entry("wide", 3)
def wide() -> nn.Module:
    class Wide(nn.Module):
        def __init__(self, width: int = 860) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(3, width), nn.Softplus(), nn.Linear(width, width), nn.Softplus(), nn.Linear(width, 3)
            )

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.layers(y)

    return Wide()


@entry("siren", 3)
class Siren(nn.Module):
    def __init__(self, omega: float = 3.0) -> None:
        super().__init__()
        self.omega = omega
        layers = [nn.Linear(4, 16), nn.Linear(16, 16)]
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(16, 3)
        with torch.no_grad():
            for layer in layers:
                bound = math.sqrt(6 / layer.in_features) / omega
                layer.weight.uniform_(-bound, bound)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = torch.cat((y, t.expand(y.size(0), 1)), dim=-1)
        for layer in self.layers:
            x = torch.sin(self.omega * layer(x))
        return self.head(x)


@entry("fourier features", 3)
class FourierFeatures(nn.Module):
    B: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("B", torch.randn(3, 5))
        self.net = nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        projected = 2 * math.pi * y @ self.B
        return self.net(torch.cat([projected.sin(), projected.cos()], dim=-1))


@entry("glu", 3)
class GatedLinearUnit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(3, 16)
        self.down = nn.Linear(8, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.down(F.glu(self.up(y), dim=-1))


@entry("swiglu by chunks", 3)
class SwiGLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w12 = nn.Linear(3, 12)
        self.w3 = nn.Linear(6, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        gate, value = self.w12(y).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


@entry("shared layer", 3)
class SharedLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.shared, self.out = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = F.elu(self.inp(y))
        x = F.elu(self.shared(x))
        x = F.elu(self.shared(x))
        return self.out(x)


@entry("one layer under two names", 3)
class TwoNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(3, 3)
        self.net = nn.Sequential(layer, nn.Tanh(), layer)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


@entry("tied weights", 4)
class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(8, 4) / 2)
        self.b = nn.Parameter(torch.zeros(8))
        self.c = nn.Parameter(torch.zeros(4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        h = torch.tanh(F.linear(y, self.W, self.b))
        return -F.linear(h, self.W.t(), self.c)


@entry("frozen layers", 3)
class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh())
        self.head = nn.Linear(10, 3)
        self.features.requires_grad_(False)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.head(self.features(y))


@entry("everything frozen", 3)
def everything_frozen() -> nn.Module:
    return ActivationNet(nn.Tanh()).requires_grad_(False)


@entry("parameters that are not used", 3)
class UnusedParameters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
        self.auxiliary = nn.Linear(3, 100)
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


@entry("dense net", 2)
class DenseNet(nn.Module):
    """Every layer sees all earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 + 4 * i, 4) for i in range(3))
        self.out = nn.Linear(14, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        features = [y]
        for layer in self.layers:
            features.append(torch.tanh(layer(torch.cat(features, 1))))
        return self.out(torch.cat(features, 1))


@entry("torch's own transformer mlp style", 3)
class Everyday(nn.Module):
    """Dropout(0.0), Identity and Flatten do nothing, but people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(3, 8), nn.Identity(), nn.GELU(), nn.Dropout(0.0), nn.Linear(8, 3), nn.Tanh()
        )
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.scale * self.net(y)
