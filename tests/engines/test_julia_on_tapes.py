"""Engine julia on modules of the user's own; the stand-in for Julia evaluates the tape that it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.errors import EngineUnavailable, FieldChanged
from pynode.fields.base import System
from pynode.flows.augmented import RunningCosts
from pynode.flows.divergence import Divergence, Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.solve import Solve
from tests.zoo.entries import Entry, zoo
from tests.zoo.solving import BATCH, Result, apart, solved, times, with_gradients

pytestmark = pytest.mark.usefixtures("stand_in_for_julia")

CAPTURED = {e.name: e for e in zoo(captured=True)}
FEW = [
    CAPTURED[name]
    for name in (
        "spiral",
        "float32 spiral",
        "weight norm",
        "no parameters",
        "pendulum",
        "gru by hand",
        "matrix per sample",
    )
]
EAGER, JULIA = pynode.DiscOpt(pynode.RK4, steps=2, engine="eager"), pynode.DiscOpt(pynode.RK4, steps=2, engine="julia")
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-4}

Y0 = torch.tensor([[0.4, -0.7], [0.1, 0.9], [-1.0, 0.3]], dtype=torch.float64)
TS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)


class Net(nn.Module):
    """With a frozen layer, a buffer that is read, a parameter that is not, and names that `Field` has for others."""

    theta: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
        self.second = nn.Linear(4, 2).requires_grad_(False)
        self.register_buffer("theta", torch.tensor([0.3, -0.2]))
        self.spec = nn.Parameter(torch.tensor(0.7))
        self.unused = nn.Parameter(torch.ones(2))
        self.double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        inner = torch.tanh(self.first(torch.cat([y, t.expand(*y.shape[:-1], 1)], -1)))
        return self.second(inner) * torch.exp(self.spec) - self.theta * y


def net() -> Net:
    """Always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Net()


def gradients(method: GradientMethod, module: nn.Module, sources: list[Tensor], ts: Tensor = TS, **more: Any) -> Result:
    """Of a loss of all states, by y0 and `sources`."""
    y0 = Y0.clone().requires_grad_()
    solution = method.solve(module, y0, ts, **more)
    return with_gradients(solution.ys, [y0, *sources], solution.stats.engine)


@pytest.mark.parametrize("zoo_entry", FEW, ids=str)
def test_disc_opt_of_the_zoo(zoo_entry: Entry) -> None:
    module, ts = zoo_entry.module(), times(zoo_entry)
    there, here = (solved(zoo_entry, module, method, ts) for method in (JULIA, EAGER))
    assert there.engine == "julia"
    assert apart(there, here) <= CLOSE[zoo_entry.dtype]


@pytest.mark.parametrize("zoo_entry", [e for e in FEW if e.dtype == torch.float64], ids=str)
def test_opt_disc_of_the_zoo(zoo_entry: Entry) -> None:
    module, ts = zoo_entry.module(), times(zoo_entry)
    fine = pynode.DiscOpt(pynode.RK4, steps=64, engine="eager")
    there = solved(zoo_entry, module, pynode.OptDisc("tsit5", rtol=1e-9, atol=1e-10, engine="julia"), ts)
    assert there.engine == "julia"
    assert apart(there, solved(zoo_entry, module, fine, ts)) < 1e-6


@pytest.mark.parametrize("method", [JULIA, DiscOptJulia(steps=2)], ids=lambda method: method.title)
def test_what_wants_a_gradient_gets_one(method: GradientMethod) -> None:
    """Through the constants that are computed; what is frozen or not read gets none."""
    module, twin = net(), net()
    for one, by in ((module, method), (twin, EAGER)):
        by.solve(one, Y0, TS).ys.square().sum().backward()
    for (name, p), q in zip(module.named_parameters(), twin.parameters(), strict=True):
        read = p.requires_grad and name != "unused"
        assert (p.grad is not None and bool(p.grad.any())) == read, name
        if read:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-13)
    assert not method.solve(net().requires_grad_(False), Y0, TS).ys.requires_grad


def test_gradients_by_the_output_times() -> None:
    """Which the kernels do not give."""
    module, pair = net(), []
    for method in (JULIA, EAGER):
        ts = TS.clone().requires_grad_()
        pair.append(gradients(method, module, [ts, module.spec], ts))
    assert apart(*pair) < 1e-12
    assert bool(pair[0].gradients[1].any())
    with pytest.raises(EngineUnavailable, match="output times"):
        gradients(pynode.DiscOpt(engine="fused"), module, [], TS.clone().requires_grad_())


