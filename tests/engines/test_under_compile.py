"""`torch.compile` around a loss leaves a solve of pynode's own fields to the engine that runs it without."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.engines.fused import unavailable
from pynode.solution import Solution

TS = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
Y0 = torch.linspace(-1.0, 1.0, 8, dtype=torch.float64).reshape(4, 2)
pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler warns of what it does itself
METHODS = {
    "store": pynode.DiscOpt(steps=2),
    "recompute": pynode.DiscOpt(steps=2, memory="recompute"),
    "opt-disc": pynode.OptDisc(rtol=1e-6, atol=1e-8),
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.net(y)


def loss_and_gradients(loss: Callable[[Tensor], Tensor], parameters: list[nn.Parameter]) -> list[Tensor]:
    """The loss, and its gradients by the initial state and the parameters."""
    y0 = Y0.clone().requires_grad_()
    value = loss(y0)
    return [value.detach(), *torch.autograd.grad(value, [y0, *parameters])]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("name", METHODS)
def test_own_fields_keep_their_engine(name: str) -> None:
    """Traced, the kernels would be switched off: seven times slower after half a minute of compiling."""
    field, ran = pynode.MLP((2, 5, 2)).build(seed=0), []

    def loss(y0: Tensor) -> Tensor:
        solution: Solution = METHODS[name].solve(field, y0, TS)
        ran.append(solution.stats.engine)
        return solution.ys.square().mean()

    parameters = list(field.parameters())
    plain = loss_and_gradients(loss, parameters)
    compiled = loss_and_gradients(torch.compile(loss, backend="eager"), parameters)
    assert ran == ["eager" if unavailable() else "fused"] * 2
    for mine, right in zip(compiled, plain, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-12, atol=1e-14)


def test_flows_and_modules_of_the_users_are_right() -> None:
    """A flow of an own field, a flow of a module, and a module by itself: the same numbers as without."""
    net = Net()
    flows = [pynode.Flow.build(pynode.ConcatSquash((2, 6, 2)), seed=0), pynode.Flow([net], 2)]

    def likelihood(flow: pynode.Flow) -> Callable[[Tensor], Tensor]:
        return lambda y0: -flow.log_prob(y0).mean()

    losses = [*map(likelihood, flows), lambda y0: pynode.DiscOpt(steps=2).solve(net, y0, TS).ys.square().mean()]
    for loss, module in zip(losses, [*flows, net], strict=True):
        parameters = list(module.parameters())
        plain = loss_and_gradients(loss, parameters)
        compiled = loss_and_gradients(torch.compile(loss, backend="eager"), parameters)
        for mine, right in zip(compiled, plain, strict=True):
            torch.testing.assert_close(mine, right, rtol=1e-10, atol=1e-12)
