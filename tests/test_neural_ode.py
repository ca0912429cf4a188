"""`pynode.NeuralODE`: the states and gradients of its method, as a layer that torch's own tools can handle."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.errors import InvalidArgument, SolveError
from pynode.explanation import explain_first_solve
from pynode.methods.base import GradientMethod

TS = torch.linspace(0, 1, 5, dtype=torch.float64)
METHODS = [pynode.DiscOpt(pynode.RK4, steps=4), pynode.OptDisc(rtol=1e-8, atol=1e-10)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Some numbers."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Timed(nn.Module):
    """A module f(t, y)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y) * torch.cos(t)


class Driven(nn.Module):
    """A module f(t, y, context)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def forward(self, t: Tensor, y: Tensor, context: Tensor) -> Tensor:
        return self.net(torch.cat((y, context), dim=-1)) - t * y


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """The module with the same parameters every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return make()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)], ids=str)
def test_states_and_gradients_are_those_of_the_method(method: GradientMethod, shape: tuple[int, ...]) -> None:
    field, y0 = seeded(Timed), normal(*shape).requires_grad_()
    layer, weights = pynode.NeuralODE(field, method, TS), normal(5, *shape, seed=2)
    states, solution = layer(y0), method.solve(field, y0, TS)
    assert torch.equal(states, solution.ys)
    inputs = [y0, *field.parameters()]
    for own, other in zip(
        *(torch.autograd.grad((x * weights).sum(), inputs) for x in (states, solution.ys)), strict=True
    ):
        assert torch.equal(own, other)
    assert layer.stats == solution.stats
    assert layer.stats.forward.n_f > 0
    last = pynode.NeuralODE(field, method, TS, output="last")
    assert torch.equal(last(y0), solution.ys[-1])
    assert torch.equal(last(y0, [0.0, 0.5]), method.solve(field, y0, torch.tensor([0.0, 0.5]).double()).ys[-1])


def test_a_specification_and_an_ordinary_net_are_fields() -> None:
    """A net of the state alone is f(y)."""
    net = seeded(lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double())
    built, y0 = pynode.MLP((3, 8, 3)).build(seed=0), normal(4, 3)
    built.set_theta(torch.cat([p.detach().reshape(-1) for p in net.parameters()]))
    layers = [pynode.NeuralODE(field, METHODS[0], TS) for field in (net, built)]
    torch.testing.assert_close(layers[0](y0), layers[1](y0))
    for layer in layers:
        explanation = explain_first_solve(METHODS[0], partial(_solved, layer, y0, None))
        assert explanation is not None
        assert explanation.engine == "fused"


def _solved(layer: pynode.NeuralODE, y0: Tensor, context: Tensor | None, method: GradientMethod) -> None:
    layer.method = method
    layer(y0, context=context)


class _At(nn.Module):
    """A field of one sample at its context."""

    def __init__(self, field: nn.Module, context: Tensor) -> None:
        super().__init__()
        self.field, self.context = field, context

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field(t, y, self.context)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("rows", [(), (4,), (2, 4)], ids=str)
def test_a_context_is_seen_by_each_sample(method: GradientMethod, rows: tuple[int, ...]) -> None:
    """Against a solve for each sample whose field holds its context; with gradients by the context."""
    field, y0, context = seeded(Driven), normal(2, 4, 3), normal(*rows, 2, seed=3).requires_grad_()
    layer = pynode.NeuralODE(field, method, TS, context=2)
    states, each = layer(y0, context=context), context.expand(2, 4, 2)
    assert states.shape == (5, 2, 4, 3)
    tight = pynode.DiscOpt(pynode.RK4, steps=4 if isinstance(method, pynode.DiscOpt) else 40, engine="eager")
    alone = [[tight.solve(_At(field, each[i, j]), y0[i, j], TS).ys for j in range(4)] for i in range(2)]
    wanted = torch.stack([torch.stack(row, dim=1) for row in alone], dim=1)
    torch.testing.assert_close(states, wanted, rtol=0, atol=1e-7)
    weights = normal(5, 2, 4, 3, seed=4)
    own, other = (torch.autograd.grad((x * weights).sum(), context)[0] for x in (states, wanted))
    torch.testing.assert_close(own, other, rtol=0, atol=1e-6)
    explanation = explain_first_solve(method, partial(_solved, layer, y0, context))
    assert explanation is not None
    assert explanation.engine == "fused"


def test_a_specification_with_a_context() -> None:
    layer = pynode.NeuralODE(pynode.ConcatSquash((3, 6, 3), context=2).build(seed=1), METHODS[0], TS, context=2)
    y0, context = normal(4, 3), normal(4, 2)
    joint = METHODS[0].solve(layer.field, torch.cat((y0, context), dim=1), TS).ys
    assert torch.equal(layer(y0, context=context), joint[..., :3])


