"""Fixed steps on the kernels: states at the output times, gradients by y0 and theta.

A small solve takes less time in its kernels than torch takes for ten operators, so there are as few as possible here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
from pynode.gradients import Discrete
from pynode.grid import TimeGrid
from pynode.schemes.base import Scheme
from pynode.second_derivatives import linked
from pynode.solution import SolveStats
from pynode.solving import Kept, Pullback, Run, Solve
from pynode.types import State, States, VectorField


def run_fixed(solve: Solve) -> Run:
    """Runs `solve`, of fixed steps, as torch operators would; counts what they would count.

    Tensors are float64 or float32 on the CPU, all of one type.  The gradient is that at the values that theta has now,
    whatever happens to them before the backward pass.  A gradient of the gradient takes the way by torch operators,
    with the memory that this takes.
    """
    gradient, stats, system, y0, grid = solve.recipe.gradient, solve.stats, solve.system, solve.y0, solve.grid
    assert isinstance(gradient, Discrete)
    stats.forward.n_accepted = grid.n_steps
    wanted = solve.wants_gradient and (y0.requires_grad or _any_wanted(system.theta))
    keep = KEEP_NOTHING if not wanted else KEEP_TAPES if gradient.memory == "store" else KEEP_STATES
    scheme = solve.recipe.formula
    plan, steps = fixed_plan(system, scheme, grid, y0, keep)
    stats.forward.n_f += plan.n_stages
    call = _Call(plan, steps, system, stats)
    if wanted:
        call.inputs = (solve.ts, y0, *system.theta)
        call.eager = (solve.field, scheme, grid)
        call.versions = _versions(y0, system.theta)
        if gradient.memory == "recompute":
            call.again = plan.n_stages
    return Run(call.forward(y0), call if wanted else None, stats)


def _any_wanted(theta: tuple[Tensor, ...]) -> bool:
    for p in theta:  # noqa: SIM110 (a generator costs more than what it saves)
        if p.requires_grad:
            return True
    return False


def make_ready(dtype: torch.dtype) -> None:
    """Compiles the kernel for numbers of this type, or loads it from disk; else the first solve would, less quickly."""
    compile_now(run, torch.zeros(1, dtype=dtype, device="cpu").numpy())


class _Call(Pullback):
    """One solve: its plan, the memory that it has borrowed from there, and what to count when its gradient is taken."""

    name = "the compiled kernels"
    repeats = True

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

    def release(self) -> Kept:
        if self.plan.is_large:
            # in torch's hands it is freed with the graph's other tensors, at the end of the backward pass
            return Kept((torch.from_numpy(self.work.hand_over()),))
        return Kept((self.plan.states,))  # so that torch knows of a second backward pass

    def pull(
        self,
        kept: Kept,  # noqa: ARG002 (the kernels know where it is)
        cotangents: States,
        wanted: Sequence[bool],
    ) -> tuple[Tensor | None, ...]:
        """The cotangents of y0 and of theta's tensors, None where `wanted` says so."""
        wanted = wanted[1:]
        if torch.is_grad_enabled():
            return (None, *self._by_torch(cotangents, wanted))
        plan, cost, work = self.plan, self.stats.backward, self.work
        cotangents = cotangents.contiguous()
        sources = (self.y0, *self.system.theta)
        y0_bar, *bars = [alike(p) if want else None for p, want in zip(sources, wanted)]  # noqa: B905 (costs more)
        work.point(None, None, self.probes, cotangents, y0_bar)
        work.theta_bar[:] = [0 if b is None else b.data_ptr() for b in bars]
        self._run(0, BACKWARD, FINISH)
        cost.n_f += self.again
        cost.n_vjp += plan.n_stages
        return (None, y0_bar, *bars)

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

    def _by_torch(self, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """The same as functions that torch can differentiate again."""
        assert self.eager is not None
        if self.versions != _versions(self.y0, self.system.theta):
            raise FieldChanged(
                "the initial state or the parameters have been changed in place since the solve, so that its gradient "
                "can't be differentiated; change copies of them"
            )
        field, scheme, grid = self.eager
        with torch.enable_grad():
            y0 = self.y0.detach().requires_grad_()
            back = cotangents.detach().requires_grad_()
            ys = scheme.solve(field, y0, grid)
        leaves = [p for p, want in zip((y0, *self.system.theta), wanted, strict=True) if want]
        gradients = torch.autograd.grad(ys, leaves, back, create_graph=True, materialize_grads=True)
        self.stats.backward.n_vjp += self.plan.n_stages
        originals = [p for p, want in zip((self.y0, *self.system.theta), wanted, strict=True) if want]
        each = iter(linked(gradients, [*leaves, back], [*originals, cotangents]))
        return tuple(next(each) if want else None for want in wanted)


def _versions(y0: State, theta: tuple[Tensor, ...]) -> list[int]:
    return [y0._version, *[p._version for p in theta]]
