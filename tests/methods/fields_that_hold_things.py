"""Fields that hold all kinds of things, and the ways to solve them; see `test_what_a_field_may_hold.py`.

Each case builds a field anew, solves, and gives a loss with the tensors that its gradient is to be taken by.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune

from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.rk4 import RK4
from pynode.torchdiffeq_interface import odeint_adjoint

TS = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
STEPS = 20

Solve = Callable[[Any, Tensor], Tensor]
"""From a field and an initial state to the state at the end."""
Case = Callable[[Solve], tuple[Tensor, Sequence[Tensor]]]
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
def parameters(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net()
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def buffer(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net()
    field.register_buffer("offset", normal(5))
    field.more = field.offset
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def context_that_is_a_leaf(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field, context = Net(), normal(5).requires_grad_()
    field.more = context
    return loss_of(solve(field, start())), [context, *field.parameters()]


@case
def context_of_an_encoder(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field, encoder = Net(), nn.Linear(3, 5).double()
    field.more = encoder(normal(6, 3))
    return loss_of(solve(field, start())), [*encoder.parameters(), *field.parameters()]


@case
def context_of_an_encoder_in_the_field(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    """The context and the parameters that it was computed from are both in reach."""
    field = Net()
    field.encoder = nn.Linear(3, 5).double()
    field.more = field.encoder(normal(6, 3))
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def context_computed_from_a_layer_that_is_read_as_well(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net()
    field.more = torch.tanh(field.first.weight).sum(1)
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def two_contexts_of_one_encoder(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field, encoder = Net(), nn.Linear(3, 10).double()
    one, other = encoder(normal(3)).chunk(2)
    field.more = one
    return loss_of(solve(lambda t, y: field(t, y) * other[:2], start())), [*encoder.parameters(), *field.parameters()]


@case
def layers_in_a_list(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(2, 4).double(), nn.Tanh(), nn.Linear(4, 2).double()]

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return functools.reduce(lambda x, layer: layer(x), self.layers, y)

    field = Hidden()
    return loss_of(solve(field, start())), [p for layer in field.layers for p in layer.parameters()]


@case
def layers_in_a_dict(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field, layers = Net(), {"in": nn.Linear(2, 2).double()}
    field.more = layers
    net = Net()
    return loss_of(solve(lambda t, y: net(t, field.more["in"](y)), start())), [*layers["in"].parameters()]


@case
def closure(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    scale, net = normal(2).requires_grad_(), Net()
    return loss_of(solve(lambda t, y: scale * net(t, y), start())), [scale, *net.parameters()]


SCALE = torch.tensor([0.4, -0.8], dtype=torch.float64, requires_grad=True)


@case
def global_variable(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    return loss_of(solve(lambda t, y: torch.sin(SCALE * y), start())), [SCALE]


@case
def object_with_a_call(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    class Plain:
        def __init__(self) -> None:
            self.w = normal(2, 2).requires_grad_()

        def __call__(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.tanh(y @ self.w) - t * y

    field = Plain()
    return loss_of(solve(field, start())), [field.w]


@case
def bound_method(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    net = Net()
    return loss_of(solve(net.forward, start())), [*net.parameters()]


@case
def partial_function(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    w = normal(2, 2).requires_grad_()
    return loss_of(solve(functools.partial(lambda w, t, y: torch.tanh(y @ w), w), start())), [w]


@case
def parametrization(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
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
def cached_parametrization(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    layer = parametrizations.weight_norm(nn.Linear(2, 2).double())
    with parametrize.cached():
        return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


@case
def weight_norm(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    layer = parametrizations.weight_norm(nn.Linear(2, 2).double())
    return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


@case
def weight_norm_by_a_hook(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    with pytest.warns(FutureWarning, match="weight_norm"):
        layer = nn.utils.weight_norm(nn.Linear(2, 2).double())
    return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


@case
def spectral_norm_in_eval_mode(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    layer = parametrizations.spectral_norm(nn.Linear(2, 2).double()).eval()
    return loss_of(solve(nn_field(layer), start())), [*layer.parameters()]


@case
def pruned_layer(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net()
    prune.random_unstructured(field.first, "weight", 0.5)
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def functional_call_with_leaves(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    net = Net()
    leaves = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    return loss_of(solve(lambda t, y: functional_call(net, leaves, (t, y)), start())), [*leaves.values()]


@case
def functional_call_of_a_hypernet(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    net, hyper = nn_field(nn.Linear(2, 2).double()), nn.Linear(3, 6).double()
    out = hyper(normal(3))
    weights = {"layer.weight": out[:4].reshape(2, 2), "layer.bias": out[4:]}
    return loss_of(solve(lambda t, y: functional_call(net, weights, (t, y)), start())), [*hyper.parameters()]


@case
def copied_field(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = copy.deepcopy(Net())
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def replica(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
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
def tied_weights(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net()
    inner = nn.Linear(5, 2).double()
    field.between, field.last = nn.Sequential(inner), nn.Linear(2, 2).double()
    inner.bias = field.last.bias
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def frozen_parameters(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net()
    field.first.requires_grad_(False)
    return loss_of(solve(field, start())), [*field.last.parameters()]


@case
def counter_and_log(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    class Counting(Net):
        nfe: int = 0

        def __init__(self) -> None:
            super().__init__()
            self.log: list[float] = []
            self.calls: Any
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            self.nfe = self.nfe + 1
            self.log.append(float(t.detach()))
            self.calls += 1
            return super().forward(t, y)

    field = Counting()
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def context_cached_at_the_first_call(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
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
def gradient_of_a_potential(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    class Potential(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            with torch.enable_grad():
                y = y if y.requires_grad else y.detach().requires_grad_()
                return -torch.autograd.grad(self.net(y).sum(), y, create_graph=True)[0]

    field = Potential()
    return loss_of(solve(field, start())), [p for name, p in field.named_parameters() if name != "net.2.bias"]


@case
def batch_norm_in_training(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net(nn.BatchNorm1d(5))
    return loss_of(solve(field, start())), [*field.parameters()]


@case
def dropout(solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    field = Net(nn.Dropout(0.5))
    return loss_of(solve(field, start())), [*field.parameters()]
