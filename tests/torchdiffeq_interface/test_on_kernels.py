"""Modules that change the import alone: the kernels run what has the same tableau, with torchdiffeq's numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from pynode.engines import fused
from pynode.engines.fused.engine import Fused
from pynode.errors import SolveError
from pynode.fields.mlp import MLP
from pynode.solve import Solve
from pynode.torchdiffeq_interface import odeint, odeint_adjoint
from tests.torchdiffeq_interface.comparison import outcome

pytestmark = pytest.mark.skipif(fused.unavailable() is not None, reason=str(fused.unavailable()))

TS = torch.tensor([0.0, 0.25, 0.7, 1.0], dtype=torch.float64)
FIXED = ("euler", "midpoint", "heun2", "rk4")


class Net(nn.Module):
    """As torchdiffeq's users write it."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)).to(dtype)
        self.nfe = 0
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) / 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.nfe += 1
        return self.net(torch.cat([y, t * torch.ones_like(y[..., :1])], -1))


class Branching(Net):
    """Which no tape can follow."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return super().forward(t, y) if float(t) < 0.5 else -super().forward(t, y)


@pytest.fixture
def solves(monkeypatch: pytest.MonkeyPatch) -> list[Solve]:
    """The solves that the kernels run from here on."""
    seen: list[Solve] = []
    before = Fused.run

    def run(engine: Fused, solve: Solve) -> Any:
        seen.append(solve)
        return before(engine, solve)

    monkeypatch.setattr(Fused, "run", run)
    return seen


def start(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("options", [None, {"step_size": 0.11}], ids=["times", "step_size"])
@pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("method", FIXED)
def test_fixed_steps_have_the_same_numbers(method: str, times: Tensor, options: Any, solves: list[Solve]) -> None:
    """States and gradients, to rounding; the default grid and one by step size, whose states are interpolated."""
    for field in (Net(), MLP((2, 8, 2)).build(seed=1)):
        results = [
            outcome(f, field, start(4, 2), times, method=method, options=options) for f in (odeint, torchdiffeq.odeint)
        ]
        torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)
    assert len(solves) == 2


def test_single_states_and_single_precision(solves: list[Solve]) -> None:
    field = Net(torch.float32)
    for y0 in (start(2).float(), start(3, 2).float(), start(2, 3, 2).float()):
        results = [outcome(f, field, y0, TS, method="rk4") for f in (odeint, torchdiffeq.odeint)]
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    assert len(solves) == 3


@pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("options", [{}, {"adjoint_options": {"norm": "seminorm"}}, {"adjoint_rtol": 1e-10}])
def test_the_adjoint_of_dopri5_agrees_to_its_tolerance(options: Any, times: Tensor, solves: list[Solve]) -> None:
    """Both are approximations of one gradient; the step sizes are chosen in another way."""
    call = {"rtol": 1e-9, "atol": 1e-11, **options}
    results = [outcome(f, Net(), start(4, 2), times, **call) for f in (odeint_adjoint, torchdiffeq.odeint_adjoint)]
    torch.testing.assert_close(*results, rtol=1e-7, atol=1e-8)
    assert len(solves) == 1


def test_dopri5_without_a_gradient(solves: list[Solve]) -> None:
    """A solve that is to be differentiated along its steps is torchdiffeq's."""
    field = Net()
    with torch.no_grad():
        ys = [f(field, start(4, 2), TS, rtol=1e-9, atol=1e-11) for f in (odeint, torchdiffeq.odeint)]
    torch.testing.assert_close(*ys, rtol=1e-7, atol=1e-8)
    assert len(solves) == 1
    ys = [f(field, start(4, 2), TS) for f in (odeint, torchdiffeq.odeint)]
    assert torch.equal(*ys)
    assert len(solves) == 1


OTHERS: dict[str, Callable[[Any], Any]] = {
    "a function": lambda f: f(lambda t, y: -y, start(4, 2), TS, method="rk4"),
    "a module with a branch": lambda f: f(Branching(), start(4, 2), TS, method="rk4"),
    "a tuple": lambda f: f(Pair(), (start(4, 2), start(4, 1)), TS, method="rk4")[0],
    "times that want a gradient": lambda f: f(Net(), start(4, 2), TS.clone().requires_grad_(), method="rk4"),
    "a grid of one's own": lambda f: f(
        Net(), start(4, 2), TS, method="rk4", options={"grid_constructor": lambda func, y0, t: t}
    ),
    "another tableau": lambda f: f(Net(), start(4, 2), TS, method="bosh3"),
    "options of dopri5": lambda f: f(Net(), start(4, 2), TS, options={"first_step": 0.1}),
}


class Pair(Net):
    def forward(self, t: Tensor, y: Any) -> Any:
        return super().forward(t, y[0]), -y[1]


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_is_as_before(name: str, solves: list[Solve]) -> None:
    results = [OTHERS[name](f) for f in (odeint, torchdiffeq.odeint)]
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        OTHERS[name](odeint if name == "a function" else odeint_adjoint)
    assert solves == []


def test_parameters_that_are_left_out_get_no_gradient(solves: list[Solve]) -> None:
    """`adjoint_params` says which ones do."""
    field = Net()
    ys = odeint_adjoint(field, start(4, 2), TS, adjoint_params=tuple(field.net[2].parameters()))
    ys.sum().backward()
    assert field.net[0].weight.grad is None
    assert field.net[2].weight.grad is not None
    assert solves == []
    odeint_adjoint(field, start(4, 2), TS, adjoint_params=tuple(field.parameters()))
    assert len(solves) == 1


def test_callbacks_are_called(solves: list[Solve]) -> None:
    calls: list[float] = []

    class Watched(Net):
        def callback_step(self, t: Tensor, y: Tensor, dt: Tensor) -> None:  # noqa: ARG002
            calls.append(float(t))

    with torch.no_grad():
        odeint(Watched(), start(4, 2), TS)
    assert calls
    assert solves == []


def test_states_that_blow_up_are_told(solves: list[Solve]) -> None:
    field = MLP((1, 1), "tanh", input_power=3).build(theta=torch.tensor([1.0, 0.0], dtype=torch.float64))
    with pytest.raises(SolveError, match=r"t = 7\.5"):
        odeint(field, torch.full((1,), 30.0, dtype=torch.float64), 30 * TS, method="rk4")
    assert len(solves) == 1


@pytest.mark.parametrize(
    ("solver", "call"),
    [("odeint", {"method": "rk4", "options": {"step_size": 0.05}}), ("odeint_adjoint", {"rtol": 1e-6, "atol": 1e-8})],
)
def test_it_is_faster(solver: str, call: Any) -> None:
    """Than torchdiffeq, with the gradient: tens of times on an idle machine."""
    ours, theirs = (odeint, torchdiffeq.odeint) if solver == "odeint" else (odeint_adjoint, torchdiffeq.odeint_adjoint)
    field, y0 = Net(), start(8, 2)

    def seconds(f: Any, repeats: int) -> float:
        best = float("inf")
        for _ in range(repeats):
            begin = time.perf_counter()
            f(field, y0, TS, **call).square().sum().backward()
            best = min(best, time.perf_counter() - begin)
        return best

    seconds(ours, 2)
    assert 3 * seconds(ours, 5) < seconds(theirs, 3)