def test_tensors_that_are_named() -> None:
    """By `params`: those that the module reads; others are not silently left without a gradient."""
    module = net()
    through_julia = gradients(JULIA, module, [module.spec], params=[module.spec])
    assert apart(through_julia, gradients(EAGER, module, [module.spec])) < 1e-12
    with pytest.raises(EngineUnavailable, match=r"Julia can't solve this: .* in params .*; use engine eager"):
        JULIA.solve(module, Y0, TS, params=[torch.ones(7, dtype=torch.float64, requires_grad=True)])


def test_what_julia_is_sent() -> None:
    """The tape without its preparation, and as many numbers as it names."""
    solve = Solve(net(), Y0, TS, JULIA.recipe)
    assert solve.no_system is None
    system: System = solve.system
    field = system.to_json()["field"]
    assert field["architecture"] == "tape"
    assert (field["preparation"], field["buffers"]) == ([], [])
    names = [slot["name"] for slot in field["parameters"]]
    assert {"second.weight", "theta"} <= set(names)
    assert any(name.startswith("p") and name[1:].isdigit() for name in names)
    assert system.n_params == sum(slot.size for slot in system.spec.after_preparation().slots())


def a_function(_: Tensor, y: Tensor) -> Tensor:
    """A function."""
    return -y


class Branching(nn.Module):
    """Decides by values."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return -y if float(y.sum()) > 0 else y


@pytest.mark.parametrize(
    ("field", "why"), [(a_function, "a function, not a torch.nn.Module"), (Branching(), "can't be captured")]
)
def test_what_can_not_be_captured_says_why_and_what_helps(field: Any, why: str) -> None:
    for method in (JULIA, DiscOptJulia(), OptDiscJulia()):
        with pytest.raises(EngineUnavailable) as caught:
            method.solve(field, Y0, TS)
        assert str(caught.value).startswith("Julia can't solve this: ")
        assert why in str(caught.value)
        assert "use engine eager" in str(caught.value)
        assert "kernels" not in str(caught.value)


def likelihood(method: GradientMethod, divergence: Divergence) -> Result:
    """Log-likelihood and running costs of a flow of an own module, with gradients."""
    module, x = net(), Y0.clone().requires_grad_()
    flow = Flow([module], 2, horizon=0.7, method=method, divergence=divergence, seed=5)
    transport = flow.transport(x, draw=Draw(seed=3), costs=RunningCosts(kinetic=True, jacobian=True))
    columns = [c for c in (transport.log_prob, transport.kinetic, transport.jacobian) if c is not None]
    sources = [x, *(p for p in module.parameters() if p.requires_grad and p is not module.unused)]
    return with_gradients(torch.cat(columns), sources, transport.solves[0].engine)


@pytest.mark.parametrize("divergence", [Exact(), Hutchinson()], ids=lambda d: type(d).__name__)
def test_flows_of_own_modules(divergence: Divergence) -> None:
    there = likelihood(JULIA, divergence)
    assert there.engine == "julia"
    assert len(there.values) == 3 * BATCH
    assert apart(there, likelihood(EAGER, divergence)) < 1e-12
    adaptive = likelihood(pynode.OptDisc("tsit5", rtol=1e-8, atol=1e-9, engine="julia"), divergence)
    assert apart(adaptive, likelihood(pynode.DiscOpt(steps=64, engine="eager"), divergence)) < 1e-6


def test_float32() -> None:
    module, y0 = net().float(), Y0.float().requires_grad_()
    solution = JULIA.solve(module, y0, TS.float())
    solution.ys.square().sum().backward()
    assert module.spec.grad is not None
    assert {solution.ys.dtype, module.spec.grad.dtype} == {torch.float32}


@pytest.mark.parametrize("make", [net, lambda: pynode.MLP((2, 3, 2)).build(seed=0)], ids=["tape", "field"])
def test_the_gradient_is_that_at_the_solve(make: Callable[[], nn.Module]) -> None:
    """Whatever the values are at the backward pass, since the worker holds them; another size is an error."""
    wanted = make()
    w = wanted.second.requires_grad_().weight if isinstance(wanted, Net) else list(wanted.parameters())[-1]
    ys = JULIA.solve(wanted, Y0, TS).ys
    (plain,) = torch.autograd.grad(ys.sum(), w, retain_graph=True)
    with torch.no_grad():
        w.add_(1.0)
    assert torch.equal(torch.autograd.grad(ys.sum(), w, retain_graph=True)[0], plain)
    w.data = torch.zeros(7, dtype=torch.float64)  # in place of the tensor that it was
    with pytest.raises(FieldChanged, match="size or dtype"):
        torch.autograd.grad(ys.sum(), w)


def test_a_state_of_one_sample_and_of_more_dimensions() -> None:
    module = net()
    for y0 in (Y0[0], Y0.expand(4, 3, 2).contiguous()):
        there, here = (method.solve(module, y0, TS).ys for method in (JULIA, EAGER))
        torch.testing.assert_close(there, here, rtol=1e-12, atol=1e-13)
