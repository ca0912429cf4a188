"""The fused Opt-Disc solve as one node of torch's graph: states at the output times, gradients by y0 and theta."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pynode.adaptive import steps_left
from pynode.adjoint import check_cotangents
from pynode.drift import BACKSOLVE_HINT, MOST, report_drift, sample_of_row
from pynode.engines.direct import DirectSolve
from pynode.engines.fused import why_not
from pynode.engines.fused.description import STATE
from pynode.engines.fused.jit import compile_now
from pynode.engines.fused.memory import alike
from pynode.engines.fused.opt_disc import ATTEMPT, BEGIN, CONCLUDE, NORM, PREPARE, WHOLE, run
from pynode.engines.fused.opt_disc_options import AdaptiveOptions
from pynode.engines.fused.opt_disc_planning import Plan, Workspace, plan_for
from pynode.engines.fused.opt_disc_tables import (
    AT_ADJOINT,
    AT_STATE,
    BACKSOLVE,
    DONE,
    DRIFT,
    DRIFT_OUTPUT,
    DRIFT_ROW,
    DRIFTED,
    END,
    EXHAUSTED,
    FULL,
    IN_COTANGENT,
    IN_PROBES,
    IN_STATE,
    IN_STATE_BAR,
    IN_STATES,
    IN_THETA,
    MAX_STEPS,
    N_ACCEPTED,
    N_F,
    N_REJECTED,
    N_VJP,
    NON_FINITE,
    PARTS,
    RECORD,
    RUNNING,
    SLOPE_NORM,
    STATUS,
    STEP,
    STEPS,
    TIME,
    UNDERFLOW,
)
from pynode.engines.fused.planning import Memory
from pynode.engines.fused.threads import run_all
from pynode.errors import SolveError
from pynode.fields.base import System
from pynode.finite import is_finite
from pynode.samples import Samples, fastest_samples, non_finite_samples
from pynode.second_derivatives import final
from pynode.solution import Cost, SolveStats, Status
from pynode.transforms import is_batched, one_by_one
from pynode.types import State, States, Times

FAILURES = {NON_FINITE: Status.NON_FINITE, UNDERFLOW: Status.STEP_UNDERFLOW, EXHAUSTED: Status.MAX_STEPS}


def solve(system: System, options: AdaptiveOptions, y0: State, ts: Times, stats: SolveStats) -> States:
    """States of `system` at `ts`, `(time, ..., columns)` for `y0` `(..., columns)`, differentiable in y0 and theta.

    The batch is one system with one step size.  States at output times come from the solver's interpolant, as in
    torchdiffeq and SciML, so that evaluations mean the same; with `options.landing` the solver steps onto output times,
    which takes more evaluations and makes states and gradient more accurate than the tolerance asks for.  The adjoint
    steps onto output times in any case.

    Tensors are float64 or float32 on the CPU, all of one type.  The gradient is that at the values that theta has now,
    whatever happens to them before the backward pass.

    Raises `SolveError`, forward and backward; counts work into `stats` in either case.  A gradient of the gradient
    raises `NotTwiceDifferentiable`.
    """
    theta = system.theta
    wanted = torch.is_grad_enabled() and (y0.requires_grad or any([p.requires_grad for p in theta]))  # noqa: C419 (faster)
    plan = plan_for(system, options, y0, len(ts), wanted)
    call = _Call(plan, system, stats)
    if not wanted:
        return call.forward(y0, ts)
    states: States = _Fused.apply(call, ts, y0, *theta)
    return states


def solve_directly(system: System, options: AdaptiveOptions, y0: State, ts: Times, stats: SolveStats) -> DirectSolve:
    """The same as `solve`, with a gradient that autograd has no part in."""
    call = _Call(plan_for(system, options, y0, len(ts), True), system, stats)
    return DirectSolve(call.forward(y0, ts), system.theta, stats, call.backward)


@lru_cache(maxsize=2)
def failure(dtype: torch.dtype) -> str | None:
    """Makes the kernel for numbers of that type ready; says why, if it can't be compiled with the Numba installed."""
    return why_not(make_ready, dtype)


