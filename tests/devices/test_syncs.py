"""The host waits for a device once an iteration: counted with real values on a pretended device."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pynode
from pynode.deferred import deferred_checks
from pynode.errors import InvalidArgument, NonFiniteLoss, SolveError
from pynode.fields.base import FieldSpec
from pynode.methods.base import GradientMethod
from pynode.records.iteration import IterationRecord
from pynode.training.loop import Loop
from tests.devices.loops import FLOW, a_loop, iterated
from tests.devices.modes import DEVICE, CountSyncs, OneDevice, Pretended

TIMES = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)

METHODS: dict[str, tuple[GradientMethod, int]] = {
    # with the reads of a solve and its gradient where nothing is deferred
    "store": (pynode.DiscOpt(steps=2, engine="eager"), 1),
    "recompute": (pynode.DiscOpt(steps=2, memory="recompute", engine="eager"), 2),
    "checkpoint": (pynode.DiscOpt(steps=3, memory="checkpoint", budget=2, engine="eager"), 2),
    "opt-disc-fixed": (pynode.OptDiscFixed(steps=2), 3),
}


def solved(method: GradientMethod, spec: FieldSpec, device: torch.device | str) -> Callable[[], list[Any]]:
    """One solve and its gradient at each call, which gives loss and gradients as tensors."""
    field = spec.build(seed=3, device=device)
    y0 = torch.linspace(-0.5, 0.7, 3 * spec.state_dim, dtype=torch.float64).reshape(3, -1).to(device)

    def run() -> list[Any]:
        loss = method.solve(field, y0, TIMES).ys.square().sum()
        return [loss.detach(), *torch.autograd.grad(loss, list(field.parameters()))]

    return run


@pytest.mark.parametrize("name", METHODS)
def test_a_solve_and_its_gradient_wait_for_nothing(name: str, small_spec: Callable[[str], FieldSpec]) -> None:
    method, at_once = METHODS[name]
    spec = small_spec("concatsquash")
    expected = solved(method, spec, "cpu")()
    with Pretended():
        run = solved(method, spec, DEVICE)
        run()  # times are copied to the device once
        with deferred_checks() as checks:
            with CountSyncs() as count, OneDevice():
                values = run()
            assert (count.reads, count.uploads) == ({}, {})
            assert count.operators > 50
            with CountSyncs() as count:
                checks.enforce()
            assert sum(count.reads.values()) <= 1
        with CountSyncs() as count:
            run()
        assert (sum(count.reads.values()), count.uploads) == (at_once, {})
        values = [x.cpu() for x in values]
    for value, other in zip(values, expected, strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=0)


@pytest.mark.parametrize("divergence", [pynode.Exact(), pynode.Hutchinson()], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("trained", [False, True], ids=["", "trainable-horizon"])
def test_a_flow_waits_for_nothing_but_trained_horizons(divergence: Any, trained: bool) -> None:
    with Pretended():
        flow = pynode.Flow.build(
            pynode.ConcatSquash((3, 4, 3)), blocks=2, seed=0, device=DEVICE, trainable_horizon=trained
        )
        x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3).to(DEVICE)
        draw = pynode.Draw(0, 0).ahead("gaussian", x, 2)
        method = pynode.DiscOpt(steps=1, engine="eager")
        costs = pynode.RunningCosts(kinetic=True, jacobian=True)

        def run() -> None:
            moved = flow.transport(x, method=method, divergence=divergence, draw=draw, costs=costs)
            assert moved.kinetic is not None
            assert moved.jacobian is not None
            (-moved.log_prob.mean() + moved.kinetic.mean() + moved.jacobian.mean()).backward()

        run()
        with deferred_checks(), CountSyncs() as count:
            run()
    assert count.reads == ({"_to_copy": 1} if trained else {})
    assert not count.uploads


class Planted(torch.nn.Module):
    """A field with a fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.rate = fault, torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64, device=DEVICE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        if self.fault == "read" and float(y.detach().abs().max()) > 1e6:
            return -y
        if self.fault == "mask":
            y = y + 0 * y[y > -9].sum()
        if self.fault == "upload":
            y = y + torch.tensor([0.0, 0.0], dtype=torch.float64).to(y.device)
        return self.rate * y


