"""Solves on the kernels and their gradients: from torch's tensors to the kernels and back.

A small solve takes less time in its kernels than torch takes for ten operators, so there are as few as possible here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pynode.adjoint import check_cotangents
from pynode.drift import BACKSOLVE_HINT, MOST, report_drift, sample_of_row
from pynode.engines.eager.watch import steps_left
from pynode.engines.fused.adaptive import ATTEMPT, BEGIN, CONCLUDE, NORM, STEP_BEGIN, WHOLE, run_adaptive
from pynode.engines.fused.compile import compile_now, run_all
from pynode.engines.fused.controller import DONE, DRIFTED, EXHAUSTED, FULL, NON_FINITE, RUNNING, UNDERFLOW, Progress
from pynode.engines.fused.embedded import PARTS, STAGES
from pynode.engines.fused.field.compiled import entry_address
from pynode.engines.fused.fixed import BACKWARD, FINISH, FORWARD, PREPARE, run_fixed
from pynode.engines.fused.memory import alike
from pynode.engines.fused.plan import Memory
from pynode.engines.fused.plan_adaptive import AdaptiveWork, adaptive_planner
from pynode.engines.fused.plan_fixed import FixedWork, fixed_planner
from pynode.errors import FieldChanged, SolveError
from pynode.fields.base import Extended
from pynode.finite import is_finite
from pynode.gradients import Discrete
from pynode.samples import Samples, fastest_samples, non_finite_samples
from pynode.second_derivatives import linked
from pynode.solution import Cost, Status
from pynode.solve import Kept, Pullback, Run, Solve
from pynode.steps import Adaptive
from pynode.tapes.tape import Tape
from pynode.types import State, States, VectorField

FAILURES = {NON_FINITE: Status.NON_FINITE, UNDERFLOW: Status.STEP_UNDERFLOW, EXHAUSTED: Status.MAX_STEPS}


def run(solve: Solve) -> Run:
    """Runs `solve`; counts its work, and that of its gradient, into its stats.

    Tensors are float64 or float32 on the CPU, all of one type.  The gradient is that at the values that theta has now,
    whatever happens to them before the backward pass.

    With fixed steps everything is as torch operators have it.  A gradient of the gradient takes the way by torch
    operators, with the memory that this takes.

    With adaptive steps the batch is one system with one step size.  States at output times come from the solver's
    interpolant, as in torchdiffeq and SciML, so that evaluations mean the same; with `landing` the solver steps onto
    output times, which takes more evaluations and makes states and gradient more accurate than the tolerance asks for.
    The adjoint steps onto output times in any case.  Raises `SolveError`, forward and backward.
    """
    wanted = solve.wants_gradient and _wants_gradient(solve.y0, solve.system.theta)
    call = AdaptiveCall(solve, wanted) if isinstance(solve.recipe.steps, Adaptive) else FixedCall(solve, wanted)
    return Run(call.forward(), call if wanted else None, solve.stats)


def _wants_gradient(y0: State, theta: tuple[Tensor, ...]) -> bool:
    if y0.requires_grad:
        return True
    for p in theta:  # noqa: SIM110 (a generator costs more than what it saves)
        if p.requires_grad:
            return True
    return False


def make_ready(dtype: torch.dtype, adaptive: bool, is_program: bool) -> None:
    """Compiles steps and field for numbers of this type, or loads them from disk; else the first solve would."""
    entry_address(is_program, dtype.itemsize)
    compile_now(run_adaptive if adaptive else run_fixed, torch.zeros(1, dtype=dtype, device="cpu").numpy())


class Call(Pullback):
    """One solve: its plan, the memory that it has borrowed from there, and its gradient.

    Subclasses run the kernels: `_solve` and `_solve_back` find all tensors pointed to.
    """

    planner: Any
    work: FixedWork | AdaptiveWork

    def __init__(self, solve: Solve) -> None:
        self.system, self.y0, self.stats = solve.system, solve.y0, solve.stats
        self.inputs = (solve.ts, solve.y0, *self.system.theta)

    def __del__(self) -> None:
        if hasattr(self, "work"):  # there may have been no memory for it
            self.planner.take_back(self.work)

    def forward(self) -> States:
        """The states at the output times."""
        work, probes = self.work, self.system.probes
        start = self.y0.contiguous()
        theta = [p if p.is_contiguous() else p.contiguous() for p in self.system.theta]
        states: Tensor = torch.empty_like(self.planner.states)
        self.probes = None if probes is None else probes.detach().clone(memory_format=torch.contiguous_format)
        work.point(start, states, self.probes)
        work.theta[:] = [p.data_ptr() for p in theta]
        self._solve()
        return states

    def pull(
        self,
        kept: Kept,  # noqa: ARG002 (the kernels know where it is)
        cotangents: States,
        wanted: Sequence[bool],
    ) -> tuple[Tensor | None, ...]:
        if [(p.numel(), p.dtype, p.device) for p in self.inputs[1:]] != self.planner.kinds:
            raise FieldChanged(
                "the initial state or a parameter has another size or dtype, or is on another device, than when it was "
                "solved, so that no gradient fits it; call backward first"
            )
        cotangents = cotangents.contiguous()
        y0_bar, *bars = [alike(p) if want else None for p, want in zip(self.inputs[1:], wanted[1:])]  # noqa: B905 (costs more)
        self.work.point(None, None, self.probes, cotangents, y0_bar)
        self.work.theta_bar[:] = [0 if b is None else b.data_ptr() for b in bars]
        self._solve_back(cotangents)
        return (None, y0_bar, *bars)

    def release(self) -> Kept:
        return Kept((self.planner.states,))  # so that torch knows of a second backward pass

    @abstractmethod
    def _solve(self) -> None:
        """Runs the solve."""

    @abstractmethod
    def _solve_back(self, cotangents: States) -> None:
        """Runs its adjoint."""


class _Prepared(nn.Module):
    """A tape with its constants, by torch operators."""

    def __init__(self, tape: Tape, constants: Sequence[Tensor]) -> None:
        super().__init__()
        self.tape, self.constants = tape, constants

    def forward(self, t: Tensor, y: State) -> State:
        return self.tape.evaluate_prepared(self.constants, t, y)


class FixedCall(Call):
    """A solve by fixed steps, and its discrete adjoint."""

    name = "the compiled kernels"
    repeats = True
    work: FixedWork

    def __init__(self, solve: Solve, wanted: bool) -> None:
        super().__init__(solve)
        gradient, self.grid = solve.recipe.gradient, solve.grid
        assert isinstance(gradient, Discrete)
        self.field, self.formula = solve.field, solve.recipe.formula
        self.planner, steps = fixed_planner(solve, self.grid, gradient.memory if wanted else None)
        self.recomputed = self.planner.n_stages if gradient.memory == "recompute" else 0
        self.versions = self._versions() if wanted else []  # of the tensors that torch operators would read
        self.stats.forward.n_accepted = self.grid.n_steps
        self.stats.forward.n_f += self.planner.n_stages
        self.work = self.planner.borrow()
        self.work.take_steps(steps)

    def _solve(self) -> None:
        self._run(PREPARE, FORWARD, 0)

    def _solve_back(self, cotangents: States) -> None:  # noqa: ARG002
        self._run(0, BACKWARD, FINISH)
        self.stats.backward.n_f += self.recomputed
        self.stats.backward.n_vjp += self.planner.n_stages

    def _run(self, before: int, task: int, after: int) -> None:
        address, like, workers = self.work.address, self.planner.like, self.planner.workers
        if workers == 1:
            run_fixed(like, address, 0, 1, before | task | after)
            return
        if before:
            run_fixed(like, address, 0, 1, before)
        run_all(lambda worker: self._share(worker, task), workers)
        if after:
            run_fixed(like, address, 0, 1, after)

    def _share(self, worker: int, task: int) -> None:
        """One worker's share; as a method, so that a thread keeps the memory alive that it writes to."""
        run_fixed(self.planner.like, self.work.address, worker, self.planner.workers, task)

    def release(self) -> Kept:
        if self.planner.is_large:
            # the node lets it go with the graph's other tensors, at the end of the backward pass
            return Kept((self.planner.states,), self.work.hand_over())
        return super().release()

    def pull_with_graph(
        self,
        kept: Kept,  # noqa: ARG002
        cotangents: States,
        wanted: Sequence[bool],
    ) -> tuple[Tensor | None, ...]:
        """By torch operators, with the memory that this takes."""
        wanted = wanted[1:]
        if self.versions != self._versions():
            raise FieldChanged(
                "the initial state or the parameters have been changed in place since the solve, so that its gradient "
                "can't be differentiated; change copies of them"
            )
        with torch.enable_grad():
            y0 = self.y0.detach().requires_grad_()
            back = cotangents.detach().requires_grad_()
            field, theta = self._by_operators()
            ys = self.formula.solve(field, y0, self.grid)
        leaves = [p for p, want in zip((y0, *theta), wanted, strict=True) if want]
        gradients = torch.autograd.grad(ys, leaves, back, create_graph=True, materialize_grads=True)
        self.stats.backward.n_vjp += self.planner.n_stages
        originals = [p for p, want in zip(self.inputs[1:], wanted, strict=True) if want]
        each = iter(linked(gradients, [*leaves, back], [*originals, cotangents]))
        return (None, *(next(each) if want else None for want in wanted))

    def _by_operators(self) -> tuple[VectorField, tuple[Tensor, ...]]:
        """The field for torch operators, and the tensors that it reads instead of theta's."""
        spec, theta = self.system.spec, self.system.theta
        if not isinstance(spec, Tape):
            return self.field, theta
        leaves = tuple([p.detach().requires_grad_() for p in theta])
        field = _Prepared(spec, leaves)
        return self.field.around(field) if isinstance(self.field, Extended) else field, leaves

    def _versions(self) -> list[int]:
        return [p._version for p in self.inputs[1:]]