def make_ready(dtype: torch.dtype) -> None:
    """Compiles the kernel for numbers of this type, or loads it from disk; else the first solve would, less quickly."""
    integers, floats = np.zeros(1, dtype=np.int64), np.zeros(1)
    compile_now(run, integers, floats, torch.zeros(1, dtype=dtype, device="cpu").numpy(), integers, floats)


class _Call:
    """One solve: its plan, the memory that it has borrowed from there, and where to count."""

    __slots__ = ("plan", "probes", "space", "stats", "system", "y0")

    def __init__(self, plan: Plan, system: System, stats: SolveStats) -> None:
        self.plan, self.system, self.stats = plan, system, stats
        self.space: Workspace = plan.borrow()

    def __del__(self) -> None:
        if hasattr(self, "space"):  # there may have been no memory for it
            self.plan.take_back(self.space)

    def forward(self, y0: State, ts: Times) -> States:
        """The states at the output times."""
        plan, system, space = self.plan, self.system, self.space
        self.y0 = y0
        start = y0.detach().contiguous()
        theta = [p if p.is_contiguous() else p.contiguous() for p in system.theta]
        ys = torch.empty_like(plan.states)
        probes = system.probes
        self.probes = None if probes is None else probes.detach().clone(memory_format=torch.contiguous_format)
        addresses = space.addresses
        addresses[IN_STATE], addresses[IN_STATES] = start.data_ptr(), ys.data_ptr()
        addresses[IN_PROBES] = 0 if self.probes is None else self.probes.data_ptr()
        addresses[IN_THETA : IN_THETA + plan.slots] = [p.data_ptr() for p in theta]
        space.run[plan.at_times :] = ts.detach().double().numpy()
        self._run(0, self.stats.forward)
        return ys

    def backward(self, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """The cotangents of y0 and of theta's tensors, None where `wanted` says so."""
        plan, addresses = self.plan, self.space.addresses
        cotangents = cotangents.contiguous()
        if not is_finite(cotangents):
            check_cotangents(torch.from_numpy(self.space.run[plan.at_times :]), cotangents)
        sources = (self.y0, *self.system.theta)
        y0_bar, *bars = [alike(p) if want else None for p, want in zip(sources, wanted, strict=True)]
        addresses[IN_COTANGENT], addresses[IN_STATE_BAR] = cotangents.data_ptr(), _address(y0_bar)
        at = IN_THETA + plan.slots
        addresses[at : at + plan.slots] = [_address(b) for b in bars]
        self._run(1, self.stats.backward)
        return (y0_bar, *bars)

    def _run(self, back: int, cost: Cost) -> None:
        """Solves forward or backward, counts, and raises what has to be raised."""
        plan, space, state = self.plan, self.space, self.space.run
        arrays = (plan.table, plan.numbers, space.memory, space.addresses, state)
        if plan.workers == 1:
            run(*arrays, 0, 1, back, WHOLE)
        else:
            run(*arrays, 0, 1, back, BEGIN)
        while state[STATUS] in (RUNNING, FULL):
            if state[STATUS] == FULL:
                space.grow(plan, 2 * space.capacity)
                state[STATUS] = RUNNING
            if plan.workers == 1:
                run(*arrays, 0, 1, back, WHOLE & ~BEGIN)
            else:
                _step(plan, arrays, back)
        status = int(state[STATUS])
        samples = None
        if status != DONE:
            samples = self._non_finite_samples(back) if status == NON_FINITE else None
            run(*arrays, 0, 1, back, NORM)
            samples = self._fastest_samples(back) if status == UNDERFLOW else samples
        cost.n_f += int(state[N_F])
        cost.n_accepted += int(state[N_ACCEPTED])
        cost.n_rejected += int(state[N_REJECTED])
        if back:
            cost.n_vjp += int(state[N_VJP])
        backsolve = bool(back and plan.table[BACKSOLVE])
        if backsolve:
            drift, at = min(float(state[DRIFT]), MOST), float(state[plan.at_times + int(state[DRIFT_OUTPUT])])
            on_drift = plan.on_drift if status in (DONE, DRIFTED) else "ignore"  # another failure goes first
            report_drift(self.stats, on_drift, drift, at, sample_of_row(self.y0, int(state[DRIFT_ROW])))
        if status == DONE:
            return
        t, dt, why = float(state[TIME]), float(state[STEP]), FAILURES[status]
        detail = steps_left(int(plan.table[MAX_STEPS]), t, dt, float(state[END])) if status == EXHAUSTED else ""
        raise SolveError(
            why,
            t=t,
            dt=dt,
            norm_f=float(state[SLOPE_NORM]),
            phase="backward" if back else "forward",
            samples=samples,
            detail=detail,
            remedy=why.remedy + (BACKSOLVE_HINT if backsolve else ""),
        )

    def _non_finite_samples(self, back: int) -> Samples | None:
        """Samples whose numbers are not finite in the records of the step that was tried last."""
        state = self.space.run
        # before the first step, parts beyond the first slope are left from an earlier solve
        parts = PARTS if state[N_ACCEPTED] + state[N_REJECTED] > 0 else 2
        records = [self._state_record(back, parts)]
        if back:
            records.insert(0, self._record(self.space.memory, int(self.plan.table[AT_ADJOINT]), parts))
        return next(filter(None, map(non_finite_samples, records)), None)

    def _fastest_samples(self, back: int) -> Samples | None:
        """Samples that run away, by the slopes where the solve stopped."""
        return fastest_samples(self._state_record(back, 2)[:, 1])

    def _state_record(self, back: int, parts: int) -> Tensor:
        """Parts of the state's record `(batch, parts, ...)`."""
        if back:
            parts = parts if self.plan.table[BACKSOLVE] else 2
            return self._record(self.space.memory, int(self.plan.table[AT_STATE]), parts)
        first = int(self.space.run[STEPS]) * int(self.plan.keep) * RECORD * self.plan.size
        return self._record(self.space.records, first, parts)

    def _record(self, memory: Memory, first: int, parts: int) -> Tensor:
        rows = torch.from_numpy(memory[first : first + parts * self.plan.size].copy())
        rows = rows.reshape(parts, -1, self.plan.layout[STATE])[:, :, : self.system.columns]
        return rows.transpose(0, 1).reshape(len(self.y0) if self.y0.ndim > 1 else 1, parts, -1)


def _step(plan: Plan, arrays: tuple[Any, Any, Any, Any, Any], back: int) -> None:
    """One step by several workers; the last part of one and the first of the next are one call."""
    workers = plan.workers
    run(*arrays, 0, workers, back, PREPARE)
    if arrays[-1][STATUS] == RUNNING:
        run_all(lambda worker: run(*arrays, worker, workers, back, ATTEMPT), workers)
        run(*arrays, 0, workers, back, CONCLUDE)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class _Fused(torch.autograd.Function):
    """theta's tensors are inputs of the node so that they get their gradients; the kernels know them from the call."""

    @staticmethod
    def forward(ctx: Any, call: _Call, ts: Times, y0: State, *theta: Tensor) -> States:  # noqa: ARG004
        ctx.call = call
        ctx.save_for_backward(call.plan.states)  # so that torch knows of a second backward pass
        return call.forward(y0, ts)

    @staticmethod
    def backward(ctx: Any, cotangents: States) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # torch refuses where the graph has been freed
        call: _Call = ctx.call
        wanted = ctx.needs_input_grad[2:]
        if is_batched(cotangents):
            gradients = one_by_one(lambda each: call.backward(each, wanted), cotangents)
        else:
            gradients = call.backward(cotangents, wanted)
        return (None, None, *final(gradients, (cotangents, call.y0, *call.system.theta), "OptDisc"))