@pytest.mark.parametrize(("fault", "kind"), [("read", "reads"), ("mask", "reads"), ("upload", "uploads")])
def test_a_planted_wait_is_seen(fault: str, kind: str) -> None:
    with Pretended():
        field, y0 = Planted(fault), torch.ones(3, 2, dtype=torch.float64).to(DEVICE)
        method = pynode.DiscOpt(steps=2, engine="eager")
        with deferred_checks(), CountSyncs() as count:
            method.solve(field, y0, TIMES).ys.sum().backward()
        assert sum(getattr(count, kind).values()) >= 16  # one an evaluation
        with deferred_checks(), CountSyncs() as count:
            method.solve(Planted(""), y0, TIMES).ys.sum().backward()
        assert not count.reads


@pytest.mark.parametrize("name", ["store", "recompute"])
def test_what_is_not_finite_is_told_as_on_the_cpu(name: str) -> None:
    method, _ = METHODS[name]

    def solve_from(y0: Tensor, *, late: bool) -> None:
        if not late:
            method.solve(lambda t, y: y**9, y0, TIMES)
            return
        with deferred_checks():
            method.solve(lambda t, y: y**9, y0, TIMES)

    def message(device: torch.device | str, start: float, *, late: bool) -> str:
        y0 = torch.tensor([[1.0, 2.0], [start, 1.0]], dtype=torch.float64).to(device)
        with pytest.raises(InvalidArgument if math.isnan(start) else SolveError) as caught:
            solve_from(y0, late=late)
        return str(caught.value)

    for start in (math.nan, 1e9):
        expected = message("cpu", start, late=False)
        with Pretended():
            assert message(DEVICE, start, late=False) == expected
            assert message(DEVICE, start, late=True) == expected


@pytest.mark.usefixtures("fused_step")
@pytest.mark.parametrize(("name", "options", "uploads"), [("spiral", {}, 0), ("8gaussians", FLOW, 2)])
def test_an_iteration_waits_once(tmp_path: Path, name: str, options: dict[str, Any], uploads: int) -> None:
    expected = a_loop(name, "cpu", tmp_path, **options)
    records = iterated(expected, 3)
    with Pretended():
        loop = a_loop(name, DEVICE, tmp_path, **options)
        others = iterated(loop, 2)
        with CountSyncs() as count:
            others += iterated_further(loop)
        theta = loop.model.theta()
    assert count.reads == {"_to_copy": 1}
    assert sum(count.uploads.values()) == uploads  # the batch and its probes
    assert torch.equal(theta, expected.model.theta())
    for record, other in zip(records, others, strict=True):
        assert (record.loss, record.nfe_forward, record.n_vjp_backward) == (
            other.loss,
            other.nfe_forward,
            other.n_vjp_backward,
        )
        assert record.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-14)
        assert min(other.seconds_forward, other.seconds_backward, other.seconds_optimiser) > 0


def iterated_further(loop: Loop) -> list[IterationRecord]:
    """The record of one more iteration."""
    return [loop.iterate()]


@pytest.mark.usefixtures("fused_step")
def test_a_failed_iteration_leaves_the_weights_alone(tmp_path: Path) -> None:
    def outcome(device: torch.device | str, spoil: Callable[[Loop], None]) -> tuple[str, Tensor, dict[str, Any]]:
        loop = a_loop("spiral", device, tmp_path)
        iterated(loop, 1)
        spoil(loop)
        before = loop.model.theta()
        with pytest.raises((SolveError, NonFiniteLoss)) as caught:
            loop.iterate()
        assert torch.equal(loop.model.theta(), before)
        state = next(iter(loop.optimiser.state.values()))
        return str(caught.value), before, {k: v.detach().cpu() for k, v in state.items()}

    def explode(loop: Loop) -> None:
        loop.model.set_theta(loop.model.theta() * 1e200)

    def spoil_gradient(loop: Loop) -> None:
        first = next(loop.model.parameters())
        first.register_hook(lambda g: g * math.nan)

    for spoil in (explode, spoil_gradient):
        expected = outcome("cpu", spoil)
        with Pretended():
            other = outcome(DEVICE, spoil)
        assert other[0] == expected[0]
        assert all(torch.equal(other[2][key], expected[2][key]) for key in expected[2])
