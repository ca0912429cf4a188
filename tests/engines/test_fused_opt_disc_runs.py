"""What can happen to an adaptive solve by kernels: failures, growth, reuse of memory, threads."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from pynode.engines import fused
from pynode.engines.fused.engine import ADJOINTS
from pynode.errors import NotTwiceDifferentiable, SolveError
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import divergence
from pynode.gradients import AdjointNorm
from pynode.methods.opt_disc import OptDisc
from pynode.solution import SolveStats, Status

Adaptive = Callable[..., Tensor]

TS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
FRESH = """
import json, time
import torch
from pynode.fields.mlp import MLP
from pynode.methods.opt_disc import OptDisc

start = time.process_time()
from pynode.engines.fused.adaptive import run_adaptive
from pynode.engines.fused import failure
assert failure(torch.float64, adaptive=True) is None
ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
OptDisc(engine="fused").solve(MLP((2, 5, 2)).build(seed=0), torch.ones(2, dtype=torch.float64), ts)
print(json.dumps([time.process_time() - start, sum(run_adaptive.stats.cache_hits.values())]))
"""
WAYS = [OptDisc(adjoint=adjoint, adjoint_norm=norm) for adjoint in ADJOINTS for norm in get_args(AdjointNorm)]


@pytest.fixture
def adaptive(adaptive_solve: Adaptive) -> Iterator[Adaptive]:
    """`adaptive(module, options, y0, ts, stats)`: the states by the kernels, from plans that nobody has used."""
    from pynode.engines.fused import plan

    def run(module: nn.Module, options: OptDisc, y0: Tensor, ts: Tensor = TS, stats: Any = None) -> Tensor:
        return adaptive_solve(module, options, y0, ts, stats)

    plan.forget_plans()
    yield run
    plan.forget_plans()


def field_of(spec: Any, scale: float = 0.5) -> Field:
    """With parameters of this size."""
    noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    built: Field = spec.build(theta=scale * noise)
    return built


def states(*shape: int) -> Tensor:
    """Random ones."""
    return 0.5 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def cubic(sign: float) -> Field:
    """One dimension: y' = sign times y^3."""
    return MLP((1, 1), input_power=3).build(theta=torch.tensor([sign, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_blow_up(options: OptDisc, adaptive: Adaptive) -> None:
    """y' = y^3 from 1 reaches infinity at t = 1/2: the error says where, and what was tried; memory stays usable."""
    stats, y0 = SolveStats(), torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(SolveError) as caught:
        adaptive(cubic(1.0), options, y0, TS, stats)
    error = caught.value
    assert error.status in (Status.STEP_UNDERFLOW, Status.NON_FINITE)
    assert error.phase == "forward"
    assert error.t == pytest.approx(0.5, abs=1e-6)
    assert abs(error.dt) < 1e-12
    assert error.norm_f > 1e6
    assert stats.forward.n_accepted > 20
    assert stats.forward.n_f == 2 + 6 * (stats.forward.n_accepted + stats.forward.n_rejected)
    # y' = -y^3 has the solution (y0^-2 + 2 t)^(-1/2)
    ys = adaptive(cubic(-1.0), options, y0)
    torch.testing.assert_close(ys.detach().flatten(), (1 + 2 * TS) ** -0.5, rtol=1e-6, atol=0)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_too_many_steps(adjoint: Any, adaptive: Adaptive) -> None:
    """Forward and backward, each with its own count."""
    field, y0, stats = field_of(MLP((2, 20, 2))), states(3, 2), SolveStats()
    with pytest.raises(SolveError) as caught:
        adaptive(field, OptDisc(rtol=1e-10, max_steps=3, adjoint=adjoint), y0, TS, stats)
    assert (caught.value.status, caught.value.phase) == (Status.MAX_STEPS, "forward")
    assert stats.forward.n_accepted + stats.forward.n_rejected == 3
    options = OptDisc(rtol=1e-3, atol=1e-3, adjoint_rtol=1e-12, adjoint_atol=1e-12, max_steps=20, adjoint=adjoint)
    ys = adaptive(field, options, y0, TS, stats)
    with pytest.raises(SolveError) as caught:
        ys.sum().backward()
    error = caught.value
    assert (error.status, error.phase) == (Status.MAX_STEPS, "backward")
    assert 0 < error.t < 1
    assert error.dt < 0
    assert stats.backward.n_accepted + stats.backward.n_rejected == 20
    assert stats.backward.n_vjp > 120
    assert math.isfinite(error.norm_f)


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_cotangents_that_are_not_finite(bad: float, options: OptDisc, adaptive: Adaptive) -> None:
    """Are found where they join: at the last output time, or at one in between; the next gradient is right."""
    field, y0 = field_of(MLP((2, 5, 2))), states(3, 2)
    params = list(field.parameters())
    ys = adaptive(field, options, y0)
    wanted = torch.autograd.grad(ys.sum(), params, retain_graph=True)
    for output in (1, 2):
        cotangents = torch.ones_like(ys)
        cotangents[output, 1, 0] = bad
        with pytest.raises(SolveError) as caught:
            torch.autograd.grad(ys, params, cotangents, retain_graph=True)
        assert (caught.value.status, caught.value.phase) == (Status.NON_FINITE, "backward")
        assert caught.value.t == TS[output]
        assert all(map(torch.equal, torch.autograd.grad(ys.sum(), params, retain_graph=True), wanted))


def test_parameters_that_are_not_finite(adaptive: Adaptive) -> None:
    """The first slope tells."""
    field = field_of(MLP((2, 5, 2)))
    with torch.no_grad():
        field.W0[0, 0] = math.nan  # type: ignore[operator]
    with pytest.raises(SolveError) as caught:
        adaptive(field, OptDisc(), states(3, 2))
    assert caught.value.status is Status.NON_FINITE
    assert caught.value.t == 0
    assert math.isnan(caught.value.norm_f)


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_no_cotangent_at_all(options: OptDisc, adaptive: Adaptive) -> None:
    """The gradient of nothing is zero, not NaN."""
    field, y0 = field_of(MLP((2, 5, 2))), states(3, 2)
    gradients = torch.autograd.grad((0 * adaptive(field, options, y0)).sum(), list(field.parameters()))
    assert all(not g.any() for g in gradients)


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("dim", [2, 20])
def test_memory_of_a_failed_solve(dim: int, options: OptDisc, adaptive: Adaptive) -> None:
    """NaN that a solve has left, in padding too, does not get into the next one of the same shape."""
    spec = MLP((dim, 5, dim), "softplus", 3)
    field, wild = field_of(spec, 0.1), field_of(spec, 1e150)
    params = list(field.parameters())
    for batch in (1, 3, 9):
        y0 = states(batch, dim)
        ys = adaptive(field, options, y0)
        wanted = torch.autograd.grad(ys.sum(), params)
        for _ in range(3):
            with pytest.raises(SolveError):
                adaptive(wild, options, 1e150 * y0)
            with pytest.raises(SolveError):
                adaptive(field, options, y0).backward(math.nan * ys.detach())
        gradients = torch.autograd.grad(adaptive(field, options, y0).sum(), params)
        assert all(map(torch.equal, gradients, wanted))


def test_growth(adaptive: Adaptive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A solve that runs out of room goes on where it was, and the next one has the room from the start."""
    from pynode.engines.fused import plan, plan_adaptive

    field, y0 = field_of(MLP((2, 20, 2))), states(3, 2)
    params = list(field.parameters())
    options = OptDisc("tsit5", 1e-10, 1e-10, adjoint="interpolating")

    def run(stats: SolveStats) -> list[Tensor]:
        ys = adaptive(field, options, y0, 8 * TS, stats)
        return [ys.detach(), *torch.autograd.grad(ys.sum(), params)]

    roomy, tight = SolveStats(), SolveStats()
    wanted = run(roomy)
    plan.forget_plans()
    monkeypatch.setattr(plan_adaptive, "FIRST_CAPACITY", 1)
    assert all(map(torch.equal, run(tight), wanted))
    assert tight == roomy
    (planner,) = plan._PLANS.values()
    assert roomy.forward.n_accepted <= planner.capacity < 2 * roomy.forward.n_accepted
    assert all(map(torch.equal, run(SolveStats()), wanted))


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_several_graphs_at_a_time(options: OptDisc, adaptive: Adaptive) -> None:
    """Solves that wait for their backward pass together do not share memory; a graph can be used twice."""
    field = field_of(MLP((2, 5, 2)))
    params = list(field.parameters())
    starts = [states(4, 2) * k for k in (0.5, 1.0, 1.5)]
    alone = [torch.autograd.grad(adaptive(field, options, y).square().sum(), params) for y in starts]
    losses = [adaptive(field, options, y).square().sum() for y in starts]
    for loss, wanted in zip(losses, alone, strict=True):
        for _ in range(2):
            assert all(map(torch.equal, torch.autograd.grad(loss, params, retain_graph=True), wanted))


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_the_gradient_is_that_of_the_forward_pass(options: OptDisc, adaptive: Adaptive) -> None:
    """Changing the parameters, or the states in place, before the backward pass does not change the gradient."""
    field, y0 = field_of(ConcatSquash((2, 5, 2))), states(3, 2)
    params = list(field.parameters())
    weights = states(3, 3, 2)
    wanted = torch.autograd.grad((adaptive(field, options, y0) * weights).sum(), params)
    ys = adaptive(field, options, y0)
    loss = (ys * weights).sum()
    with torch.no_grad():
        for p in params:
            p.add_(1.0)
        ys.zero_()
    assert all(map(torch.equal, torch.autograd.grad(loss, params), wanted))


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_threads_change_nothing(options: OptDisc, adaptive: Adaptive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles and the sums of their gradients are the same for any number of threads, to the last bit."""
    from pynode.engines.fused import plan, plan_adaptive

    monkeypatch.setattr(plan_adaptive, "WORK_PER_THREAD", 10_000)
    inner = field_of(ConcatSquash((2, 24, 24, 2)), 0.3)
    augmented = AugmentedField(inner, 2, divergence("exact"), None, RunningCosts())
    state, params = augmented.initial(states(203, 2)), list(augmented.parameters())
    results, work, before = [], [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            stats = SolveStats()
            ys = adaptive(augmented, options, state, TS, stats)
            results.append([ys.detach(), *torch.autograd.grad(ys.square().sum(), params)])
            work.append(stats)
            assert max(planner.workers for planner in plan._PLANS.values()) == threads
    finally:
        torch.set_num_threads(before)
    assert work[1:] == work[:-1]
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_failures_with_threads(adaptive: Adaptive, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with one."""
    from pynode.engines.fused import plan, plan_adaptive

    monkeypatch.setattr(plan_adaptive, "WORK_PER_THREAD", 10)
    monkeypatch.setattr(plan_adaptive, "FIRST_CAPACITY", 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(SolveError) as caught:
            adaptive(cubic(1.0), OptDisc(adjoint="interpolating"), torch.ones(200, 1, dtype=torch.float64))
        assert caught.value.t == pytest.approx(0.5, abs=1e-6)
        assert max(planner.workers for planner in plan._PLANS.values()) == 2
    finally:
        torch.set_num_threads(before)


def test_second_derivatives(adaptive: Adaptive) -> None:
    """They are refused."""
    field = field_of(MLP((2, 4, 2)))
    params = list(field.parameters())
    loss = adaptive(field, OptDisc(), states(3, 2)).square().sum()
    first = torch.autograd.grad(loss, params, create_graph=True)
    with pytest.raises(NotTwiceDifferentiable, match="use DiscOpt"):
        torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), params)


def test_plans_do_not_pile_up(adaptive: Adaptive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Solves of ever new shapes make the oldest go; large memories are not kept."""
    from pynode.engines.fused import plan, plan_adaptive

    monkeypatch.setattr(plan, "PLANS_KEPT", 3)
    field = field_of(MLP((2, 5, 2)))
    for batch in range(1, 7):
        adaptive(field, OptDisc(), states(batch, 2))
        assert len(plan._PLANS) == min(batch, 3)
    assert all(len(planner._free) == 1 for planner in plan._PLANS.values())
    monkeypatch.setattr(plan_adaptive, "SPARE_BYTES", 0)
    adaptive(field, OptDisc(), states(9, 2))
    assert len(next(reversed(plan._PLANS.values()))._free) == 0


@pytest.mark.slow
def test_a_second_process_compiles_nothing(needs_fused: None) -> None:  # noqa: ARG001
    """Its first solve takes a fraction of a second of the processor, import of Numba included."""
    results = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", FRESH], check=True, capture_output=True, text=True)
        results.append(json.loads(done.stdout))
    assert all(hits == 1 for _, hits in results[1:])
    assert min(seconds for seconds, _ in results[1:]) < 2.0


def test_a_compiler_that_fails(needs_fused: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Is told in a sentence."""
    from pynode.engines.fused import calls

    def fail(dtype: torch.dtype, adaptive: bool, is_program: bool) -> None:  # noqa: ARG001
        raise RuntimeError(f"no code for {dtype}")

    monkeypatch.setattr(calls, "make_ready", fail)
    fused.failure.cache_clear()
    try:
        assert "no code for torch.float64" in str(fused.failure(torch.float64, adaptive=True))
    finally:
        fused.failure.cache_clear()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX timers")
def test_ctrl_c_is_heard_on_the_way(adaptive: Adaptive) -> None:  # noqa: ARG001
    """A solve of very many steps comes back to Python now and then."""
    field = Antisymmetric(2, gamma=0.0).build(theta=torch.tensor([0.0, 5.0, 0.0, 0.0, 0.0, 0.0]).double())  # turns
    method = OptDisc(rtol=1e-13, atol=1e-13, max_steps=10_000_000)
    y0, ts = torch.ones(50, 2, dtype=torch.float64), torch.tensor([0.0, 1e6], dtype=torch.float64)
    method.solve(field, y0, ts / 1e6)  # compiled

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    start = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            method.solve(field, y0, ts)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.perf_counter() - start < 5
