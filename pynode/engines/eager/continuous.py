"""Adaptive solves and their continuous adjoints by torch operators: torchdiffeq takes the steps, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torchdiffeq
from torch import Tensor

from pynode.adjoint import norm_of_parts, norm_over_ranks, time_gradient
from pynode.drift import BACKSOLVE_HINT, drift_bound, drift_of, report_drift
from pynode.engines.eager.interpolant import Interpolant, StepRecorder
from pynode.engines.eager.watch import AdaptiveWatch, forward_options, landing_on
from pynode.engines.solvers import solver_of
from pynode.gradients import Continuous
from pynode.rebuilding import Rebuilding
from pynode.solve import Kept, Pullback, Run, Solve
from pynode.steps import Adaptive
from pynode.types import State, States, Times, VectorField
from pynode.world import World

ADJOINTS = ("interpolating", "backsolve")
"""Of those that `Continuous` knows, what torch operators can do."""


def run(solve: Solve) -> Run:
    """Solves; the gradient is a solve of its own."""
    forward = _Forward(solve)
    if not solve.wants_gradient:
        return Run(forward(solve.ts, solve.y0), None, solve.stats)
    pullback = _ContinuousAdjoint(solve, forward)
    with torch.no_grad():
        return Run(pullback.forward(), pullback, solve.stats)


class _Forward:
    """The forward solve and its settings."""

    def __init__(self, solve: Solve) -> None:
        steps = solve.recipe.steps
        assert isinstance(steps, Adaptive)
        self.steps, self.solver, self.world = steps, solver_of(solve.recipe.scheme), solve.world
        times = solve.known_times
        self.watch = AdaptiveWatch(solve.counted(), solve.stats, steps.max_steps, solve.world, end=times[-1])

    def __call__(self, ts: Times, y0: State) -> States:
        """The states at `ts`."""
        options = forward_options(self.solver, ts, landing=self.steps.landing)
        ys = self._solve(self.watch, y0, ts.clone(), options)  # a field is handed parts of it, and may change them
        if self.world.size > 1:
            self.watch.check_outputs(ts, ys)
        return ys

    def onto(self, f: VectorField, t: float, y: State, times: Sequence[float]) -> Sequence[State]:
        """States at `times` of the solution through `y` at `t`, solved as the forward solve was."""
        ts = torch.tensor([t, *times], dtype=torch.float64, device=y.device)
        return self._solve(f, y, ts, {**landing_on(ts), "first_step": (ts[1] - ts[0]).abs()})[1:].unbind()

    def _solve(self, f: VectorField, y: State, ts: Times, options: dict[str, Any]) -> States:
        if self.world.size > 1:  # ranks take the steps of one process
            options = {**options, "norm": norm_over_ranks(self.world, [y.numel()], [0], 1)}
        rtol, atol = self.steps.rtol, self.steps.atol
        ys: States = torchdiffeq.odeint(f, y, ts, method=self.solver, rtol=rtol, atol=atol, options=options)
        return ys


class _ContinuousAdjoint(Pullback):
    """Adjoint and parameter gradient, solved together back in time.

    Between two output times, with J = df/dy, the vector (y, l, g) obeys d/dt (y, l, g) = (f, -J^T l, -(df/dtheta)^T l);
    at an output time the cotangent is added to l and y is set to the stored state.  With `adjoint="interpolating"` the
    vector is (l, g) alone, and y is read from the steps of the forward solve.
    """

    name = "OptDisc"

    def __init__(self, solve: Solve, forward: _Forward) -> None:
        how = solve.recipe.gradient
        assert isinstance(how, Continuous)
        self.how, self._forward, self.watch = how, forward, forward.watch
        self.rtol = forward.steps.rtol if how.rtol is None else how.rtol
        self.atol = forward.steps.atol if how.atol is None else how.atol
        ts, y0 = solve.ts, solve.y0
        self._rebuilding: Rebuilding | None = Rebuilding(self.watch.f, y0, ts[0], solve.params, method=self.name)
        self.inputs = (ts, y0, *self._rebuilding.sources)
        self._times = solve.known_times
        self._recorder: StepRecorder | None = None
        self._interpolant: Interpolant | None = None
        self._states: States | None = None
        if how.adjoint == "backsolve":
            self.watch.hint = BACKSOLVE_HINT
        elif any(x.requires_grad for x in self.inputs):
            self._recorder = StepRecorder(forward.solver, 1.0 if self._times[-1] > self._times[0] else -1.0)
            self.watch.record = self._recorder.accept

    def forward(self) -> States:
        """Solves; to be called once, without autograd."""
        assert self._rebuilding is not None
        ts, y0 = self.inputs[:2]
        ys = self._forward(ts, y0)
        self.watch.turn_backward()
        self._rebuilding.settle(self._times[-1], ys[-1])
        self._states = ys
        return ys

    def release(self) -> Kept:
        states, rebuilding, self._states, self._rebuilding = self._states, self._rebuilding, None, None
        return Kept((self.inputs[0], states), rebuilding)

    def pull(self, kept: Kept, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        ts, ys = kept.tensors
        rebuilding: Rebuilding = kept.held
        with torch.no_grad(), rebuilding.as_it_was() as leaves:
            return self._solve_adjoint(rebuilding, ts, ys, leaves, cotangents, by_times=wanted[0])

    def _solve_adjoint(
        self,
        rebuilding: Rebuilding,
        ts: Times,
        ys: States,
        params: Sequence[Tensor],
        cotangents: States,
        *,
        by_times: bool,
    ) -> tuple[Tensor | None, ...]:
        """The gradients by ts, y0 and `params`."""
        watch, how = self.watch, self.how
        watch.check_cotangents(ts, cotangents)
        if self._recorder is not None and self._interpolant is None:
            nodes = self._recorder.nodes(watch.f, self._times, ys.unbind())
            forward, f = self._forward, watch.f
            self._interpolant = Interpolant(forward.solver, nodes, f, lambda t, y, times: forward.onto(f, t, y, times))
        dim, backsolve = ys[0].numel(), how.adjoint == "backsolve"
        before = dim if backsolve else 0  # entries of the state
        # sizes of the state (if it is solved), the adjoint, and the gradient by each parameter
        sizes = [*([dim] if backsolve else []), dim, *(p.numel() for p in params)]
        n_states = 2 if backsolve else 1
        world, measured = watch.world, sizes[:n_states] if how.norm == "seminorm" else sizes
        whole = world.size > 1 and len(measured) > n_states
        augmented = _Augmented(watch, rebuilding, ys.shape[1:], params, self._interpolant, whole=whole)
        options = {"norm": _norm(world, how.norm, measured, sum(sizes), n_states)}
        gradients = ys.new_zeros(sum(sizes[n_states:]))
        adjoint = cotangents[-1].reshape(-1)
        for k in range(len(ts) - 1, 0, -1):
            interval = torch.stack((ts[k], ts[k - 1]))
            watch.end = self._times[k - 1]
            end = torchdiffeq.odeint(
                augmented,
                torch.cat((*([ys[k].reshape(-1)] if backsolve else []), adjoint, gradients)),
                interval,
                method=self._forward.solver,
                rtol=self.rtol,
                atol=self.atol,
                options={**options, **landing_on(interval), **augmented.first_step()},
            )[-1]
            if backsolve:
                self._check_drift(end[:dim].reshape(ys.shape[1:]), ys[k - 1], watch.end)
            adjoint = end[before : before + dim] + cotangents[k - 1].reshape(-1)
            gradients = end[before + dim :]
        if augmented.whole and not world.is_writer:
            gradients = torch.zeros_like(gradients)  # the writer has it all, and the ranks' gradients are to add up
        by_params = [
            part.reshape(p.shape).to(p.dtype) for part, p in zip(gradients.split(sizes[n_states:]), params, strict=True)
        ]
        adjoint = adjoint.reshape(ys.shape[1:])
        by_ts = time_gradient(watch.f, ts, ys, cotangents, adjoint) if by_times else None
        return by_ts, adjoint, *by_params

    def _check_drift(self, reconstructed: State, stored: State, t: float) -> None:
        """Notes how far the state solved backwards is from the stored one; all ranks know the largest drift."""
        steps, world = self._forward.steps, self.watch.world
        rtol, atol = max(steps.rtol, self.how.rtol or 0.0), max(steps.atol, self.how.atol or 0.0)
        drift, samples = drift_of(reconstructed, stored, rtol, atol)
        if world.size > 1:
            drifts = torch.zeros(world.size, dtype=torch.float64)
            drifts[world.rank] = drift
            world.sum_(drifts)
            samples = samples if drift == float(drifts.max()) else None
            drift = float(drifts.max())
        bound = drift_bound(self._forward.solver)
        report_drift(self.watch.stats, self.how.drift, drift, t, samples, bound=bound)


def _norm(world: World, norm: str, measured: Sequence[int], entries: int, n_states: int) -> Any:
    """What measures the adjoint's error: over parts of the sizes `measured`, or over all `entries` alike."""
    if world.size > 1:
        parts = [0] * len(measured) if norm == "rms" else list(range(len(measured)))
        return norm_over_ranks(world, measured, parts, split=n_states)
    return norm_of_parts([entries] if norm == "rms" else measured)


