"""Gradients are not lost in silence, and nobody is blamed for tensors that are no part of the field."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import SolveError, StateMismatch
from pynode.fields.mlp import MLP
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.rk4 import RK4
from pynode.solution import Status
from pynode.torchdiffeq_interface import odeint

TS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
REBUILDING: list[GradientMethod] = [
    OptDisc(),
    DiscOpt(RK4, 4, "recompute"),
    DiscOpt(RK4, 4, "checkpoint"),
    OptDiscFixed(RK4, 4),
    OptDiscFixed(RK4, 4, "backward-euler"),
]


def name(method: GradientMethod) -> str:
    """For the test's own name."""
    return method.label


@pytest.mark.parametrize("method", REBUILDING, ids=name)
def test_an_encoder_before_the_solve_is_not_blamed(method: GradientMethod) -> None:
    encoder = nn.Linear(3, 2).double()
    x = torch.ones(4, 3, dtype=torch.float64)
    method.solve(lambda t, y: -y, encoder(x), TS).ys[-1].sum().backward()
    # y(1) is about e^-1 y(0), so the bias gets 4 e^-1
    assert encoder.bias.grad is not None
    torch.testing.assert_close(encoder.bias.grad, torch.full((2,), 1.4715, dtype=torch.float64), rtol=0.3, atol=0)


@pytest.mark.parametrize("method", REBUILDING, ids=name)
def test_parameters_that_are_computed_get_their_gradient(method: GradientMethod) -> None:
    w = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    doubled = 2 * w
    one = torch.ones(1, dtype=torch.float64)
    method.solve(lambda t, y: doubled * y, one, TS, params=[doubled]).ys[-1].sum().backward()
    assert w.grad is not None
    assert float(w.grad) == pytest.approx(2 * 1.8221, rel=0.2)  # 2 e^0.6; the fixed adjoints are of first order


@pytest.mark.parametrize("method", REBUILDING, ids=name)
def test_plain_callables_on_tuples_get_their_gradient(method: GradientMethod) -> None:
    net = nn.Linear(2, 2).double()
    y0 = (torch.ones(2, dtype=torch.float64),)

    def func(t: Tensor, y: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ARG001
        return (net(y[0]),)

    gradients = [
        torch.autograd.grad(odeint(func, y0, TS, method=which)[0][-1].sum(), [net.weight, net.bias])
        for which in (method, DiscOpt(RK4, 4))
    ]
    for got, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0.3, atol=0)  # the fixed adjoints are of first order


def test_parts_of_a_tuple_must_fit() -> None:
    y0 = (torch.zeros(2), torch.ones(3))
    ts = torch.tensor([0.0, 1.0])
    for how in ("rk4", "dopri5", DiscOpt()):
        with pytest.raises(StateMismatch, match="shape"):
            odeint(lambda t, y: (y[1], y[0]), y0, ts, method=how)
        with pytest.raises(StateMismatch, match="1 parts, but y0 is a tuple of 2"):
            odeint(lambda t, y: (y[0],), y0, ts, method=how)


def test_a_singular_backward_euler_step_is_a_failed_solve() -> None:
    """f = y with h = 1: I - h J^T is zero."""
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    ys = OptDiscFixed(RK4, 1, "backward-euler").solve(lambda t, y: y, y0, ts).ys
    with pytest.raises(SolveError) as caught:
        ys.sum().backward()
    assert caught.value.status is Status.LINEAR_SOLVE


def test_stiff_float32_systems_are_solved_by_gmres() -> None:
    """A heat equation with 100 points: h |J| is about 4,000."""
    n = 100
    eye = torch.eye(n)
    laplacian = (eye.roll(1, 0) + eye.roll(-1, 0) - 2 * eye) * 1e4
    y0 = torch.ones(n, requires_grad=True)
    ts = torch.tensor([0.0, 0.1])
    method = OptDiscFixed(RK4, 1, "backward-euler")
    ys = method.solve(lambda t, y: laplacian @ y, y0, ts).ys
    (gradient,) = torch.autograd.grad(ys[-1].sum(), y0)
    torch.testing.assert_close(gradient, torch.ones(n), rtol=0, atol=0.05)


def test_the_last_time_is_not_rounded_to_float32() -> None:
    seen: list[float] = []

    def f(t: Tensor, y: Tensor) -> Tensor:
        seen.append(float(t))
        return -y

    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 1.2], dtype=torch.float64)
    OptDiscFixed(RK4, 1).solve(f, y0, ts).ys.sum().backward()
    assert max(seen) == 1.2


@pytest.mark.parametrize("method", [DiscOpt(steps=20), OptDisc()], ids=name)
def test_scalar_states_fail_and_differentiate_like_others(method: GradientMethod) -> None:
    two = torch.tensor(2.0, dtype=torch.float64)
    with pytest.raises(SolveError):
        method.solve(lambda t, y: y**9 * 1e30, two, TS)
    ts = TS.clone().requires_grad_()
    (by_ts,) = torch.autograd.grad(method.solve(lambda t, y: -y, two, ts).ys[-1], ts)
    assert float(by_ts[-1]) == pytest.approx(-2 * 0.36788, rel=1e-4)


def test_a_field_says_what_state_it_wants() -> None:
    field = MLP((2, 3, 2)).build(seed=0)
    for y0 in (torch.ones(4, 3, dtype=torch.float64), torch.ones(4, 2)):
        with pytest.raises(StateMismatch, match=r"needs \(\.\.\., 2\) and torch.float64"):
            DiscOpt().solve(field, y0, TS)


def test_odeint_keeps_its_promises() -> None:
    ts = torch.tensor([0.0, 1.0])
    with pytest.raises(SolveError, match="NaN or infinite"):
        odeint(lambda t, y: y**9 * 1e30, torch.tensor([2.0]), ts, method="rk4")
    with pytest.raises(ValueError, match="not a floating point dtype"):
        odeint(lambda t, y: y, torch.tensor([2]), ts)

    def own(t: Tensor, y: Tensor) -> Tensor:
        assert float(t) < 0.5, "my own assertion"
        return y

    with pytest.raises(AssertionError, match="my own assertion"):
        odeint(own, torch.ones(1), ts)
