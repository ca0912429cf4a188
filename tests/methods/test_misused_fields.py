"""Mistakes in what a solve is given: typed errors that say what to do, not torch's words from deep inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.errors import InvalidArgument, StateChangedInPlace, StateMismatch
from pynode.methods.base import GradientMethod

TS = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
Y0 = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).reshape(4, 3)
METHODS: dict[str, GradientMethod] = {
    "store": pynode.DiscOpt(steps=2),
    "recompute": pynode.DiscOpt(steps=2, memory="recompute"),
    "checkpoint": pynode.DiscOpt(steps=2, memory="checkpoint"),
    "opt-disc": pynode.OptDisc(rtol=1e-6, atol=1e-8),
    "opt-disc-fixed": pynode.OptDiscFixed(steps=2),
    "ad-adaptive": pynode.AdaptiveAD(rtol=1e-6, atol=1e-8),
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 3).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.net(y)


class InferenceMode(Net):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.inference_mode():
            return super().forward(t, y)


class ChangesTime(Net):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        t.add_(0.1)
        return super().forward(t, y) * t


class OneArgument(Net):
    def forward(self, y: Tensor) -> Tensor:  # type: ignore[override]
        return self.net(y)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("params", ["ab", [1, 2], nn.Linear(2, 2), torch.ones(2), 3.0], ids=str)
def test_params_that_are_no_tensors(method: str, params: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"params = .*not a list of tensors"):
        METHODS[method].solve(Net(), Y0, TS, params=params)
    with pytest.raises(InvalidArgument, match=r"adjoint_params = .*not a list of tensors"):
        pynode.odeint_adjoint(Net(), Y0, TS, adjoint_params=params)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [lambda: Net().float(), lambda: nn.Sequential(Net().float())[0]], ids=["net", "inner"])
def test_a_field_of_another_dtype(method: str, make: Callable[[], nn.Module]) -> None:
    with pytest.raises(StateMismatch, match=r"a state of torch\.float64 .*field\.double\(\)"):
        METHODS[method].solve(make(), Y0, TS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("field", [lambda y: -y, lambda: Y0, OneArgument()], ids=["function", "nothing", "module"])
def test_a_field_of_other_arguments(method: str, field: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"it can't be called as field\(t, y\)"):
        METHODS[method].solve(field, Y0, TS)


def test_a_mistake_inside_a_field_keeps_its_own_words() -> None:
    """Only the call of the field itself is put in other words."""

    def helper() -> None: ...

    def field(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
        helper(1)  # type: ignore[call-arg]
        return y

    with pytest.raises(TypeError, match="helper"):
        METHODS["store"].solve(field, Y0, TS)
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        METHODS["store"].solve(lambda t, y: y @ torch.ones(2, 2).double(), Y0, TS)


@pytest.mark.parametrize("method", METHODS)
def test_a_field_in_inference_mode(method: str) -> None:
    """Its slopes carry no gradient; without a word some methods returned zeros."""
    with pytest.raises(StateMismatch, match="inference_mode"):
        METHODS[method].solve(InferenceMode(), Y0.clone().requires_grad_(), TS)
    with torch.inference_mode():
        assert METHODS[method].solve(Net(), Y0, TS).ys.shape == (3, 4, 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wanted", [False, True])
def test_a_field_that_changes_its_time(method: str, wanted: bool) -> None:
    with pytest.raises(StateChangedInPlace, match="changes its argument t"):
        METHODS[method].solve(ChangesTime(), Y0, TS.clone().requires_grad_(wanted))


@pytest.mark.parametrize("y0", [Y0.to("meta"), Y0.to_sparse()], ids=["meta", "sparse"])
def test_a_state_without_dense_values(y0: Tensor) -> None:
    with pytest.raises(InvalidArgument, match="not a dense tensor with values"):
        METHODS["store"].solve(Net(), y0, TS)


@pytest.mark.parametrize("method", ["opt-disc", "recompute", "opt-disc-fixed"])
@pytest.mark.parametrize("times", [False, True])
def test_the_gradient_field_of_a_potential(method: str, times: bool) -> None:
    """A field that differentiates by its state, and the gradient by the output times as well."""
    weight = torch.eye(3, dtype=torch.float64).mul(0.7).add(0.1).requires_grad_()

    def field(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
        with torch.enable_grad():
            if not y.requires_grad:
                y = y.detach().requires_grad_()
            return -torch.autograd.grad((y @ weight).tanh().square().sum(), y, create_graph=True)[0]

    gradients = []
    for by in (
        pynode.DiscOpt(steps=40),
        {"opt-disc-fixed": pynode.OptDiscFixed(steps=800)}.get(method, METHODS[method]),
    ):
        ts = TS.clone().requires_grad_(times)
        loss = by.solve(field, Y0, ts).ys.square().sum()
        gradients.append(torch.autograd.grad(loss, [weight, ts] if times else [weight]))
    for got, right in zip(*gradients, strict=True):
        torch.testing.assert_close(got, right, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: pynode.LeastSquares(METHODS["store"], Net(), Y0, TS, [1]), "data"),  # type: ignore[arg-type]
        (lambda: pynode.LeastSquares(METHODS["store"], Net(), Y0, None, Y0), "ts"),  # type: ignore[arg-type]
        (lambda: pynode.LeastSquares(METHODS["store"], Net(), 1.0, TS, Y0), "y0"),  # type: ignore[arg-type]
        (lambda: pynode.LeastSquares("rk4", Net(), Y0, TS, Y0), "method"),  # type: ignore[arg-type]
        (lambda: pynode.LeastSquares(METHODS["store"], Net(), Y0, TS, Y0), "data"),
        (lambda: pynode.LeastSquares(METHODS["store"], Net(), Y0, TS[0], Y0), "ts"),
        (lambda: pynode.odeint("f", Y0, TS), "func"),  # type: ignore[arg-type]
        (lambda: pynode.odeint_adjoint(Net, Y0, TS), "func"),  # type: ignore[arg-type]
    ],
)
def test_arguments_of_other_types(call: Callable[[], Any], argument: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert caught.value.argument == argument
