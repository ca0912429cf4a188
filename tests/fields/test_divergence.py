"""Tangents and divergence of every field against a Jacobian built by brute force."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pynode.activations import ACTIVATIONS
from pynode.fields import FIELDS
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field, FieldSpec
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.tangents import jacobian_vector_products

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]

T = torch.tensor(0.37, dtype=torch.float64)

SHAPES: list[FieldSpec] = [
    MLP((3, 3)),
    MLP((3, 7, 3), "softplus"),
    MLP((3, 7, 5, 3), "silu"),
    MLP((3, 7, 5, 6, 3), "gelu"),
    MLP((3, 7, 5, 3), "sigmoid", input_power=3),
    ConcatSquash((3, 3)),
    ConcatSquash((3, 7, 3), "softplus"),
    ConcatSquash((3, 7, 5, 3)),
    ConcatSquash((3, 7, 5, 6, 3), "softplus"),
    Antisymmetric(5, "softplus", gamma=0.3),
    Hamiltonian(6, 4, "softplus"),
]


def random_field(spec: FieldSpec) -> Field:
    """A field none of whose parameters is zero."""
    theta = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return spec.build(theta=0.7 * theta)


def random_batch(spec: FieldSpec, n: int = 4) -> Tensor:
    """Some states."""
    return torch.randn((n, spec.state_dim), dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def jacobians(field: Field, y: Tensor) -> Tensor:
    """df/dy of each sample `(batch, dim, dim)`, one sample and one reverse-mode row at a time."""
    return torch.stack([torch.autograd.functional.jacobian(lambda x: field(T, x), sample) for sample in y])


@pytest.mark.parametrize("name", FIELDS.names())
def test_every_registered_field(name: str, small_field: FieldOf, small_state: StateOf) -> None:
    """A new field is held to the same."""
    check_against_brute_force(small_field(name), small_state(name))


@pytest.mark.parametrize("spec", SHAPES, ids=str)
def test_every_closed_form(spec: FieldSpec) -> None:
    """Each number of hidden layers has a formula of its own, and each activation a slope."""
    check_against_brute_force(random_field(spec), random_batch(spec))


def check_against_brute_force(field: Field, y: Tensor) -> None:
    """Value, tangents and trace to 1e-10, for a batch and for a single state."""
    J = jacobians(field, y)
    v = torch.randn((2, *y.shape), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    value, products = field.tangents(T, y, v)
    torch.testing.assert_close(value, field(T, y), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(products, torch.einsum("bij,kbj->kbi", J, v), rtol=1e-10, atol=1e-10)
    value, trace = field.divergence(T, y)
    torch.testing.assert_close(value, field(T, y), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(trace, J.diagonal(dim1=1, dim2=2).sum(1), rtol=1e-10, atol=1e-10)
    value, trace = field.divergence(T, y[0])
    assert trace.shape == ()
    torch.testing.assert_close(trace, J[0].diagonal().sum(), rtol=1e-10, atol=1e-10)
    # the default by forward-mode AD is what a new architecture begins with
    _, generic = FieldSpec.divergence(_Generic(field.spec), dict(field.named_parameters()), T, y)
    torch.testing.assert_close(generic, J.diagonal(dim1=1, dim2=2).sum(1), rtol=1e-10, atol=1e-10)


class _Generic(FieldSpec):
    """A specification that knows its formula only."""

    def __init__(self, inner: FieldSpec) -> None:
        object.__setattr__(self, "inner", inner)

    @property
    def state_dim(self) -> int:
        return self.inner.state_dim  # type: ignore[attr-defined]

    def slots(self):  # type: ignore[no-untyped-def]
        return self.inner.slots()  # type: ignore[attr-defined]

    def evaluate(self, p, t, y):  # type: ignore[no-untyped-def]
        return self.inner.evaluate(p, t, y)  # type: ignore[attr-defined]


@pytest.mark.parametrize("spec", SHAPES, ids=str)
def test_divergence_has_a_gradient(spec: FieldSpec) -> None:
    """By parameters and by the state: training goes through it once, without a graph inside the solve."""
    field, y = random_field(spec), random_batch(spec, 2)
    sources = [p for p in field.parameters() if p.numel() > 1]
    sources[0].data = sources[0].data.clone()

    def total(y: Tensor) -> Tensor:
        value, trace = field.divergence(T, y)
        return (value.square().sum() + trace.square().sum()).reshape(())

    assert torch.autograd.gradcheck(total, y.requires_grad_(), atol=1e-6, rtol=1e-5)
    by_field = torch.autograd.grad(total(y), sources, allow_unused=True)
    index = (0,) * sources[0].ndim
    eps = 1e-6
    with torch.no_grad():
        sources[0][index] += eps
        up = total(y)
        sources[0][index] -= 2 * eps
        down = total(y)
        sources[0][index] += eps
    assert by_field[0] is not None
    assert float(by_field[0][index]) == pytest.approx(float(up - down) / (2 * eps), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_slopes(activation: str) -> None:
    """Each slope is the derivative of its activation."""
    from pynode.activations import value_and_slope

    x = torch.linspace(-6, 6, 61, dtype=torch.float64, requires_grad=True)
    value, slope = value_and_slope(activation, x)
    (expected,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-12)


def test_forward_mode_of_any_function_keeps_the_graph() -> None:
    """A user's own module gets the same treatment, parameters included."""
    layer = torch.nn.Linear(3, 3).double()
    y = torch.randn(5, 3, dtype=torch.float64)
    value, products = jacobian_vector_products(lambda x: torch.sin(layer(x)), y, torch.eye(3).double()[:, None, :])
    assert value.shape == (5, 3)
    assert products.shape == (3, 5, 3)
    (by_weight,) = torch.autograd.grad(products.square().sum(), layer.weight)
    assert float(by_weight.abs().max()) > 0
