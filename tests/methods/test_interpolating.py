"""The adjoint that reads the state from the forward solve, on torch operators: every solver, direction and use."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.engines.eager.engine import ADAPTIVE_SOLVERS
from pynode.engines.eager.interpolant import Interpolant, StepRecorder
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4

F64: dict[str, Any] = {"dtype": torch.float64}
Y0 = torch.randn(6, 3, **F64, generator=torch.Generator().manual_seed(2))
FIELD = ConcatSquash((3, 8, 3)).build(seed=1)
TIMES = {
    "one interval": torch.tensor([0.0, 1.0], **F64),
    "several": torch.tensor([0.0, 0.1, 0.7, 1.5], **F64),
    "back in time": torch.tensor([1.5, 1.4, 0.2, 0.0], **F64),
}
# how much better than its gradients a solver of high order is at equal tolerances, from "dopri8" to "fehlberg2"
BOUNDS = {"dopri5": 30.0, "dopri8": 100.0, "bosh3": 300.0, "fehlberg2": 3000.0, "adaptive_heun": 30.0}


def gradient(method: Any, ts: Tensor, field: nn.Module = FIELD) -> Tensor:
    """Of a loss of all states, by parameters, state and times."""
    y0, ts = Y0.clone().requires_grad_(), ts.clone().requires_grad_()
    ys = method.solve(field, y0, ts).ys
    parts = torch.autograd.grad(
        (ys * torch.arange(ys.numel()).reshape(ys.shape).cos()).sum(), [*field.parameters(), y0, ts]
    )
    return torch.cat([p.reshape(-1) for p in parts])


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("solver", ADAPTIVE_SOLVERS)
@pytest.mark.parametrize("times", TIMES)
def test_gradient_is_right_to_tolerance(solver: str, times: str) -> None:
    ts = TIMES[times]
    rtol = 1e-4 if solver in ("fehlberg2", "adaptive_heun") else 1e-6
    truth = gradient(DiscOpt(RK4, 100), ts)
    interpolated = gradient(OptDisc(solver, rtol, rtol / 100, engine="eager", landing=times == "several"), ts)
    assert relative(interpolated, truth) < BOUNDS[solver] * rtol


@pytest.mark.parametrize("solver", ["dopri5", "dopri8", "bosh3"])
def test_error_falls_with_the_tolerance(solver: str) -> None:
    ts = TIMES["several"]
    truth = gradient(DiscOpt(RK4, 100), ts)
    coarse, fine = (relative(gradient(OptDisc(solver, r, r, engine="eager"), ts), truth) for r in (1e-3, 1e-7))
    assert fine < 1e-5
    assert fine < 0.2 * coarse


@pytest.mark.parametrize("solver", ADAPTIVE_SOLVERS)
def test_interpolant_is_the_solution(solver: str) -> None:
    """Between the steps as at them: within some tolerances of a solve that is much more accurate."""
    states: list[tuple[float, Tensor]] = []

    class Listening(OptDisc):
        pass

    original = Interpolant.__call__

    def listen(self: Interpolant, t: float) -> Tensor:
        y = original(self, t)
        states.append((t, y))
        return y

    rtol = 1e-3 if solver in ("fehlberg2", "adaptive_heun") else 1e-6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interpolant, "__call__", listen)
        gradient(Listening(solver, rtol, rtol, engine="eager"), TIMES["several"])
    assert len(states) > 10
    for t, y in states[:: max(1, len(states) // 4)]:
        with torch.no_grad():
            exact = (
                Y0 if t == 0 else OptDisc("dopri8", 1e-10, 1e-10).solve(FIELD, Y0, torch.tensor([0.0, t], **F64)).ys[-1]
            )
        assert float((y - exact).abs().max()) < BOUNDS[solver] * rtol * 10


def test_second_backward_pass_gives_the_same() -> None:
    y0 = Y0.clone().requires_grad_()
    loss = OptDisc(engine="eager").solve(FIELD, y0, TIMES["several"]).ys.square().sum()
    (first,) = torch.autograd.grad(loss, [y0], retain_graph=True)
    (second,) = torch.autograd.grad(loss, [y0])
    assert torch.equal(first, second)


def test_states_are_freed_with_the_graph() -> None:
    """The steps that are kept hold no graph that holds them."""
    gc.collect()
    gc.disable()
    try:
        y0 = Y0.clone().requires_grad_()
        ys = OptDisc(engine="eager").solve(FIELD, y0, TIMES["several"]).ys
        torch.autograd.grad(ys.sum(), [y0], retain_graph=True)
        alive = weakref.ref(ys.grad_fn)
        del ys
        assert alive() is None
    finally:
        gc.enable()


def test_nothing_is_kept_without_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[float] = []
    monkeypatch.setattr(StepRecorder, "accept", lambda _, t, *__: accepted.append(float(t)))
    with torch.no_grad():
        OptDisc(engine="eager").solve(FIELD, Y0, TIMES["several"])
    OptDisc(engine="eager").solve(lambda _, y: -y, Y0, TIMES["several"])
    assert accepted == []


def test_field_that_reuses_its_output() -> None:
    """Its slopes are copied."""

    class Reusing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(0.7, **F64))
            self.buffer = torch.empty_like(Y0)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            if torch.is_grad_enabled():
                return -self.w * y.sin()
            return torch.mul(-self.w, y.sin(), out=self.buffer)

    ts = TIMES["one interval"]
    reusing, plain = Reusing(), Reusing()
    plain.buffer = None  # type: ignore[assignment]
    truth = gradient(DiscOpt(RK4, 100), ts, reusing)
    assert relative(gradient(OptDisc(engine="eager"), ts, reusing), truth) < 1e-6


def test_changed_initial_state() -> None:
    """The caller may change y0 in place after the solve: the first step starts from a copy."""
    y0 = Y0.clone()
    field = MLP((3, 8, 3)).build(seed=0)
    ys = OptDisc(engine="eager").solve(field, y0, TIMES["one interval"]).ys
    y0.fill_(100.0)
    gradients = torch.autograd.grad(ys.sum(), list(field.parameters()))
    ys = OptDisc(engine="eager").solve(field, Y0, TIMES["one interval"]).ys
    for a, b in zip(gradients, torch.autograd.grad(ys.sum(), list(field.parameters())), strict=True):
        assert torch.equal(a, b)
