"""Checkpointed solves: few states alive, gradients twice from one graph, outputs that the caller may change."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from pynode.engines.eager.revolve import fewest_advances
from pynode.fields.mlp import MLP
from pynode.grid import StepSize
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.base import Scheme
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.types import State, VectorField

TS = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)


class Wrapped(nn.Module):
    """A small field in a module of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MLP((2, 5, 2)).build(seed=0)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.inner(t, y)


def field_and_state() -> tuple[nn.Module, Tensor]:
    """A field and `y0` (3, 2) that wants a gradient."""
    y0 = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    return Wrapped(), y0


@dataclass(frozen=True)
class Watched(Scheme):
    """A scheme that knows how many of the states that it made without a graph are alive."""

    most: list[int]
    alive: weakref.WeakSet[Tensor]

    def step(self, f: VectorField, y: State, stage_times: Sequence[Tensor], h: StepSize) -> State:
        self.most[0] = max(self.most[0], len(self.alive))
        y_next = super().step(f, y, stage_times, h)
        if not torch.is_grad_enabled():
            self.alive.add(y_next)
        return y_next


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 17, 18, 40])
def test_states_alive_are_the_budget_and_the_one_in_work(budget: int) -> None:
    """At every step of the solve and of the gradient; tensors are counted, not actions."""
    field, y0 = field_and_state()
    scheme = Watched("watched", 1, EULER.a, EULER.b, EULER.c, [0], weakref.WeakSet())
    ys = DiscOpt(scheme, 10, "checkpoint", budget).solve(field, y0, TS).ys
    # between solve and gradient: what the first sweep stored, and the state before the last step
    assert len(scheme.alive) <= min(budget, 18) + 1
    ys.square().sum().backward()
    assert scheme.most[0] == min(budget, 18) + 1
    assert len(scheme.alive) == 0


def test_a_second_gradient_sweeps_once_more() -> None:
    """The first let its states go, as the budget demands; the numbers are the same, and a third time."""
    field, y0 = field_and_state()
    solution = DiscOpt(RK4, 5, "checkpoint", 2).solve(field, y0, TS)
    loss, sources, n = solution.ys.square().sum(), [*field.parameters(), y0], 10
    gradients, evaluations = [], []
    for _ in range(3):
        before = solution.stats.backward.n_f
        gradients.append(torch.autograd.grad(loss, sources, retain_graph=True))
        evaluations.append((solution.stats.backward.n_f - before) // RK4.n_stages)
    assert evaluations == [fewest_advances(n, 2) + 1, *[fewest_advances(n, 2) + n] * 2]
    for others in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], others, strict=True))
    torch.autograd.grad(loss, sources)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, sources)


def test_a_gradient_after_one_that_broke_off() -> None:
    """Ctrl-C in a field, say: half the states are gone, the gradient is right all the same."""

    class Breaks(Wrapped):
        calls = 0

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 60:
                raise KeyboardInterrupt
            return super().forward(t, y)

    field, y0 = Breaks(), field_and_state()[1]
    loss = DiscOpt(RK4, 5, "checkpoint", 2).solve(field, y0, TS).ys.square().sum()
    with pytest.raises(KeyboardInterrupt):
        torch.autograd.grad(loss, y0, retain_graph=True)
    (gradient,) = torch.autograd.grad(loss, y0)
    (wanted,) = torch.autograd.grad(DiscOpt(RK4, 5).solve(field, y0, TS).ys.square().sum(), y0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=0)


def test_outputs_may_be_changed_in_place() -> None:
    """They are the caller's; a gradient with a state that somebody else overwrote would be wrong in silence."""
    grads = []
    for change in (False, True):
        field, y0 = field_and_state()
        ys = DiscOpt(RK4, 5, "checkpoint", 2).solve(field, y0, TS).ys
        weights = ys.detach().clone()
        if change:
            ys.detach().zero_()
        grads.append(torch.autograd.grad(ys, [*field.parameters(), y0], weights))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_a_changed_initial_state_changes_no_gradient() -> None:
    """The gradient is that of the solve, which keeps a state of its own."""
    field, y0 = field_and_state()
    grads = []
    for change in (False, True):
        start = y0 * 1
        ys = DiscOpt(RK4, 5, "checkpoint", 2).solve(field, start, TS).ys
        if change:
            start.detach().zero_()
        grads.append(torch.autograd.grad(ys.square().sum(), [*field.parameters(), y0]))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("times", [TS, TS.flip(0), TS[:2]], ids=["forwards", "backwards", "one interval"])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("budget", [None, 1, 2, 3, 50])
def test_every_budget_has_the_same_gradient(budget: int | None, steps: int, times: Tensor) -> None:
    """By parameters, y0 and times, bit by bit that of the recomputing sweep: the same steps from the same states."""
    grads = []
    for method in (DiscOpt(RK4, steps, "recompute"), DiscOpt(RK4, steps, "checkpoint", budget)):
        (field, y0), ts = field_and_state(), times.clone().requires_grad_()
        ys = method.solve(field, y0, ts).ys
        grads.append(torch.autograd.grad((ys - 0.3).square().sum(), [*field.parameters(), y0, ts]))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
