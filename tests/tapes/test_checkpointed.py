"""Capturing inside `torch.utils.checkpoint`, or under other hooks on saved tensors: nobody sees what it evaluates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

import pynode
from pynode.tapes.captured import forget_captures

METHODS = [
    pynode.DiscOpt(pynode.RK4, steps=4),
    pynode.DiscOpt(pynode.RK4, steps=4, memory="recompute"),
    pynode.OptDisc(rtol=1e-6, atol=1e-8),
]
TS = torch.linspace(0, 1, 3, dtype=torch.float64)


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    forget_captures()
    yield
    forget_captures()


class Net(nn.Module):
    """A user's module."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002 (autonomous)
        value: Tensor = self.net(y)
        return value


class Potential(Net):
    """It differentiates inside itself, so that an evaluation without a graph needs one too."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002 (autonomous)
        with torch.enable_grad():
            x = y if y.requires_grad else y.detach().requires_grad_()
            energy = self.net(x).square().sum()
            (slope,) = torch.autograd.grad(energy, x, create_graph=True)
        return -slope


def gradients(field: nn.Module, y0: Tensor, states: Tensor) -> list[Tensor]:
    states.square().sum().backward()
    assert y0.grad is not None
    return [y0.grad, *(p.grad for p in field.parameters() if p.grad is not None)]


@pytest.mark.parametrize("method", METHODS, ids=["stored", "recomputed", "adaptive"])
@pytest.mark.parametrize("kind", [Net, Potential])
@pytest.mark.parametrize("reentrant", [False, True])
def test_the_first_solve_of_a_module_may_be_checkpointed(kind: Any, method: Any, reentrant: bool) -> None:
    start = torch.randn(16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y0 = start.clone().requires_grad_()
    field = kind()
    states: Any = checkpoint(lambda y: method.solve(field, y, TS).ys, y0, use_reentrant=reentrant)
    checkpointed = gradients(field, y0, states)
    engine = pynode.explain(field, start).engine
    again, other = start.clone().requires_grad_(), kind()
    expected = gradients(other, again, method.solve(other, again, TS).ys)
    torch.testing.assert_close(checkpointed, expected, rtol=1e-10, atol=1e-12)
    assert engine == pynode.explain(other, start).engine, "the checkpoint has left no mark"


def test_hooks_of_the_user_see_no_evaluation_of_the_capture() -> None:
    """Only what the solve itself saves, as in a second solve."""
    field, y0 = Net(), torch.ones(3, 2, dtype=torch.float64)
    counts = []
    for _ in range(2):
        seen: list[Tensor] = []

        def pack(x: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(x)
            return x

        with saved_tensors_hooks(pack, lambda x: x):
            METHODS[0].solve(field, y0, TS)
        counts.append(len(seen))
    assert counts[0] == counts[1] < 10
