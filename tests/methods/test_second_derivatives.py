"""Gradients of gradients are right, or a typed error; never zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, hvp, jacobian

from pynode.errors import NotTwiceDifferentiable
from pynode.fields.mlp import MLP
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.rk4 import RK4
from pynode.torchdiffeq_interface import odeint_adjoint

TS = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
STORE = DiscOpt(RK4, 5, engine="eager")
RIGHT: dict[str, GradientMethod] = {
    "store, kernels": DiscOpt(RK4, 5),
    "recompute": DiscOpt(RK4, 5, "recompute", engine="eager"),
    "recompute, kernels": DiscOpt(RK4, 5, "recompute"),
    "checkpoint": DiscOpt(RK4, 5, "checkpoint"),
}
REFUSING: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "opt-disc, torch": lambda f, y: OptDisc(engine="eager").solve(f, y, TS).ys[-1],
    "opt-disc, kernels": lambda f, y: OptDisc().solve(f, y, TS).ys[-1],
    "opt-disc-fixed": lambda f, y: OptDiscFixed(RK4, 5).solve(f, y, TS).ys[-1],
    "odeint_adjoint": lambda f, y: odeint_adjoint(f, y, TS)[-1],
}


def field() -> nn.Module:
    return MLP((2, 6, 2)).build(seed=3)


def start() -> Tensor:
    return torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def penalised(end: Callable[[Tensor], Tensor], f: nn.Module) -> Tensor:
    """The gradient by theta of a readout that is linear in the states, and of the size of its own gradient."""
    f.zero_grad()
    x = start().requires_grad_()
    out = end(x).sum(1)
    (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    (out.mean() + 10 * (g.norm(dim=1) - 1).square().mean()).backward()
    return torch.cat([p.grad.reshape(-1) for p in f.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", RIGHT)
def test_a_gradient_penalty_counts(name: str) -> None:
    f = field()
    right, got = (penalised(lambda y, m=m: m.solve(f, y, TS).ys[-1], f) for m in (STORE, RIGHT[name]))  # type: ignore[misc]
    torch.testing.assert_close(got, right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("name", RIGHT)
def test_hessians_and_their_products(name: str, vectorize: bool) -> None:
    f, x, v = field(), start()[0], start()[1]

    def loss(method: GradientMethod) -> Callable[[Tensor], Tensor]:
        return lambda y: method.solve(f, y, TS).ys[-1].square().sum()

    right = hessian(loss(STORE), x)
    assert float(right.norm()) > 0.1
    torch.testing.assert_close(hessian(loss(RIGHT[name]), x, vectorize=vectorize), right, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(hvp(loss(RIGHT[name]), x, v)[1], right @ v, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RIGHT)
def test_third_derivatives(name: str) -> None:
    f = field()
    derivatives = []
    for method in (STORE, RIGHT[name]):
        x = start()[0].requires_grad_()
        y = method.solve(f, x, TS).ys[-1][0]
        for _ in range(2):
            (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        derivatives.append(torch.autograd.grad(y.sum(), x)[0])
    assert float(derivatives[0].norm()) > 1e-3
    torch.testing.assert_close(derivatives[1], derivatives[0], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", RIGHT)
def test_solves_in_a_row_are_counted_once(name: str) -> None:
    """The second state depends on theta by the first solve as well, and the context on an encoder in the field."""
    f = field()
    derivatives = []
    for method in (STORE, RIGHT[name]):
        y = method.solve(f, method.solve(f, start(), TS).ys[-1], TS).ys[-1]
        first = torch.autograd.grad(y.sum(), [*f.parameters()], create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), [*f.parameters()])  # type: ignore[arg-type]
        derivatives.append([*first, *second])
    torch.testing.assert_close(derivatives[1], derivatives[0], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("memory", ["recompute", "checkpoint"])
def test_by_times_and_a_context_of_an_encoder(memory: Any) -> None:
    encoder, net = nn.Linear(3, 2).double(), field()
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    derivatives = []
    for method in (STORE, DiscOpt(RK4, 5, memory)):
        ts, context = TS.clone().requires_grad_(), encoder(x)
        y = method.solve(lambda t, y, c=context: net(t, y) + t * c, start(), ts).ys[-1]  # type: ignore[misc]
        sources = [ts, *encoder.parameters(), *net.parameters()]
        first = torch.autograd.grad(y.sum(), sources, create_graph=True)
        derivatives.append([*first, *torch.autograd.grad(sum(g.square().sum() for g in first), sources)])  # type: ignore[arg-type]
    torch.testing.assert_close(derivatives[1], derivatives[0], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", REFUSING)
def test_continuous_adjoints_refuse(name: str) -> None:
    """Also where the loss is linear in the states, for which torch would give zeros."""
    f, end = field(), REFUSING[name]
    for loss in (lambda y: end(f, y).square().sum(), lambda y: end(f, y).sum()):
        with pytest.raises(NotTwiceDifferentiable, match="use DiscOpt"):
            hessian(loss, start()[0])
    with pytest.raises(NotTwiceDifferentiable):
        penalised(lambda y: end(f, y), f)


@pytest.mark.parametrize("name", REFUSING)
def test_a_first_derivative_may_have_a_graph(name: str) -> None:
    """With `create_graph=True` it is the same, as long as nobody differentiates it; so is a whole Jacobian at once."""
    f, end = field(), REFUSING[name]
    x = start().requires_grad_()
    plain = torch.autograd.grad(end(f, x).square().sum(), x)[0]
    with_graph = torch.autograd.grad(end(f, x).square().sum(), x, create_graph=True)[0]
    assert torch.equal(with_graph, plain)
    rows = jacobian(lambda y: end(f, y), start()[0])
    torch.testing.assert_close(jacobian(lambda y: end(f, y), start()[0], vectorize=True), rows, rtol=1e-9, atol=1e-12)
