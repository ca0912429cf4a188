"""Whatever a field holds, a gradient is that of stored stages, or a typed error says why it can't be.

Each case builds a field anew, solves, perhaps changes something, and takes the gradient by all that wants one.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune

from pynode.errors import FieldChanged, MissingParameters, RandomField
from pynode.gradients.base import GradientMethod
from pynode.gradients.disc_opt import DiscOpt
from pynode.gradients.opt_disc import OptDisc
from pynode.gradients.opt_disc_fixed import OptDiscFixed
from pynode.schemes.rk4 import RK4
from pynode.torchdiffeq_interface import odeint_adjoint

TS = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
STEPS = 20

Solve = Callable[[Any, Tensor], Tensor]
"""From a field and an initial state to the state at the end."""
Case = Callable[[Solve], tuple[Tensor, list[Tensor]]]
"""From a way to solve to a loss, and the tensors that its gradient is taken by."""


def end_by(method: GradientMethod) -> Solve:
    return lambda field, y0: method.solve(field, y0, TS).ys[-1]


def end_by_adjoint(field: Any, y0: Tensor) -> Tensor:
    params: dict[str, Any] = {} if isinstance(field, nn.Module) else {"adjoint_params": ()}
    result: Tensor = odeint_adjoint(field, y0, TS, **params)[-1]
    return result


METHODS: dict[str, tuple[Solve, float]] = {
    "recompute": (end_by(DiscOpt(RK4, STEPS, "recompute")), 1e-11),
    "checkpoint": (end_by(DiscOpt(RK4, STEPS, "checkpoint", budget=3)), 1e-11),
    "opt-disc": (end_by(OptDisc(rtol=1e-8, atol=1e-10, engine="eager")), 1e-5),
    # the adjoint by itself is of first order
    "opt-disc-fixed": (end_by(OptDiscFixed(RK4, 400)), 0.02),
    "odeint_adjoint": (end_by_adjoint, 1e-5),
}
STORE = end_by(DiscOpt(RK4, STEPS))
RANDOM_DRAWS = ("dropout",)

CASES: dict[str, Case] = {}


def case(build: Case) -> Case:
    CASES[build.__name__.replace("_", " ")] = build
    return build


class Net(nn.Module):
    """Two layers, and `more` to be added to the hidden one."""

    def __init__(self, *between: nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 5).double(), nn.Linear(5, 2).double()
        self.between = nn.Sequential(*between).double()
        self.more: Any = None

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        hidden = self.first(y) if self.more is None else self.first(y) + self.more
        value: Tensor = self.last(self.between(torch.tanh(hidden)))
        return value


def start() -> Tensor:
    return torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def loss_of(y: Tensor) -> Tensor:
    return (y - 0.3).square().sum()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@case
def parameters(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net()
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def buffer(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net()
    field.register_buffer("offset", normal(5))
    field.more = field.offset
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def context_that_is_a_leaf(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field, context = Net(), normal(5).requires_grad_()
    field.more = context
    return loss_of(solve(field, start())), [context, *field.parameters()]


@case
def context_of_an_encoder(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field, encoder = Net(), nn.Linear(3, 5).double()
    field.more = encoder(normal(6, 3))
    return loss_of(solve(field, start())), [*encoder.parameters(), *field.parameters()]


@case
def context_of_an_encoder_in_the_field(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    """The context and the parameters that it was computed from are both in reach."""
    field = Net()
    field.encoder = nn.Linear(3, 5).double()
    field.more = field.encoder(normal(6, 3))
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def context_computed_from_a_layer_that_is_read_as_well(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net()
    field.more = torch.tanh(field.first.weight).sum(1)
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def two_contexts_of_one_encoder(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field, encoder = Net(), nn.Linear(3, 10).double()
    one, other = encoder(normal(3)).chunk(2)
    field.more = one
    return loss_of(solve(lambda t, y: field(t, y) * other[:2], start())), [*encoder.parameters(), *field.parameters()]


@case
def layers_in_a_list(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(2, 4).double(), nn.Tanh(), nn.Linear(4, 2).double()]

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return functools.reduce(lambda x, layer: layer(x), self.layers, y)

    field = Hidden()
    return loss_of(solve(field, start())), [p for layer in field.layers for p in layer.parameters()]


@case
def layers_in_a_dict(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field, layers = Net(), {"in": nn.Linear(2, 2).double()}
    field.layers = layers
    return loss_of(solve(lambda t, y: field(t, field.layers["in"](y)), start())), [*layers["in"].parameters()]


@case
def closure(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    scale, net = normal(2).requires_grad_(), Net()
    return loss_of(solve(lambda t, y: scale * net(t, y), start())), [scale, *net.parameters()]


SCALE = torch.tensor([0.4, -0.8], dtype=torch.float64, requires_grad=True)


@case
def global_variable(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    return loss_of(solve(lambda t, y: torch.sin(SCALE * y), start())), [SCALE]


@case
def object_with_a_call(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    class Plain:
        def __init__(self) -> None:
            self.w = normal(2, 2).requires_grad_()

        def __call__(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.tanh(y @ self.w) - t * y

    field = Plain()
    return loss_of(solve(field, start())), [field.w]


@case
def bound_method(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    net = Net()
    return loss_of(solve(net.forward, start())), [*net.parameters()]


@case
def partial_function(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    w = normal(2, 2).requires_grad_()
    return loss_of(solve(functools.partial(lambda w, t, y: torch.tanh(y @ w), w), start())), [w]


@case
def parametrization(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    class Skew(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return w - w.T

    layer = nn.Linear(2, 2).double()
    parametrize.register_parametrization(layer, "weight", Skew())
    return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


def nn_field(layer: nn.Module) -> nn.Module:
    """A module of t and y that applies `layer` to y."""

    class Applied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            value: Tensor = self.layer(y)
            return value

    return Applied()


@case
def cached_parametrization(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    layer = parametrizations.weight_norm(nn.Linear(2, 2).double())
    with parametrize.cached():
        return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


@case
def weight_norm(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    layer = parametrizations.weight_norm(nn.Linear(2, 2).double())
    return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


@case
def weight_norm_by_a_hook(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    with pytest.warns(FutureWarning, match="weight_norm"):
        layer = nn.utils.weight_norm(nn.Linear(2, 2).double())
    return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


@case
def spectral_norm_in_eval_mode(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    layer = parametrizations.spectral_norm(nn.Linear(2, 2).double()).eval()
    return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


@case
def pruned_layer(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net()
    prune.random_unstructured(field.first, "weight", 0.5)
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def functional_call_with_leaves(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    net = Net()
    leaves = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    return loss_of(solve(lambda t, y: functional_call(net, leaves, (t, y)), start())), [*leaves.values()]


@case
def functional_call_of_a_hypernet(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    net, hyper = nn_field(nn.Linear(2, 2).double()), nn.Linear(3, 6).double()
    out = hyper(normal(3))
    weights = {"layer.weight": out[:4].reshape(2, 2), "layer.bias": out[4:]}
    return loss_of(solve(lambda t, y: functional_call(net, weights, (t, y)), start())), [*hyper.parameters()]


@case
def copied_field(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = copy.deepcopy(Net())
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def replica(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    """As of `DataParallel`: its parameters are plain attributes, and no leaves."""
    field = Net()
    twin = copy.deepcopy(field)
    for path, p in list(field.named_parameters()):
        owner, _, name = path.rpartition(".")
        module = twin.get_submodule(owner)
        del module._parameters[name]
        setattr(module, name, p * 1.0)
    assert not list(twin.parameters())
    return loss_of(solve(twin, start())), [*field.parameters()]


@case
def tied_weights(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net()
    field.last.weight = field.first.weight
    field.between = nn.Sequential(nn.Linear(5, 2).double())
    field.last = nn.Linear(2, 2).double()
    field.last.weight = nn.Parameter(field.between[0].weight[:, :2].detach().clone())
    field.between[0].bias = field.last.bias
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def frozen_parameters(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net()
    field.first.requires_grad_(False)
    return loss_of(solve(field, start())), [*field.last.parameters()]


@case
def counter_and_log(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    class Counting(Net):
        nfe = 0

        def __init__(self) -> None:
            super().__init__()
            self.log: list[float] = []
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            self.nfe = self.nfe + 1
            self.log.append(float(t.detach()))
            self.calls += 1
            return super().forward(t, y)

    field = Counting()
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def context_cached_at_the_first_call(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    class Lazy(Net):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.x = nn.Linear(3, 5).double(), normal(3)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            if self.more is None:
                self.more = self.encoder(self.x)
            return super().forward(t, y)

    field = Lazy()
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def gradient_of_a_potential(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    class Potential(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            with torch.enable_grad():
                y = y if y.requires_grad else y.detach().requires_grad_()
                return -torch.autograd.grad(self.net(y).sum(), y, create_graph=True)[0]

    field = Potential()
    return loss_of(solve(field, start())), [*field.net[0].parameters(), field.net[2].weight]


@case
def batch_norm_in_training(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net(nn.BatchNorm1d(5))
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def dropout(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net(nn.Dropout(0.5))
    return loss_of(solve(field, start())), [*field.parameters()]


# --- changed between solve and gradient ------------------------------------------------------------------------------


@case
def graph_set_for_each_interval(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field, y = Net(), start()
    for _ in range(3):
        field.more = normal(5)
        y = solve(field, y)
    return loss_of(y), [*field.parameters()]


@case
def context_set_for_each_interval(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field, encoder, y = Net(), nn.Linear(3, 5).double(), start()
    for _ in range(3):
        field.more = encoder(normal(3))
        y = solve(field, y)
    return loss_of(y), [*encoder.parameters(), *field.parameters()]


@case
def variable_of_a_closure_set_for_each_interval(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    w, y = normal(2, 2).requires_grad_(), start()
    for k in range(3):
        graph = normal(2, 2) + k
        y = solve(lambda t, y: torch.tanh(y @ w) @ graph, y)  # noqa: B023
    return loss_of(y), [w]


@case
def switched_to_eval(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net(nn.BatchNorm1d(5))
    y = solve(field, start())
    field.eval()
    return loss_of(y), [*field.parameters()]


@case
def attribute_changed(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    class Scaled(Net):
        scale = 2.0

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.scale * super().forward(t, y)

    field = Scaled()
    y = solve(field, start())
    field.scale = -1.0
    return loss_of(y), [*field.parameters()]


@case
def layer_replaced(solve: Solve) -> tuple[Tensor, list[Tensor]]:
    field = Net()
    wanted = [*field.parameters()]
    y = solve(field, start())
    field.last = nn.Linear(5, 2).double()
    return loss_of(y), wanted


@case
def entry_of_a_list_replaced(solve: Solve) -> tuple[Tensor, list[Tensor]]:
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
def test_changes_in_place_are_told(change: Callable[[Net], None], method: str) -> None:
    field = Net()
    loss = loss_of(METHODS[method][0](field, start()))
    change(field)
    with pytest.raises(FieldChanged, match="since the solve"):
        loss.backward()


@pytest.mark.parametrize("method", METHODS)
def test_a_changed_global_is_told(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = loss_of(METHODS[method][0](lambda t, y: torch.sin(SCALE * y), start()))
    monkeypatch.setitem(globals(), "SCALE", torch.ones(2, dtype=torch.float64, requires_grad=True))
    with pytest.raises(FieldChanged, match="since the solve"):
        loss.backward()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_read_later_only_is_named(method: str) -> None:
    field, later = Net(), normal(2).requires_grad_()
    field.nets = [later]

    def switched(t: Tensor, y: Tensor) -> Tensor:
        return field(t, y) if float(t.detach()) < 0.5 else field(t, y) * field.nets[0]

    loss = loss_of(METHODS[method][0](switched, start()))
    with pytest.raises(MissingParameters, match=r"nets\[0\]"):
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
