"""The engine `graph` by a stand-in for CUDA graphs: the numbers of torch operators, and no stale recordings."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.engines.graph import known
from pynode.engines.graph.recordings import KEPT, MOST_RECAPTURES
from pynode.errors import EngineUnavailable
from pynode.flows.probes import Draw
from pynode.schemes import SCHEMES
from tests.conftest import SMALL_SPECS
from tests.devices.conftest import Recorders

TS = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
TIGHT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}


def gradients(method: Any, field: nn.Module, y0: Tensor, **more: Any) -> tuple[Any, list[Tensor]]:
    """The solution, and the gradients of a loss by y0 and all parameters."""
    solution = method.solve(field, y0, TS, **more)
    loss = (solution.ys * torch.linspace(1, 2, solution.ys.numel()).reshape(solution.ys.shape)).sin().sum()
    sources = [y0, *(p for p in field.parameters() if p.requires_grad)]
    return solution, list(torch.autograd.grad(loss, sources))


def alike(field: nn.Module, y0: Tensor, **options: Any) -> None:
    """Asserts that both engines give the same states, gradients and counts."""
    for _ in range(2):
        by_graph, ours = gradients(pynode.DiscOpt(engine="graph", **options), field, y0)
        by_torch, theirs = gradients(pynode.DiscOpt(engine="eager", **options), field, y0)
        assert by_graph.stats.engine == "graph"
        torch.testing.assert_close(by_graph.ys, by_torch.ys, **TIGHT)
        torch.testing.assert_close(ours, theirs, **TIGHT)
        assert by_graph.stats == by_torch.stats
        with torch.no_grad():
            y0 += 0.1
            for p in field.parameters():
                p.mul_(1.1)


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
@pytest.mark.parametrize("name", sorted(SMALL_SPECS))
def test_every_field_and_memory(recorders: Recorders, name: str, memory: str) -> None:
    """States, gradients and counts are those of torch operators, also after parameters and states have changed."""
    field = SMALL_SPECS[name].build(seed=1)
    y0 = torch.randn(5, field.spec.state_dim, dtype=torch.float64).requires_grad_()
    alike(field, y0, scheme=pynode.RK4, steps=3, memory=memory)
    assert known.recordings() == 1
    assert recorders.replayed == 5


@pytest.mark.parametrize("name", SCHEMES.names())
def test_every_scheme(recorders: Recorders, name: str) -> None:
    """All schemes, with a number of steps for each interval."""
    field = SMALL_SPECS["mlp"].build(seed=1)
    y0 = torch.randn(4, 2, dtype=torch.float64).requires_grad_()
    alike(field, y0, scheme=SCHEMES.load(name), steps=[1, 2])
    assert recorders.replayed


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("divergence", [pynode.Exact(), pynode.Hutchinson()])
def test_flows(recorders: Recorders, divergence: Any, own: bool) -> None:
    """A flow's log-density and gradients, with other probes at every solve, for pynode's fields and a user's module."""
    field = Own() if own else SMALL_SPECS["concatsquash"].build(seed=1)
    flow = pynode.Flow([field], 2, divergence=divergence)
    x = torch.randn(6, 2, dtype=torch.float64)
    for iteration in range(3):
        results: list[Any] = []
        for engine in ("graph", "eager"):
            method = pynode.DiscOpt(pynode.RK4, steps=2, engine=engine)
            log_prob = flow.log_prob(x, method=method, draw=Draw(0, iteration))
            results.append([log_prob.detach(), *torch.autograd.grad(log_prob.sum(), list(flow.parameters()))])
        torch.testing.assert_close(results[0], results[1], **TIGHT)
        x = x + 0.1
    assert known.recordings() == 1
    assert recorders.replayed == 7


def test_flows_with_a_context(recorders: Recorders) -> None:
    """One recording serves all contexts."""
    flow = pynode.Flow.build(pynode.ConcatSquash((2, 6, 2)), context=3, seed=1)
    x, context = torch.randn(6, 2, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64).requires_grad_()
    for _ in range(3):
        results: list[Any] = []
        for engine in ("graph", "eager"):
            log_prob = flow.log_prob(x, context, method=pynode.DiscOpt(pynode.RK4, steps=2, engine=engine))
            results.append([log_prob.detach(), *torch.autograd.grad(log_prob.sum(), [context, *flow.parameters()])])
        torch.testing.assert_close(results[0], results[1], **TIGHT)
        with torch.no_grad():
            context += 0.1
    assert known.recordings() == 1
    assert recorders.replayed


