"""Mistakes with contexts of flows, each an error that names the argument and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.flows.flow import Flow
from tests.flows.conditional import DIM, C, Own, X


class Normed(Own):
    """A module that normalises over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(DIM)

    def forward(self, t: Tensor, z: Tensor, context: Tensor) -> Tensor:
        return super().forward(t, self.norm(z), context)


class Damped(nn.Module):
    """A module of z with a further argument."""

    def forward(self, z: Tensor, rate: float = 1.0) -> Tensor:
        return -rate * z


class Flat(nn.Module):
    """A module that gives a value of another shape."""

    answer: ClassVar[int] = 1

    def forward(self, t: Tensor, z: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        return z[:, : self.answer]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Flow.build(Antisymmetric(2), context=3), "Antisymmetric has no context.*use MLP or ConcatSquash"),
        (lambda: Flow.build(Hamiltonian(2, 4), context=3), "Hamiltonian has no context"),
        (lambda: Flow([MLP((2, 4, 2)).build()], 2, context=3), r"fields\[0\] has 0 columns.*MLP\(..., context=3\)"),
        (lambda: Flow([MLP((2, 4, 2), context=3).build()], 2), "has 3 columns of context; pass context=3"),
        (lambda: Flow([MLP((2, 4, 2), context=3).build()], 5, context=3), "dim = 5: fields.0. is for dim = 2"),
        (lambda: MLP((2, 4, 2), context=-1), "context = -1"),
        (lambda: Flow([nn.Linear(2, 2)], 2, context=3), r"fields\[0\] = Linear: its forward takes no context; write"),
        (
            lambda: Flow([nn.Sequential(nn.Linear(2, 2))], 2, context=3),
            r"Sequential: its forward takes no context; write",
        ),
        (lambda: Flow([nn.Sequential()], 2), r"Sequential: its forward can't be called as f\(t, y\)"),
        (
            lambda: Flow([Damped()], 2),
            r"fields\[0\] = Damped: its forward\(z, rate\) has arguments with defaults, so that t would be taken for "
            r"'z'; write forward\(self, t, y\)",
        ),
        (
            lambda: Flow(list(Flow([Own()], 2, context=3).fields), 4),
            r"context = 0: fields\[0\] is a Own with 3 columns",
        ),
        (
            lambda: Flow(list(Flow([Own()], 2, context=3).fields), 2, context=2),
            "with 3 columns of context; pass context=3",
        ),
        (lambda: Flow([Own()], 2), r"fields\[0\] = Own: its forward can't be called as f\(t, y\).*pass context=k"),
        (lambda: Flow([Flat()], 2, context=3).log_prob(X, C), r"it gives \(6, 1\) for a state of shape \(6, 2\)"),
        (lambda: Flow([Normed()], 2, context=3).double().log_prob(X, C), "normalises over the batch"),
    ],
)
def test_misuse_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        call()
