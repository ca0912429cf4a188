"""Kernels write to addresses: whatever happens on the way, memory that one of them has is nobody else's."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

import pynode
from pynode.errors import EngineUnavailable, FieldChanged
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Hutchinson

FLOAT64 = np.dtype(np.float64)
METHODS = [pynode.DiscOpt(pynode.RK4, steps=4, engine="fused"), pynode.OptDisc(engine="fused")]


@pytest.fixture(autouse=True)
def kernels(needs_fused: None) -> None:
    """All of these need them."""


def test_a_pool_gives_what_was_asked_for_when_buffers_move_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the garbage collector ends a solve, whose buffer comes back, between a look and a grasp."""
    from pynode.engines.fused import memory

    pool = memory.Pool()
    pool._buffers += [np.zeros(n, np.uint8) for n in (1 << 17, *(1 << 14,) * 7)]
    fits = memory._fits

    def moved(raw: Any, size: int) -> bool:
        answer = fits(raw, size)
        monkeypatch.setattr(memory, "_fits", fits)
        pool.take_back(memory.aligned_zeros(8, FLOAT64))
        return answer

    monkeypatch.setattr(memory, "_fits", moved)
    taken = pool.zeros(12_000, FLOAT64)
    assert taken.size == 12_000
    assert not taken.any()
    assert all(raw is not taken.base for raw in pool._buffers)


