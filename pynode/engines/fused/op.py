"""The fused solve as one node of torch's graph: states at the output times, gradients by y0 and theta.

A small solve takes less time in its kernels than torch takes for ten operators, so there are as few as possible here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pynode.engines.fused.disc_opt import BACKWARD, FINISH, FORWARD, PREPARE, run
from pynode.engines.fused.planning import KEEP_NOTHING, KEEP_STATES, KEEP_TAPES, Memory, Plan, Table, plan_for
from pynode.engines.fused.threads import run_all
from pynode.fields.base import System
from pynode.grid import TimeGrid
from pynode.schemes.base import Scheme
from pynode.solution import SolveStats
from pynode.types import State, States


def solve(
    system: System,
    scheme: Scheme,
    grid: TimeGrid,
    y0: State,
    memory: Literal["store", "recompute"],
    stats: SolveStats,
) -> States:
    """States of `system` at the output times of `grid`, `(time, ..., columns)` for `y0` `(..., columns)`.

    Differentiable in `y0` and the tensors of theta, as `DiscOpt` of the same scheme, steps and `memory`; counts into
    `stats` the evaluations and products that this would count.  Tensors are float64 or float32 on the CPU, all of one
    type.  The gradient is that at the values that theta has now, whatever happens to them before the backward pass.
    """
    theta = system.theta
    wanted = torch.is_grad_enabled() and (y0.requires_grad or any(p.requires_grad for p in theta))
    keep = KEEP_NOTHING if not wanted else KEEP_TAPES if memory == "store" else KEEP_STATES
    plan = plan_for(system, scheme, grid, y0, keep)
    stats.forward.n_f += plan.n_stages
    call = _Call(plan, system, stats, plan.n_stages if memory == "recompute" else 0)
    if not wanted:
        return call.forward(y0)
    states: States = _Fused.apply(call, y0, *theta)
    return states


class _Call:
    """One solve: its plan, the memory that it has borrowed from there, and what to count when its gradient is taken."""

    __slots__ = ("again", "memory", "plan", "probes", "stats", "system", "y0")

    def __init__(self, plan: Plan, system: System, stats: SolveStats, again: int) -> None:
        self.plan, self.system, self.stats, self.again = plan, system, stats, again
        self.memory: Memory = plan.borrow()
        self.probes: Tensor | None = None

    def __del__(self) -> None:
        self.plan.take_back(self.memory)

    def forward(self, y0: State) -> States:
        """The states at the output times."""
        plan, system = self.plan, self.system
        self.y0 = y0 = y0.contiguous()
        theta = [p if p.is_contiguous() else p.contiguous() for p in system.theta]
        ys = y0.new_empty((plan.outputs, *y0.shape))
        if system.probes is not None:
            self.probes = system.probes.detach().to(y0.dtype).contiguous()
        self._run(plan.addresses(y0, ys, self.probes, theta), PREPARE, FORWARD, 0)
        return ys

    def backward(self, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """The cotangents of y0 and of theta's tensors, None where `wanted` says so."""
        plan, system, cost = self.plan, self.system, self.stats.backward
        cotangents = cotangents.contiguous()
        y0_bar, *bars = [_alike(p) if want else None for p, want in zip((self.y0, *system.theta), wanted, strict=True)]
        self._run(plan.addresses_back(cotangents, y0_bar, self.probes, bars), 0, BACKWARD, FINISH)
        cost.n_f += self.again
        cost.n_vjp += plan.n_stages
        return (y0_bar, *bars)

    def _run(self, addresses: Table, before: int, task: int, after: int) -> None:
        plan, memory = self.plan, self.memory
        table, numbers, workers = plan.table, plan.numbers, plan.workers
        if workers == 1:
            run(table, numbers, memory, addresses, 0, 1, before | task | after)
            return
        if before:
            run(table, numbers, memory, addresses, 0, 1, before)
        run_all(lambda worker: run(table, numbers, memory, addresses, worker, workers, task), workers)
        if after:
            run(table, numbers, memory, addresses, 0, 1, after)


def _alike(p: Tensor) -> Tensor:
    """An empty contiguous tensor like `p`; twice as fast by `empty_like`, which keeps strides."""
    return torch.empty_like(p) if p.is_contiguous() else torch.empty(p.shape, dtype=p.dtype)


class _Fused(torch.autograd.Function):
    """theta's tensors are inputs of the node so that they get their gradients; the kernels know them from the call."""

    @staticmethod
    def forward(ctx: Any, call: _Call, y0: State, *theta: Tensor) -> States:  # noqa: ARG004
        ctx.call = call
        return call.forward(y0)

    @staticmethod
    def backward(ctx: Any, cotangents: States) -> tuple[Tensor | None, ...]:
        # the decorator costs as much as all allocations together, and is needed only where a graph of it is built
        if torch.is_grad_enabled():
            found: tuple[Tensor | None, ...] = _backward_once(ctx, cotangents)
            return found
        return (None, *ctx.call.backward(cotangents, ctx.needs_input_grad[1:]))


@once_differentiable
def _backward_once(ctx: Any, cotangents: States) -> tuple[Tensor | None, ...]:
    return (None, *ctx.call.backward(cotangents, ctx.needs_input_grad[1:]))