class _Augmented:
    """The right-hand side of the adjoint solve, on one flat vector (y, l, g), or (l, g) with an `interpolant` for y.

    With `whole`, g is the gradient of all ranks' samples: where it takes part in the step control, its error has to be
    measured against its own size, not against that of a share.
    """

    def __init__(
        self,
        watch: AdaptiveWatch,
        rebuilding: Rebuilding,
        shape: torch.Size,
        params: Sequence[Tensor],
        interpolant: Interpolant | None,
        *,
        whole: bool,
    ) -> None:
        self.watch, self.shape, self.params, self.interpolant, self.whole = watch, shape, params, interpolant, whole
        self.rebuilding, self.dim = rebuilding, shape.numel()
        self.before = self.dim if interpolant is None else 0
        # torchdiffeq calls these by name
        self.callback_accept_step = watch.callback_accept_step
        self.callback_reject_step = watch.callback_reject_step
        self._last: Tensor | None = None

    def first_step(self) -> dict[str, Tensor]:
        """Options for the next interval: begin with the step size that served last, where there is one."""
        return {} if self._last is None else {"first_step": self._last}

    def __call__(self, t: Tensor, augmented: Tensor) -> Tensor:
        adjoint = augmented[self.before : self.before + self.dim].reshape(self.shape)
        y = self._state(t, augmented).detach().requires_grad_()
        with torch.enable_grad():
            slope = self.watch(t, y)
        self.rebuilding.check_graph(slope, y)
        sources = (y, *self.params)
        if slope.requires_grad:
            by_sources = torch.autograd.grad(slope, sources, -adjoint, allow_unused=True, materialize_grads=True)
        else:  # f is constant
            by_sources = tuple(torch.zeros_like(s) for s in sources)
        self.watch.recent.append(by_sources[0])
        solved = [slope.detach().reshape(-1)] if self.interpolant is None else []
        flat = torch.cat([*solved, *(g.reshape(-1) for g in by_sources)])
        if self.whole:
            self.watch.world.sum_(flat[self.before + self.dim :])
        return flat

    def callback_step(self, t0: Tensor, augmented: Tensor, dt: Tensor) -> None:
        """Called before every step: raises `SolveError` where it can't be taken."""
        self._last = dt
        self.watch.check_step(t0, dt, self._state(t0, augmented), augmented)
        self.watch.recent.clear()

    def _state(self, t: Tensor, augmented: Tensor) -> State:
        if self.interpolant is None:
            return augmented[: self.dim].reshape(self.shape)
        return self.interpolant(float(t))