class Own(nn.Module):
    """A module of a user's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        self.factor = 1.0
        self.shift: Tensor
        self.register_buffer("shift", torch.ones(2, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """A small net."""
        return self.factor * self.net(y + t) + self.shift


def test_a_module_that_changes_is_recorded_anew(recorders: Recorders) -> None:
    """Attributes, replaced tensors and shapes make another recording; buffers changed in place are read anew."""
    field, y0 = Own(), torch.randn(3, 2, dtype=torch.float64).requires_grad_()
    alike(field, y0)
    assert len(recorders.every) == 1
    field.shift.mul_(2)
    alike(field, y0)
    assert len(recorders.every) == 1
    field.factor = 0.5
    alike(field, y0)
    assert len(recorders.every) == 2
    field.shift = torch.zeros(2, dtype=torch.float64)
    alike(field, y0)
    assert len(recorders.every) == 3
    field.net[0].weight = nn.Parameter(torch.randn(4, 2, dtype=torch.float64))
    alike(field, y0)
    assert len(recorders.every) == 4
    alike(field, torch.randn(4, 2, dtype=torch.float64).requires_grad_())
    assert len(recorders.every) == 5


def test_two_solves_in_flight(recorders: Recorders) -> None:
    """Gradients are those of their own solves, in any order, and twice where the graph is retained."""
    field = SMALL_SPECS["mlp"].build(seed=1)
    starts = [torch.randn(3, 2, dtype=torch.float64).requires_grad_() for _ in range(3)]
    results: dict[str, Any] = {}
    for engine in ("graph", "eager"):
        method = pynode.DiscOpt(pynode.RK4, steps=2, engine=engine)
        losses = [method.solve(field, y0, TS).ys.square().sum() for y0 in starts]
        order = (1, 0, 2, 1)
        results[engine] = [torch.autograd.grad(losses[k], starts[k], retain_graph=True)[0] for k in order]
        together = torch.stack(losses).sum()
        results[engine] += torch.autograd.grad(together, list(field.parameters()))
    torch.testing.assert_close(results["graph"], results["eager"], **TIGHT)
    assert known.recordings() == 1
    assert len(recorders.every) == 1


def test_gradients_are_not_overwritten(recorders: Recorders) -> None:
    """States and gradients that were handed out keep their values when the recording is replayed."""
    field = SMALL_SPECS["mlp"].build(seed=1)
    y0 = torch.randn(3, 2, dtype=torch.float64).requires_grad_()
    method = pynode.DiscOpt(engine="graph")
    solution, first = gradients(method, field, y0)
    copies = [x.detach().clone() for x in (solution.ys, *first)]
    gradients(method, field, (2 * y0).detach().requires_grad_())
    torch.testing.assert_close([solution.ys.detach(), *first], copies, rtol=0, atol=0)
    assert recorders.replayed == 5


def test_parameters_changed_before_the_gradient_are_an_error(recorders: Recorders) -> None:
    """As with torch operators: the gradient would be another solve's."""
    field = SMALL_SPECS["mlp"].build(seed=1)
    y0 = torch.randn(3, 2, dtype=torch.float64).requires_grad_()
    loss = pynode.DiscOpt(engine="graph").solve(field, y0, TS).ys.sum()
    with torch.no_grad():
        next(field.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    assert recorders.replayed


def test_second_derivatives(recorders: Recorders) -> None:
    """A gradient of the gradient is that of torch operators."""
    field = SMALL_SPECS["mlp"].build(seed=1)
    y0 = torch.randn(2, 2, dtype=torch.float64).requires_grad_()
    results: list[Any] = []
    for engine in ("graph", "eager"):
        ys = pynode.DiscOpt(pynode.RK4, engine=engine).solve(field, y0, TS).ys
        sources = [y0, *field.parameters()]
        first = torch.autograd.grad(ys.square().sum(), sources, create_graph=True)
        results.append(torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), sources))
    torch.testing.assert_close(results[0], results[1], **TIGHT)
    assert recorders.replayed


def test_without_gradients(recorders: Recorders) -> None:
    """A solve under no_grad is recorded without a gradient."""
    field = SMALL_SPECS["mlp"].build(seed=1)
    y0 = torch.randn(3, 2, dtype=torch.float64)
    with torch.no_grad():
        ours = pynode.DiscOpt(engine="graph").solve(field, y0, TS).ys
    assert not ours.requires_grad
    assert recorders.replayed == 2
    torch.testing.assert_close(ours, pynode.DiscOpt(engine="eager").solve(field, y0, TS).ys.detach(), **TIGHT)


class Branching(Own):
    """Control flow by values."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Another formula where the state is large."""
        return super().forward(t, y) if y.abs().max() < 1e3 else -y


class Dropping(Own):
    """Random numbers."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """With dropout."""
        return nn.functional.dropout(super().forward(t, y), 0.5)


class Remembering(Own):
    """A state of Python's."""

    last: Any = 0.0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Alternates between two formulas."""
        self.factor = -self.factor
        return super().forward(t, y)


OUTSIDE = nn.Parameter(torch.ones(2, dtype=torch.float64))


class Reading(Own):
    """A parameter of nobody's."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Reads a global."""
        return super().forward(t, y) * OUTSIDE


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Branching, "the host reads a value"),
        (Dropping, "random"),
        (Remembering, "factor"),
        (Reading, "none of its parameters"),
        (lambda: lambda t, y: -y, "a function"),
    ],
)
def test_what_a_recording_can_not_stand_for(recorders: Recorders, make: Callable[[], Any], reason: str) -> None:
    """The reason is told; nothing is replayed."""
    y0 = torch.randn(3, 2, dtype=torch.float64)
    with pytest.raises(EngineUnavailable, match=reason):
        pynode.DiscOpt(engine="graph").solve(make(), y0, TS)
    assert recorders.replayed == 0


def test_recordings_are_bounded_and_die_with_their_module(recorders: Recorders) -> None:
    """No more than a number of recordings is kept, a module of ever new shapes is left alone, a dead one forgotten."""
    field = SMALL_SPECS["mlp"].build(seed=1)
    method = pynode.DiscOpt(engine="graph")
    for n in range(1, MOST_RECAPTURES + 1):
        method.solve(field, torch.ones(n, 2, dtype=torch.float64), TS)
    with pytest.raises(EngineUnavailable, match="change from solve to solve"):
        method.solve(field, torch.ones(99, 2, dtype=torch.float64), TS)
    assert 0 < known.recordings() <= KEPT
    del field
    gc.collect()
    assert known.recordings() == 0
    assert recorders.every


def test_without_a_gpu_the_reason_is_told() -> None:
    """The engine names what is missing."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    field = SMALL_SPECS["mlp"].build(seed=1)
    with pytest.raises(EngineUnavailable, match="GPU"):
        pynode.DiscOpt(engine="graph").solve(field, torch.ones(2, dtype=torch.float64), TS)
