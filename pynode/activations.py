"""Activations by name, all smooth, so that Taylor tests and high-order schemes mean something.

Formulas (the same on every backend): tanh; softplus(x) = log(1 + e^x); sigmoid; silu(x) = x sigmoid(x);
gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pynode.errors import UnknownName


def _softplus(x: Tensor) -> Tensor:
    # torch's default threshold of 20 puts a jump of 2e-9 into a float64 field; beyond 40 the linear branch is exact
    return F.softplus(x, threshold=40.0)


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "softplus": _softplus,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": _gelu,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The elementwise function called `name`; raises `UnknownName`."""
    if name not in ACTIVATIONS:
        raise UnknownName("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
