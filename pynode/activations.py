"""Activations by name with their slopes, all smooth, as Taylor tests and high-order schemes require.

Formulas (the same on every backend): tanh; softplus(x) = log(1 + e^x); sigmoid; silu(x) = x sigmoid(x);
gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pynode.errors import UnknownName

Slope = Callable[[Tensor, Tensor], Tensor]
"""`slope(x, act(x)) -> act'(x)`, elementwise."""


def _softplus(x: Tensor) -> Tensor:
    # torch's default threshold of 20 puts a jump of 2e-9 into a float64 field; beyond 40 the linear branch is exact
    return F.softplus(x, threshold=40.0)


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _silu_slope(x: Tensor, a: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s + a * (1 - s)


def _gelu_slope(x: Tensor, a: Tensor) -> Tensor:  # noqa: ARG001
    inner = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return (1 + inner) / 2 + x / 2 * (1 - inner * inner) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "softplus": _softplus,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": _gelu,
}

SLOPES: dict[str, Slope] = {
    "tanh": lambda x, a: 1 - a * a,  # noqa: ARG005
    "softplus": lambda x, a: torch.sigmoid(x),  # noqa: ARG005
    "sigmoid": lambda x, a: a * (1 - a),  # noqa: ARG005
    "silu": _silu_slope,
    "gelu": _gelu_slope,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The elementwise function called `name`; raises `UnknownName`."""
    if not isinstance(name, str) or name not in ACTIVATIONS:  # from a file it may be anything
        raise UnknownName("activation", str(name), ACTIVATIONS)
    return ACTIVATIONS[name]


def value_and_slope(name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """act(x) and act'(x) for the activation called `name`, both of the shape of `x`."""
    a = activation(name)(x)
    return a, SLOPES[name](x, a)
