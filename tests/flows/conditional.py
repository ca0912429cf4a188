"""Conditional flows that tests share, of specifications and of modules of a user's own, with points and contexts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pynode.fields.base import FieldSpec
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.flow import Flow

DIM, COLUMNS = 2, 3


class Own(nn.Module):
    """A module of a user's: f(t, z, context)."""

    def __init__(self, columns: int = COLUMNS) -> None:
        super().__init__()
        self.first = nn.Linear(DIM + columns + 1, 12)
        self.last = nn.Linear(12, DIM)

    def forward(self, t: Tensor, z: Tensor, context: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(torch.cat((z, context, t.expand(len(z), 1)), dim=1))))


class Gated(nn.Module):
    """Another: the context scales what a net of z gives, and its value at zero is the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(DIM, 8), nn.SiLU(), nn.Linear(8, DIM))
        self.gate = nn.Linear(COLUMNS, DIM)

    def forward(self, t: Tensor, z: Tensor, context: Tensor) -> Tensor:
        return self.net(z) * torch.sigmoid(self.gate(context)) * (1 - 0.5 * t)


def own(kind: Callable[[], nn.Module], **options: Any) -> Flow:
    """A flow of two modules."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Flow([kind().double(), kind().double()], DIM, context=COLUMNS, seed=1, **options)


def built(spec: FieldSpec, **options: Any) -> Flow:
    """A flow of two fields."""
    return Flow.build(spec, context=COLUMNS, blocks=2, seed=1, **options)


FLOWS: dict[str, Callable[..., Flow]] = {
    "concatsquash": lambda **o: built(ConcatSquash((DIM, 10, 10, DIM)), **o),
    "deep": lambda **o: built(ConcatSquash((DIM, 6, 6, 6, DIM), "softplus"), **o),
    "mlp": lambda **o: built(MLP((DIM, 10, DIM)), **o),
    "power": lambda **o: built(MLP((DIM, 6, DIM), input_power=2), horizon=0.3, **o),
    "linear": lambda **o: built(MLP((DIM, DIM)), **o),
    "own": lambda **o: own(Own, **o),
    "gated": lambda **o: own(Gated, **o),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Some numbers."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, C = normal(6, DIM), normal(6, COLUMNS, seed=1)
