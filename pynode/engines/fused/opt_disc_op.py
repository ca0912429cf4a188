"""Adaptive steps on the kernels: states at the output times, gradients by y0 and theta."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from pynode.adjoint import check_cotangents
from pynode.drift import BACKSOLVE_HINT, MOST, report_drift, sample_of_row
from pynode.engines.eager.watch import steps_left
from pynode.engines.fused import why_not
from pynode.engines.fused.adaptive import ATTEMPT, BEGIN, CONCLUDE, NORM, PREPARE, WHOLE
from pynode.engines.fused.adaptive import run_adaptive as kernel
from pynode.engines.fused.compile import compile_now, run_all
from pynode.engines.fused.controller import DONE, DRIFTED, EXHAUSTED, FULL, NON_FINITE, RUNNING, UNDERFLOW, Run
from pynode.engines.fused.embedded import PARTS, STAGES
from pynode.engines.fused.memory import alike
from pynode.engines.fused.opt_disc_options import AdaptiveOptions
from pynode.engines.fused.plan import Memory
from pynode.engines.fused.plan_adaptive import AdaptivePlanner, AdaptiveWork, adaptive_plan
from pynode.errors import SolveError
from pynode.fields.base import System
from pynode.finite import is_finite
from pynode.gradients import Continuous
from pynode.samples import Samples, fastest_samples, non_finite_samples
from pynode.solution import Cost, SolveStats, Status
from pynode.solving import Kept, Pullback, Recipe, Solve
from pynode.solving import Run as SolveRun
from pynode.steps import Adaptive
from pynode.types import State, States, Times

FAILURES = {NON_FINITE: Status.NON_FINITE, UNDERFLOW: Status.STEP_UNDERFLOW, EXHAUSTED: Status.MAX_STEPS}


def run_adaptive(solve: Solve) -> SolveRun:
    """Runs `solve`, of adaptive steps; its gradient is a solve of its own.

    The batch is one system with one step size.  States at output times come from the solver's interpolant, as in
    torchdiffeq and SciML, so that evaluations mean the same; with `landing` the solver steps onto output times, which
    takes more evaluations and makes states and gradient more accurate than the tolerance asks for.  The adjoint steps
    onto output times in any case.

    Tensors are float64 or float32 on the CPU, all of one type.  The gradient is that at the values that theta has now,
    whatever happens to them before the backward pass.  Raises `SolveError`, forward and backward.
    """
    system, y0, stats = solve.system, solve.y0, solve.stats
    wanted = solve.wants_gradient and (y0.requires_grad or any([p.requires_grad for p in system.theta]))  # noqa: C419
    planner = adaptive_plan(system, options_of(solve.recipe), y0, len(solve.ts), wanted)
    call = _Call(planner, system, stats)
    call.inputs = (solve.ts, y0, *system.theta)
    return SolveRun(call.forward(y0, solve.ts), call if wanted else None, stats)


@lru_cache(maxsize=64)
def options_of(recipe: Recipe) -> AdaptiveOptions:
    """The recipe as the planner reads it."""
    steps, gradient = recipe.steps, recipe.gradient
    assert isinstance(steps, Adaptive)
    assert isinstance(gradient, Continuous)
    return AdaptiveOptions(
        solver=recipe.scheme.name,
        rtol=steps.rtol,
        atol=steps.atol,
        adjoint_rtol=gradient.rtol,
        adjoint_atol=gradient.atol,
        adjoint=gradient.adjoint,
        adjoint_norm=gradient.norm,
        max_steps=steps.max_steps,
        landing=steps.landing,
        drift=gradient.drift,
    )


@lru_cache(maxsize=2)
def failure(dtype: torch.dtype) -> str | None:
    """Makes the kernel for numbers of that type ready; says why, if it can't be compiled with the Numba installed."""
    return why_not(make_ready, dtype)


def make_ready(dtype: torch.dtype) -> None:
    """Compiles the kernel for numbers of this type, or loads it from disk; else the first solve would, less quickly."""
    compile_now(kernel, torch.zeros(1, dtype=dtype, device="cpu").numpy())