def test_it_is_a_layer_of_a_larger_model() -> None:
    """In `nn.Sequential`, single precision, trained on two half planes; its parameters are the model's."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 2, generator=generator)
    label = (x[:, 0] * x[:, 1] > 0).long()  # the exclusive or
    with torch.random.fork_rng():
        torch.manual_seed(0)
        field = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))
        layer = pynode.NeuralODE(field, pynode.DiscOpt(steps=3), [0.0, 1.0], output="last")
        model = nn.Sequential(nn.Linear(2, 4), layer, nn.Linear(4, 2))
    assert {p.data_ptr() for p in field.parameters()} <= {p.data_ptr() for p in model.parameters()}
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), label).backward()
        optimiser.step()
    assert model(x).dtype is torch.float32
    assert float((model(x).argmax(1) == label).float().mean()) > 0.95
    assert layer.stats is not None
    assert layer.stats.forward.n_f == 12


def test_state_dict_and_copies_hold_all() -> None:
    layer, other = (pynode.NeuralODE(make().double(), METHODS[0], TS) for make in (Timed, Timed))
    y0 = normal(4, 3)
    assert set(layer.state_dict()) == {f"field.{name}" for name in layer.field.state_dict()}
    other.load_state_dict(layer.state_dict())
    for same in (other, copy.deepcopy(layer)):
        assert torch.equal(same(y0), layer(y0))


def test_times_are_trained_as_a_parameter() -> None:
    """Also by a call's own times."""
    ts = nn.Parameter(TS.clone())
    layer = pynode.NeuralODE(seeded(Timed), pynode.DiscOpt(pynode.RK4, steps=6), ts, output="last")
    assert "ts" in layer.state_dict()
    y0, step = normal(4, 3), 1e-6
    layer(y0).sum().backward()
    with torch.no_grad():
        ends = [float(layer(y0, [*TS[:-1].tolist(), 1.0 + s * step]).sum()) for s in (1, -1)]
    assert ts.grad is not None
    assert float(ts.grad[-1]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_tensors_beside_the_parameters_get_their_gradient() -> None:
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    class Reads(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return -scale * y

    layer = pynode.NeuralODE(Reads(), METHODS[1], [0.0, 1.0], output="last")
    y0 = normal(3, 2)
    layer(y0, params=[scale]).sum().backward()
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(float(-(y0 * torch.exp(torch.tensor(-0.7))).sum()), rel=1e-6)


def test_print_shows_method_and_times() -> None:
    shown = repr(pynode.NeuralODE(Timed(), METHODS[0], TS, output="last"))
    assert "disc-opt-rk4-x4, 5 times from 0 to 1, output='last'" in shown


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pynode.NeuralODE(lambda t, y: -y, METHODS[0], TS), "a function, whose parameters a module can't hold"),  # type: ignore[arg-type]
        (lambda: pynode.NeuralODE(pynode.MLP((2, 2)), METHODS[0], TS), "add .build"),  # type: ignore[arg-type]
        (lambda: pynode.NeuralODE(Timed, METHODS[0], TS), "a class, not an object"),  # type: ignore[arg-type]
        (lambda: pynode.NeuralODE(Timed(), "rk4", TS), "method = 'rk4': not a gradient method"),  # type: ignore[arg-type]
        (lambda: pynode.NeuralODE(Timed(), METHODS[0], [0.0, 1.0, 0.5]), "ts = "),
        (lambda: pynode.NeuralODE(Timed(), METHODS[0], "01"), "ts = '01'"),  # type: ignore[arg-type]
        (lambda: pynode.NeuralODE(Timed(), METHODS[0], 3.0), "not a list of times"),  # type: ignore[arg-type]
        (lambda: pynode.NeuralODE(Timed(), METHODS[0], TS, output="final"), "output = 'final': unknown"),  # type: ignore[arg-type]
        (lambda: pynode.NeuralODE(Timed(), METHODS[0])(normal(4, 3)), "there are no output times"),
        (lambda: pynode.NeuralODE(Timed(), METHODS[0], TS)(normal(4, 3).float()), "y0 = torch.float32: the field is"),
        (lambda: pynode.NeuralODE(Timed(), METHODS[0], TS)([1.0]), "y0 = list: not a tensor"),
        (lambda: pynode.NeuralODE(Timed(), METHODS[0], TS)(normal(4, 3) * torch.nan), "y0"),
        (lambda: pynode.NeuralODE(Timed(), METHODS[0], TS)(normal(4, 3), context=normal(4, 2)), "has no context"),
        (lambda: pynode.NeuralODE(Driven(), METHODS[0], TS, context=2)(normal(4, 3)), "has 2 columns of context"),
        (
            lambda: pynode.NeuralODE(Driven(), METHODS[0], TS, context=2)(normal(4, 3), context=normal(5, 2)),
            r"context = \(5, 2\): it does not broadcast",
        ),
        (
            lambda: pynode.NeuralODE(nn.Sequential(nn.Linear(3, 3)), METHODS[0], TS, context=2),
            r"field = Sequential: its forward takes no context; write forward\(self, t, y, context\)",
        ),
        (
            lambda: pynode.NeuralODE(Timed(), METHODS[0], TS, context=2),
            r"field = Timed: its forward takes no context; write forward\(self, t, y, context\)",
        ),
        (
            lambda: pynode.NeuralODE(Driven(), METHODS[0], TS),
            r"field = Driven: its forward can't be called as f\(t, y\)",
        ),
        (
            lambda: pynode.NeuralODE(pynode.MLP((3, 3)).build(), METHODS[0], TS, context=2),
            r"field has 0 columns of context; build it from MLP\(..., context=2\)",
        ),
    ],
)
def test_misuse_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        call()


def test_a_failed_solve_says_so() -> None:
    class Explosion(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return y**3

    layer = pynode.NeuralODE(Explosion(), METHODS[1], [0.0, 5.0])
    with pytest.raises(SolveError, match="t ="):
        layer(5 + normal(4, 3).abs())


def test_it_is_explained_like_its_field() -> None:
    """By its own method and times; a module of the state alone under its own name."""
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    layer = pynode.NeuralODE(net, METHODS[1], TS)
    told = pynode.explain(layer, normal(4, 3))
    assert (told.field, told.method) == ("Sequential", METHODS[1].label)
    assert told.specification is not None, "it is captured"
    driven = pynode.NeuralODE(Driven(), METHODS[0], context=1)
    assert pynode.explain(driven, normal(4, 3), method=METHODS[1]).method == METHODS[1].label
