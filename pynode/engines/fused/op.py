"""The fused solve as one node of torch's graph: states at the output times, gradients by y0 and theta.

A small solve takes less time in its kernels than torch takes for ten operators, so there are as few as possible here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from pynode.engines.direct import DirectSolve
from pynode.engines.fused.compile import compile_now, run_all
from pynode.engines.fused.fixed import (
    BACKWARD,
    FINISH,
    FORWARD,
    KEEP_NOTHING,
    KEEP_STATES,
    KEEP_TAPES,
    PREPARE,
    Steps,
    run,
)
from pynode.engines.fused.memory import alike
from pynode.engines.fused.plan_fixed import FixedPlanner, FixedWork, fixed_plan
from pynode.errors import FieldChanged
from pynode.fields.base import System
from pynode.grid import TimeGrid
from pynode.schemes.base import Scheme
from pynode.second_derivatives import final, linked
from pynode.solution import SolveStats
from pynode.transforms import is_batched, one_by_one
from pynode.types import State, States, VectorField


def solve(
    system: System,
    scheme: Scheme,
    grid: TimeGrid,
    y0: State,
    memory: Literal["store", "recompute"],
    stats: SolveStats,
    field: VectorField | None = None,
) -> States:
    """States of `system` at the output times of `grid`, `(time, ..., columns)` for `y0` `(..., columns)`.

    Differentiable in `y0` and the tensors of theta, as `DiscOpt` of the same scheme, steps and `memory`; counts into
    `stats` the evaluations and products that this would count (the number of steps is the caller's).  Tensors are
    float64 or float32 on the CPU, all of one type.  The gradient is that at the values that theta has now, whatever
    happens to them before the backward pass.

    A gradient of the gradient needs `field`, the same right-hand side as torch operators, and takes that way, with the
    memory that this takes; so do several gradients at a time, as for a whole Jacobian.
    """
    theta = system.theta
    wanted = torch.is_grad_enabled() and (y0.requires_grad or _any_wanted(theta))
    keep = KEEP_NOTHING if not wanted else KEEP_TAPES if memory == "store" else KEEP_STATES
    plan, steps = fixed_plan(system, scheme, grid, y0, keep)
    stats.forward.n_f += plan.n_stages
    call = _Call(plan, steps, system, stats)
    if not wanted:
        return call.forward(y0)
    if memory == "recompute":
        call.again = plan.n_stages
    if field is not None:
        call.eager = (field, scheme, grid)
        call.versions = _versions(y0, theta)
    states: States = _Fused.apply(call, y0, *theta)
    return states


def _any_wanted(theta: tuple[Tensor, ...]) -> bool:
    for p in theta:  # noqa: SIM110 (a generator costs more than what it saves)
        if p.requires_grad:
            return True
    return False


def solve_directly(
    system: System, scheme: Scheme, grid: TimeGrid, y0: State, memory: Literal["store", "recompute"], stats: SolveStats
) -> DirectSolve:
    """The same as `solve`, with a gradient that autograd has no part in."""
    plan, steps = fixed_plan(system, scheme, grid, y0, KEEP_TAPES if memory == "store" else KEEP_STATES)
    stats.forward.n_f += plan.n_stages
    call = _Call(plan, steps, system, stats)
    if memory == "recompute":
        call.again = plan.n_stages
    return DirectSolve(call.forward(y0), system.theta, stats, call.backward)


def make_ready(dtype: torch.dtype) -> None:
    """Compiles the kernel for numbers of this type, or loads it from disk; else the first solve would, less quickly."""
    compile_now(run, torch.zeros(1, dtype=dtype, device="cpu").numpy())


class _Call:
    """One solve: its plan, the memory that it has borrowed from there, and what to count when its gradient is taken."""

    __slots__ = ("again", "eager", "like", "plan", "probes", "stats", "system", "versions", "work", "y0")

    def __init__(self, plan: FixedPlanner, steps: Steps, system: System, stats: SolveStats) -> None:
        self.plan, self.system, self.stats = plan, system, stats
        self.again = 0  # evaluations of the gradient, apart from its products
        self.eager: tuple[VectorField, Scheme, TimeGrid] | None = None  # the same solve for torch operators
        self.versions: list[int] = []  # of the tensors that these would read
        self.work: FixedWork = plan.borrow()
        self.work.solve.array["steps"] = steps.address

    def __del__(self) -> None:
        if hasattr(self, "work"):  # there may have been no memory for it
            self.plan.take_back(self.work)

    def forward(self, y0: State) -> States:
        """The states at the output times."""
        plan, system, work = self.plan, self.system, self.work
        self.y0 = y0
        start = y0.contiguous()
        theta = [p if p.is_contiguous() else p.contiguous() for p in system.theta]
        ys = torch.empty_like(plan.states)
        probes = system.probes
        self.probes = None if probes is None else probes.detach().clone(memory_format=torch.contiguous_format)
        work.point(start, ys, self.probes, None, None)
        work.theta[:] = [p.data_ptr() for p in theta]
        self._run(PREPARE, FORWARD, 0)
        return ys

    def backward(self, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """The cotangents of y0 and of theta's tensors, None where `wanted` says so."""
        plan, cost, work = self.plan, self.stats.backward, self.work
        cotangents = cotangents.contiguous()
        sources = (self.y0, *self.system.theta)
        y0_bar, *bars = [alike(p) if want else None for p, want in zip(sources, wanted)]  # noqa: B905 (costs more)
        work.point(None, None, self.probes, cotangents, y0_bar)
        work.theta_bar[:] = [0 if b is None else b.data_ptr() for b in bars]
        self._run(0, BACKWARD, FINISH)
        cost.n_f += self.again
        cost.n_vjp += plan.n_stages
        return (y0_bar, *bars)

    def _run(self, before: int, task: int, after: int) -> None:
        address, like, workers = self.work.solve.address, self.plan.like, self.plan.workers
        if workers == 1:
            run(like, address, 0, 1, before | task | after)
            return
        if before:
            run(like, address, 0, 1, before)
        run_all(lambda worker: run(like, address, worker, workers, task), workers)
        if after:
            run(like, address, 0, 1, after)

    def backward_by_torch(self, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """The same as functions that torch can differentiate again."""
        assert self.eager is not None
        if is_batched(cotangents):
            return one_by_one(lambda each: self.backward_by_torch(each, wanted), cotangents)
        if self.versions != _versions(self.y0, self.system.theta):
            raise FieldChanged(
                "the initial state or the parameters have been changed in place since the solve, so that its gradient "
                "can't be differentiated; change copies of them"
            )
        field, scheme, grid = self.eager
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            y0 = self.y0.detach().requires_grad_()
            back = cotangents.detach().requires_grad_()
            ys = scheme.solve(field, y0, grid)
        leaves = [p for p, want in zip((y0, *self.system.theta), wanted, strict=True) if want]
        gradients = torch.autograd.grad(ys, leaves, back, create_graph=again, materialize_grads=True)
        self.stats.backward.n_vjp += self.plan.n_stages
        if again:
            originals = [p for p, want in zip((self.y0, *self.system.theta), wanted, strict=True) if want]
            gradients = linked(gradients, [*leaves, back], [*originals, cotangents])  # type: ignore[assignment]
        each = iter(gradients)
        return tuple(next(each) if want else None for want in wanted)


def _versions(y0: State, theta: tuple[Tensor, ...]) -> list[int]:
    return [y0._version, *[p._version for p in theta]]


class _Fused(torch.autograd.Function):
    """theta's tensors are inputs of the node so that they get their gradients; the kernels know them from the call."""

    @staticmethod
    def forward(ctx: Any, call: _Call, y0: State, *theta: Tensor) -> States:  # noqa: ARG004
        ctx.call = call
        ys = call.forward(y0)
        if call.plan.is_large:
            # in torch's hands it is freed with the graph's other tensors, at the end of the backward pass
            ctx.save_for_backward(torch.from_numpy(call.work.hand_over()))
        else:
            ctx.save_for_backward(call.plan.states)  # so that torch knows of a second backward pass
        return ys

    @staticmethod
    def backward(ctx: Any, cotangents: States) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        _ = ctx.saved_tensors  # torch refuses where the graph has been freed
        if call.eager is not None and (torch.is_grad_enabled() or is_batched(cotangents)):
            return (None, *call.backward_by_torch(cotangents, ctx.needs_input_grad[1:]))
        gradients = call.backward(cotangents, ctx.needs_input_grad[1:])
        return (None, *final(gradients, (cotangents, call.y0, *call.system.theta), "the compiled kernels"))
