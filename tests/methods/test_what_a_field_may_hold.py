"""Whatever a field holds, a gradient is that of stored stages, or a typed error says why it can't be.

Cases here change the field between solve and gradient; those of `fields_that_hold_things.py` do not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from pynode.errors import FieldChanged, MissingParameters, RandomField
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from tests.methods.fields_that_hold_things import (
    CASES,
    METHODS,
    RANDOM_DRAWS,
    STEPS,
    STORE,
    TS,
    Net,
    Solve,
    case,
    loss_of,
    nn_field,
    normal,
    start,
)

SCALE = torch.tensor([0.4, -0.8], dtype=torch.float64, requires_grad=True)


@case
def graph_set_for_each_interval(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field, y = Net(), start()
    for _ in range(3):
        field.more = normal(5)
        y = solve(field, y)
    return loss_of(y), [*field.parameters()]


@case
def context_set_for_each_interval(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field, encoder, y = Net(), nn.Linear(3, 5).double(), start()
    for _ in range(3):
        field.more = encoder(normal(3))
        y = solve(field, y)
    return loss_of(y), [*encoder.parameters(), *field.parameters()]


@case
def variable_of_a_closure_set_for_each_interval(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    w, y = normal(2, 2).requires_grad_(), start()
    for k in range(3):
        graph = normal(2, 2) + k
        y = solve(lambda t, y: torch.tanh(y @ w) @ graph, y)  # noqa: B023
    return loss_of(y), [w]


@case
def switched_to_eval(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net(nn.BatchNorm1d(5))
    y = solve(field, start())
    field.eval()
    return loss_of(y), [*field.parameters()]


@case
def attribute_changed(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    class Scaled(Net):
        scale = 2.0

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.scale * super().forward(t, y)

    field = Scaled()
    y = solve(field, start())
    field.scale = -1.0
    return loss_of(y), [*field.parameters()]


@case
def layer_replaced(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net()
    wanted = [*field.parameters()]
    y = solve(field, start())
    field.last = nn.Linear(5, 2).double()
    return loss_of(y), wanted


@case
def entry_of_a_list_replaced(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    layers = [nn.Linear(2, 2).double()]
    wanted = [*layers[0].parameters()]
    y = solve(lambda t, y: torch.tanh(layers[0](y)), start())
    layers[0] = nn.Linear(2, 2).double()
    return loss_of(y), wanted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_stored_stages(name: str, method: str) -> None:
    build, (solve, tolerance) = CASES[name], METHODS[method]
    if name in RANDOM_DRAWS and method not in ("recompute", "checkpoint"):
        torch.manual_seed(0)
        with pytest.raises(RandomField, match=r"\.eval\(\)"):
            build(solve)
        return
    gradients = []
    for way in (STORE, solve):
        torch.manual_seed(0)
        loss, wanted = build(way)
        gradients.append(torch.autograd.grad(loss, wanted))
    for got, right in zip(gradients[1], gradients[0], strict=True):
        assert float(right.norm()) > 0
        assert float((got - right).norm()) < tolerance * float(right.norm()) + 1e-12


# --- what can't be had is told ---------------------------------------------------------------------------------------


def changed_weight(field: Net) -> None:
    with torch.no_grad():
        field.first.weight += 1


def loaded_state(field: Net) -> None:
    field.load_state_dict(Net().state_dict())


def optimizer_step(field: Net) -> None:
    for p in field.parameters():
        p.grad = torch.ones_like(p)
    torch.optim.SGD(field.parameters(), 0.1).step()


def new_data(field: Net) -> None:
    field.first.weight.data = field.first.weight.data + 1


@pytest.mark.parametrize("change", [changed_weight, loaded_state, optimizer_step, new_data])
@pytest.mark.parametrize("method", METHODS)
def test_changes_in_place_are_told_or_make_no_difference(change: Callable[[Net], None], method: str) -> None:
    """Torch operators need the values again; the kernels have kept them, and give the gradient at those."""
    field = Net()
    twin = copy.deepcopy(field)
    loss, unchanged = (loss_of(METHODS[method][0](f, start())) for f in (field, twin))
    change(field)
    for p in field.parameters():
        p.grad = None
    try:
        loss.backward()
    except FieldChanged:
        return
    unchanged.backward()
    for changed, plain in zip(field.parameters(), twin.parameters(), strict=True):
        assert changed.grad is not None
        assert plain.grad is not None
        assert torch.equal(changed.grad, plain.grad)


@pytest.mark.parametrize("method", METHODS)
def test_a_changed_global_is_told(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = loss_of(METHODS[method][0](lambda t, y: torch.sin(SCALE * y), start()))
    monkeypatch.setitem(globals(), "SCALE", torch.ones(2, dtype=torch.float64, requires_grad=True))
    with pytest.raises(FieldChanged, match="since the solve"):
        loss.backward()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_read_later_only_is_named(method: str) -> None:
    field, later = Net(), normal(2).requires_grad_()
    field.more, net = [later], Net()

    def switched(t: Tensor, y: Tensor) -> Tensor:
        return net(t, y) if float(t.detach()) < 0.5 else net(t, y) * field.more[0]

    loss = loss_of(METHODS[method][0](switched, start()))
    with pytest.raises(MissingParameters, match=r"more\[0\]"):
        loss.backward()


def test_what_is_read_later_only_can_be_named() -> None:
    w, later = normal(2).requires_grad_(), normal(2).requires_grad_()

    def switched(t: Tensor, y: Tensor) -> Tensor:
        return torch.sin(w * y) if float(t.detach()) < 0.5 else torch.cos(later * y)

    gradients = []
    for method in (DiscOpt(RK4, STEPS), DiscOpt(RK4, STEPS, "recompute")):
        end = method.solve(switched, start(), TS, params=[w, later]).ys[-1]
        gradients.append(torch.autograd.grad(loss_of(end), [w, later]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-11, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_spectral_norm_in_training_is_told(method: str) -> None:
    layer = nn.Linear(6, 6).double()
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.linspace(1.0, 0.9, 6)))  # so that the iteration takes long
    parametrizations.spectral_norm(layer)
    with pytest.raises(RandomField, match=r"parametrize\.cached"):
        METHODS[method][0](nn_field(layer), normal(3, 6))