class _Call(Pullback):
    """One solve: its plan, the memory that it has borrowed from there, and where to count."""

    name = "OptDisc"

    def __init__(self, planner: AdaptivePlanner, system: System, stats: SolveStats) -> None:
        self.planner, self.system, self.stats = planner, system, stats
        self.work: AdaptiveWork = planner.borrow()

    def __del__(self) -> None:
        if hasattr(self, "work"):  # there may have been no memory for it
            self.planner.take_back(self.work)

    def forward(self, y0: State, ts: Times) -> States:
        """The states at the output times."""
        system, work = self.system, self.work
        self.y0 = y0
        start = y0.detach().contiguous()
        theta = [p if p.is_contiguous() else p.contiguous() for p in system.theta]
        ys = torch.empty_like(self.planner.states)
        probes = system.probes
        self.probes = None if probes is None else probes.detach().clone(memory_format=torch.contiguous_format)
        work.point(start, ys, self.probes)
        work.theta[:] = [p.data_ptr() for p in theta]
        work.outputs[:] = ts.detach().double().numpy()
        self._run(0, self.stats.forward)
        return ys

    def release(self) -> Kept:
        return Kept((self.planner.states,))  # so that torch knows of a second backward pass

    def pull(
        self,
        kept: Kept,  # noqa: ARG002 (the kernels know where it is)
        cotangents: States,
        wanted: Sequence[bool],
    ) -> tuple[Tensor | None, ...]:
        """The cotangents of y0 and of theta's tensors, None where `wanted` says so."""
        wanted = wanted[1:]
        work = self.work
        cotangents = cotangents.contiguous()
        if not is_finite(cotangents):
            check_cotangents(torch.from_numpy(work.outputs), cotangents)
        sources = (self.y0, *self.system.theta)
        y0_bar, *bars = [alike(p) if want else None for p, want in zip(sources, wanted, strict=True)]
        work.point(probes=self.probes, cotangent=cotangents, y0_bar=y0_bar)
        work.theta_bar[:] = [0 if b is None else b.data_ptr() for b in bars]
        self._run(1, self.stats.backward)
        return (None, y0_bar, *bars)

    def _run(self, back: int, cost: Cost) -> None:
        """Solves forward or backward, counts, and raises what has to be raised."""
        planner, work = self.planner, self.work
        call = partial(kernel, planner.like, work.solve.address)
        if planner.workers == 1:
            call(0, 1, back, WHOLE)
        else:
            call(0, 1, back, BEGIN)
        run = work.run
        while run.status in (RUNNING, FULL):
            if run.status == FULL:
                work.grow(planner, 2 * work.capacity)
                work.go_on(RUNNING)
            if planner.workers == 1:
                call(0, 1, back, WHOLE & ~BEGIN)
            else:
                self._step(call, back)
            run = work.run
        samples = None
        if run.status != DONE:
            samples = self._non_finite_samples(run, back) if run.status == NON_FINITE else None
            call(0, 1, back, NORM)
            samples = self._fastest_samples(run, back) if run.status == UNDERFLOW else samples
            run = work.run
        cost.n_f += run.n_f
        cost.n_accepted += run.n_accepted
        cost.n_rejected += run.n_rejected
        if back:
            cost.n_vjp += run.n_vjp
        backsolves = bool(back and planner.plan.backsolves)
        if backsolves:
            drift, at = min(run.drift, MOST), float(work.outputs[run.drift_output])
            on_drift = planner.on_drift if run.status in (DONE, DRIFTED) else "ignore"  # another failure goes first
            report_drift(self.stats, on_drift, drift, at, sample_of_row(self.y0, run.drift_row))
        if run.status == DONE:
            return
        why = FAILURES[run.status]
        exhausted = run.status == EXHAUSTED
        raise SolveError(
            why,
            t=run.time,
            dt=run.step,
            norm_f=run.slope_norm,
            phase="backward" if back else "forward",
            samples=samples,
            detail=steps_left(planner.plan.max_steps, run.time, run.step, run.end) if exhausted else "",
            remedy=why.remedy + (BACKSOLVE_HINT if backsolves else ""),
        )

    def _step(self, call: Callable[..., None], back: int) -> None:
        """One step by several workers."""
        workers = self.planner.workers
        call(0, workers, back, PREPARE)
        if self.work.run.status == RUNNING:
            run_all(lambda worker: call(worker, workers, back, ATTEMPT), workers)
            call(0, workers, back, CONCLUDE)

    def _non_finite_samples(self, run: Run, back: int) -> Samples | None:
        """Samples whose numbers are not finite in the step that was tried last."""
        # before the first step, parts beyond the first slope are left from an earlier solve
        parts = PARTS if run.n_accepted + run.n_rejected > 0 else 2
        steps = [self._state_step(run, back, parts)]
        if back:
            steps.insert(0, self._rows(self.work.adjoint, parts))
        return next(filter(None, map(non_finite_samples, steps)), None)

    def _fastest_samples(self, run: Run, back: int) -> Samples | None:
        """Samples that run away, by the slopes where the solve stopped."""
        return fastest_samples(self._state_step(run, back, 2)[:, 1])

    def _state_step(self, run: Run, back: int, parts: int) -> Tensor:
        """Parts of the state's present step `(batch, parts, ...)`."""
        plan = self.planner.plan
        if back:
            return self._rows(self.work.state, parts if plan.backsolves else 2)
        return self._rows(self.work.steps[run.n_steps * STAGES * plan.size if plan.keeps else 0 :], parts)

    def _rows(self, memory: Memory, parts: int) -> Tensor:
        rows = torch.from_numpy(memory[: parts * self.planner.size].copy())
        rows = rows.reshape(parts, -1, self.planner.field.state_step)[:, :, : self.system.columns]
        return rows.transpose(0, 1).reshape(len(self.y0) if self.y0.ndim > 1 else 1, parts, -1)