def test_a_pool_hands_no_buffer_to_two_threads() -> None:
    from pynode.engines.fused import memory

    pool, wrong = memory.Pool(), []

    def use(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(300):
            n = int(random.integers(100, 4000))
            mine = pool.zeros(n, FLOAT64)
            if mine.size != n or mine.any():
                wrong.append(n)
            mine[:] = seed
            time.sleep(0)
            if not (mine == seed).all():
                wrong.append(n)
            pool.take_back(mine)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def large_solve() -> tuple[torch.nn.Module, Tensor, Any]:
    """A solve whose memory is too large to be kept, some 80 MB: the graph owns it."""
    field = pynode.MLP((16, 4, 16)).build(seed=0)
    y0 = torch.randn(640, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    method = pynode.DiscOpt(pynode.RK4, steps=1000, engine="fused")
    return field, y0, lambda y: method.solve(field, y, torch.tensor([0.0, 1.0], dtype=torch.float64)).ys


def gradient_of(result: Tensor, field: torch.nn.Module) -> Tensor:
    field.zero_grad()
    result.square().sum().backward()
    return torch.cat([p.grad.reshape(-1) for p in field.parameters() if p.grad is not None])


def churn() -> None:
    """Takes and fills memory, where somebody may have let go of it too early."""
    gc.collect()
    for _ in range(4):
        torch.full((1 << 24,), 7.0)


def test_a_large_solve_is_large() -> None:
    from pynode.engines.fused.plan_fixed import SPARE_BYTES

    field, y0, solve = large_solve()
    del field
    with pynode.measure_memory() as meter:
        states = solve(y0)
    assert states.requires_grad
    assert meter.peak_bytes > SPARE_BYTES


@pytest.mark.parametrize("keeps", ["checkpoint", "numpy", "copies"])
def test_hooks_on_saved_tensors_do_not_take_the_memory_away(keeps: str) -> None:
    """Nor does checkpointing, which drops what was saved and solves again."""
    field, y0, solve = large_solve()
    expected = gradient_of(solve(y0), field)
    if keeps == "checkpoint":
        y = y0.clone().requires_grad_()
        result = checkpoint(solve, y, use_reentrant=False)
    else:
        pack, unpack = {
            "numpy": (lambda x: x.detach().numpy().copy(), torch.from_numpy),
            "copies": (lambda x: x.detach().clone(), lambda x: x),
        }[keeps]
        with saved_tensors_hooks(pack, unpack):
            result = solve(y0)
    churn()
    torch.testing.assert_close(gradient_of(result, field), expected, rtol=1e-12, atol=0)


def test_the_memory_of_a_large_solve_goes_at_the_end_of_its_backward_pass() -> None:
    """While the states are still there."""
    from pynode.engines.fused import calls

    field, y0, solve = large_solve()
    states = solve(y0)
    node: Any = states.grad_fn
    assert isinstance(node.pullback, calls.FixedCall)
    gone = threading.Event()
    (*_, token) = node.saved_tensors
    held = token.held
    assert held.nbytes > 1 << 26
    weakref.finalize(held, gone.set)
    del held, token
    states.square().sum().backward()
    assert gone.is_set()
    assert field.training
    with pytest.raises(RuntimeError, match="second time"):
        states.sum().backward()


@pytest.mark.parametrize("samples", [16, 2048])
@pytest.mark.parametrize("method", METHODS, ids=["disc-opt", "opt-disc"])
def test_threads_that_differentiate_one_solve_take_turns(method: Any, samples: int) -> None:
    """Its memory is one, and each gets the whole gradient."""
    field = pynode.MLP((2, 32, 2)).build(seed=0)
    y0 = torch.randn(samples, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = method.solve(field, y0, torch.linspace(0, 1, 5, dtype=torch.float64)).ys.square().sum()
    params = list(field.parameters())

    def gradient() -> Tensor:
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, params, retain_graph=True)])

    expected, wrong = gradient(), list[int]()

    def differentiate(thread: int) -> None:
        for _ in range(400 if samples < 100 else 20):
            try:
                torch.testing.assert_close(gradient(), expected, rtol=1e-12, atol=1e-12)
            except Exception:
                wrong.append(thread)
                raise

    threads = [threading.Thread(target=differentiate, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve"])
def test_threads_take_turns_with_torch_operators_too(adjoint: Any) -> None:
    """Of an eager Opt-Disc no two threads are in the adjoint at once: its watch and its counts are one."""
    inside, most = list[int](), [0]

    class Slow(torch.nn.Linear):
        def forward(self, _: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
            inside.append(1)
            most[0] = max(most[0], len(inside))
            time.sleep(2e-4)
            inside.pop()
            return super().forward(y)

    field, y0 = Slow(2, 2).double(), torch.ones(2, 2, dtype=torch.float64)
    method = pynode.OptDisc(rtol=1e-3, atol=1e-5, adjoint=adjoint, engine="eager")
    solution = method.solve(field, y0, torch.tensor([0.0, 0.5], dtype=torch.float64))
    loss, params = solution.ys.square().sum(), list(field.parameters())

    def gradient() -> Tensor:
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, params, retain_graph=True)])

    expected, gradients = gradient(), list[Tensor]()
    once = solution.stats.backward.n_f
    threads = [threading.Thread(target=lambda: gradients.append(gradient())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(gradients) == 3
    for each in gradients:
        torch.testing.assert_close(each, expected, rtol=1e-12, atol=1e-12)
    assert solution.stats.backward.n_f == 4 * once


def decay() -> tuple[torch.nn.Module, Tensor, Tensor]:
    """A solve that takes more steps than there is room for at first."""
    field = pynode.MLP((2, 8, 2)).build(seed=0)
    with torch.no_grad():
        for p in field.parameters():
            p.mul_(4.0)
    y0 = torch.tensor([[0.5, -0.25]], dtype=torch.float64)
    return field, y0, torch.tensor([0.0, 20.0], dtype=torch.float64)


@pytest.mark.parametrize("which", [0, 1])
def test_a_solve_that_was_interrupted_while_its_memory_grew(monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    """Its memory is not used again; the next solve is right."""
    from pynode.engines.fused import memory, plan_adaptive
    from pynode.engines.fused.plan import forget_plans

    field, y0, ts = decay()
    method = pynode.OptDisc(rtol=1e-9, atol=1e-11, engine="fused")
    forget_plans()
    expected = gradient_of(method.solve(field, y0, ts).ys, field)
    forget_plans()
    grow, works = plan_adaptive.AdaptiveWork.grow, []

    def interrupted(work: Any, planner: Any, capacity: int) -> None:
        if capacity == plan_adaptive.FIRST_CAPACITY:
            grow(work, planner, capacity)
            return
        works.append(work)
        calls = iter(range(100))

        def tick(*args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
            if next(calls) == which:
                raise KeyboardInterrupt

        original_zeros, original_aligned = np.zeros, memory.aligned_zeros
        with monkeypatch.context() as patch:
            patch.setattr(plan_adaptive, "aligned_zeros", lambda *a: (original_aligned(*a), tick())[0])
            patch.setattr(np, "zeros", lambda *a, **k: (original_zeros(*a, **k), tick())[0])
            grow(work, planner, capacity)

    with monkeypatch.context() as patch:
        patch.setattr(plan_adaptive.AdaptiveWork, "grow", interrupted)
        with pytest.raises(KeyboardInterrupt):
            method.solve(field, y0, ts)
    assert len(works) == 1
    assert not works[0].is_whole
    churn()
    for _ in range(3):
        torch.testing.assert_close(gradient_of(method.solve(field, y0, ts).ys, field), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("method", METHODS, ids=["disc-opt", "opt-disc"])
def test_parameters_that_have_gone_to_another_device_get_no_gradient(method: Any) -> None:
    field, y0, ts = decay()
    states = method.solve(field, y0, ts).ys
    pullback: Any = states.grad_fn.pullback
    # as `module.cuda()` does, which changes the data of the parameters; there is no other device than "meta" here
    pullback.inputs = tuple(p.detach().to("meta") if isinstance(p, torch.nn.Parameter) else p for p in pullback.inputs)
    with pytest.raises(FieldChanged, match="is on another device, than when it was solved"):
        states.sum().backward()


@pytest.fixture
def own_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of this test's own."""
    from pynode.engines.fused import compile

    pool = compile._Pool()
    monkeypatch.setattr(compile, "_POOL", pool)
    yield
    if pool._executor is not None:
        pool._executor.shutdown()


def test_no_thread_works_on_when_an_error_has_been_raised(own_pool: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Be it that no further thread could be started."""
    from pynode.engines.fused import compile

    submit, working = ThreadPoolExecutor.submit, []

    def refuse(pool: ThreadPoolExecutor, work: Any, i: int) -> Future[None]:
        if i == 2:
            raise MemoryError
        return submit(pool, work, i)

    def work(i: int) -> None:
        working.append(i)
        time.sleep(0.2)
        working.remove(i)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    with pytest.raises(MemoryError):
        compile.run_all(work, 3)
    assert working == []


@pytest.mark.parametrize("begins", [True, False])
def test_no_thread_works_on_after_a_signal_while_it_was_started(
    own_pool: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    begins: bool,
) -> None:
    """Be it that the thread has its work already, or that all threads are busy and it would begin later."""
    from pynode.engines.fused import compile

    submit, working, begun, free = ThreadPoolExecutor.submit, list[int](), threading.Event(), threading.Event()
    if not begins:
        compile._POOL.executor(1).submit(free.wait)

    def interrupted(pool: ThreadPoolExecutor, work: Any, i: int) -> None:
        submit(pool, work, i)
        if begins:
            begun.wait(10)
        raise KeyboardInterrupt

    def work(i: int) -> None:
        working.append(i)
        begun.set()
        time.sleep(0.2)
        working.remove(i)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            compile.run_all(work, 2)
        assert working == []
    finally:
        free.set()
    executor = compile._POOL._executor
    assert executor is not None
    executor.shutdown()
    assert begun.is_set() == begins


def test_signals_do_not_end_the_wait_for_threads(own_pool: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    from pynode.engines.fused import compile

    wait, signals, done = futures.wait, [KeyboardInterrupt(), KeyboardInterrupt()], threading.Event()

    def interrupted(others: Any) -> Any:
        if signals:
            raise signals.pop()
        return wait(others)

    def work(i: int) -> None:
        if i == 1:
            time.sleep(0.2)
            done.set()

    monkeypatch.setattr(compile, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile.run_all(work, 2)
    assert done.is_set()


def test_hutchinsons_estimator_without_probes_is_left_to_torch() -> None:
    field = AugmentedField(pynode.MLP((2, 4, 2)).build(seed=0), 2, Hutchinson(), None, RunningCosts())
    y0, ts = torch.zeros(3, 3, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.raises(EngineUnavailable, match="no probes"):
        pynode.DiscOpt(engine="fused").solve(field, y0, ts)
