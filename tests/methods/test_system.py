"""Only what a specification says is handed to other backends; gradients through Julia behave as torch's own do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument, SolveError, StateMismatch
from pynode.fields.base import Field, system_of
from pynode.fields.mlp import MLP
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.solution import Status

TS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
SPEC = MLP((2, 4, 2))


class Louder(Field):
    """Ten times its specification."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return 10 * super().forward(t, y)


class Foreign(nn.Module):
    """Has something else by the name of `system`."""

    system = "solar"


def hooked() -> Field:
    """A field with a forward hook."""
    field = SPEC.build(seed=0)
    field.register_forward_hook(lambda *_: None)
    return field


@pytest.mark.parametrize(
    "make", [lambda: Louder(SPEC), Foreign, hooked, nn.Identity], ids=["sub", "foreign", "hook", "no"]
)
def test_whatever_computes_something_else_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(InvalidArgument, match="field = "):
        system_of(make())
    assert system_of(SPEC.build(seed=0)).spec is SPEC


@pytest.mark.usefixtures("stand_in_for_julia")
@pytest.mark.parametrize("method", [DiscOptJulia(), OptDiscJulia(rtol=1e-5)])
def test_states_may_be_changed_in_place_and_differentiated_twice(method: DiscOptJulia | OptDiscJulia) -> None:
    y0 = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    ys = method.solve(SPEC.build(seed=0), y0, TS).ys
    (plain,) = torch.autograd.grad(ys.sum(), y0, retain_graph=True)
    (again,) = torch.autograd.grad(ys.sum(), y0, retain_graph=True)
    ys.mul_(2)
    (doubled,) = torch.autograd.grad(ys.sum(), y0)
    assert torch.equal(plain, again)
    assert torch.allclose(doubled, 2 * plain)


@pytest.mark.usefixtures("stand_in_for_julia")
def test_another_dtype_and_a_nan_loss_are_told() -> None:
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(StateMismatch, match="float64"):
        DiscOptJulia().solve(SPEC.build(seed=0), y0.float(), TS)
    with pytest.raises(SolveError) as caught:
        (DiscOptJulia().solve(SPEC.build(seed=0), y0, TS).ys * float("nan")).sum().backward()
    assert caught.value.status is Status.NON_FINITE