class AdaptiveCall(Call):
    """A solve by adaptive steps, and its continuous adjoint, which is a solve of its own."""

    name = "OptDisc"
    work: AdaptiveWork

    def __init__(self, solve: Solve, wanted: bool) -> None:
        super().__init__(solve)
        self.planner = adaptive_planner(solve, wanted)
        self.work = self.planner.borrow()
        self.work.outputs[:] = solve.ts.detach().double().numpy()

    def _solve(self) -> None:
        self._run(0, self.stats.forward)

    def _solve_back(self, cotangents: States) -> None:
        if not is_finite(cotangents):
            check_cotangents(torch.from_numpy(self.work.outputs), cotangents)
        self._run(1, self.stats.backward)

    def _run(self, back: int, cost: Cost) -> None:
        """Solves forward or backward, counts, and raises what has to be raised."""
        planner, work = self.planner, self.work
        kernel = partial(run_adaptive, planner.like, work.address)
        kernel(0, 1, back, WHOLE if planner.workers == 1 else BEGIN)
        while (status := work.status) in (RUNNING, FULL):
            if status == FULL:
                work.grow(planner, 2 * work.capacity)
            if planner.workers == 1:
                kernel(0, 1, back, WHOLE & ~BEGIN)
            else:
                self._step(kernel, back)
        n_accepted, n_rejected, n_f, n_vjp = work.counts
        cost.n_f += n_f
        cost.n_vjp += n_vjp if back else 0  # a forward solve leaves the number of an earlier one there
        cost.n_accepted += n_accepted
        cost.n_rejected += n_rejected
        backsolves = bool(back and planner.plan.backsolves)
        if status == DONE and not backsolves:
            return
        now, samples = work.now, None
        if status == NON_FINITE:
            samples = self._non_finite_samples(now, back)
        if status != DONE:
            kernel(0, 1, back, NORM)
        if status == UNDERFLOW:
            samples = self._fastest_samples(now, back)
        if backsolves:
            drift, t = min(now.drift, MOST), float(work.outputs[now.drift_output])
            on_drift = planner.on_drift if status in (DONE, DRIFTED) else "ignore"  # another failure goes first
            report_drift(self.stats, on_drift, drift, t, sample_of_row(self.y0, now.drift_row))
        if status != DONE:
            raise self._error(work.now, back, samples)

    def _step(self, kernel: Callable[..., None], back: int) -> None:
        """One step by several workers."""
        workers = self.planner.workers
        kernel(0, workers, back, STEP_BEGIN)
        if self.work.status == RUNNING:
            run_all(lambda worker: self._share(worker, back), workers)
            kernel(0, workers, back, CONCLUDE)

    def _share(self, worker: int, back: int) -> None:
        """One worker's share of a step, as `FixedCall` has it."""
        run_adaptive(self.planner.like, self.work.address, worker, self.planner.workers, back, ATTEMPT)

    def _error(self, now: Progress, back: int, samples: Samples | None) -> SolveError:
        """What a solve that has stopped raises."""
        plan, why = self.planner.plan, FAILURES[now.status]
        return SolveError(
            why,
            t=now.time,
            dt=now.step,
            norm_f=now.slope_norm,
            phase="backward" if back else "forward",
            samples=samples,
            detail=steps_left(plan.max_steps, now.time, now.step, now.end) if now.status == EXHAUSTED else "",
            remedy=why.remedy + (BACKSOLVE_HINT if back and plan.backsolves else ""),
        )

    def _non_finite_samples(self, now: Progress, back: int) -> Samples | None:
        """Samples whose numbers are not finite in the step that was tried last."""
        # before the first step, parts beyond the first slope are left from an earlier solve
        parts = PARTS if now.n_accepted + now.n_rejected > 0 else 2
        steps = [self._state_step(now, back, parts)]
        if back:
            steps.insert(0, self._rows(self.work.adjoint, parts))
        return next(filter(None, map(non_finite_samples, steps)), None)

    def _fastest_samples(self, now: Progress, back: int) -> Samples | None:
        """Samples that run away, by the slopes where the solve stopped."""
        return fastest_samples(self._state_step(now, back, 2)[:, 1])

    def _state_step(self, now: Progress, back: int, parts: int) -> Tensor:
        """Parts of the state's present step `(batch, parts, ...)`."""
        plan = self.planner.plan
        if back:
            return self._rows(self.work.state, parts if plan.backsolves else 2)
        return self._rows(self.work.steps[now.n_steps * STAGES * plan.size if plan.keeps else 0 :], parts)

    def _rows(self, memory: Memory, parts: int) -> Tensor:
        rows = torch.from_numpy(memory[: parts * self.planner.size].copy())
        rows = rows.reshape(parts, -1, self.planner.field.state_step)[:, :, : self.system.columns]
        return rows.transpose(0, 1).reshape(len(self.y0) if self.y0.ndim > 1 else 1, parts, -1)
