"""Adaptive solves and their continuous adjoints by recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pynode.adjoint import time_gradient
from pynode.drift import BACKSOLVE_HINT, drift_bound, drift_of, report_drift
from pynode.engines.eager.watch import AdaptiveWatch
from pynode.engines.graph.adaptive.captured import Captured, Lease
from pynode.engines.graph.adaptive.inputs import Inputs
from pynode.engines.graph.adaptive.stepper import Stepper
from pynode.engines.graph.capture import NotRecordable, Recorder
from pynode.engines.graph.fields import inner_of
from pynode.engines.graph.recordings import Kind, Recorded
from pynode.engines.solvers import solver_of
from pynode.gradients import Continuous
from pynode.rebuilding import Rebuilding
from pynode.solve import Kept, Pullback, Run, Solve
from pynode.steps import Adaptive
from pynode.types import State, States, Times


def kind_of(solve: Solve) -> Kind:
    """What the recording of a solve with adaptive steps depends on; raises `NotRecordable`.

    These are the operators and parameters of the field, the shape of the state, and the recipe.  Whatever the field
    reads besides parameters is copied before every solve, so that a new context or new probes need no new recording.
    """
    y0, recipe = solve.y0, solve.recipe
    if torch.is_inference_mode_enabled():
        raise NotRecordable("torch.inference_mode() is on, in which no gradient can be recorded; use torch.no_grad()")
    if torch.is_autocast_enabled(y0.device.type):
        raise NotRecordable("autocast keeps copies of parameters, which a recording would not renew")
    inputs, field = _inputs_of(solve), solve.field
    assert isinstance(field, nn.Module)
    like = (tuple(y0.shape), y0.dtype, y0.device)
    choices = (recipe.scheme, recipe.steps, recipe.gradient, _sign_of(solve), solve.wants_gradient)
    owners = [x for x in inputs.tensors if isinstance(x, nn.Parameter)]
    return Kind(("adaptive steps", inputs.key, like, choices), owners, inner_of(field), partial(AdaptiveSolve, solve))


class AdaptiveSolve(Recorded):
    """The recordings of a forward solve and of its adjoint; raises `NotRecordable`."""

    def __init__(self, solve: Solve, recorder: Recorder) -> None:
        self.captured = Captured(solve, _inputs_of(solve), recorder, _sign_of(solve))

    def run(self, solve: Solve) -> Run:
        forward = _Forward(solve, self.captured, _inputs_of(solve))
        if not solve.wants_gradient:
            with torch.no_grad():
                return Run(forward(solve.y0), None, solve.stats)
        pullback = _Adjoint(solve, forward)
        with torch.no_grad():
            return Run(pullback.forward(), pullback, solve.stats)


def _inputs_of(solve: Solve) -> Inputs:
    """What the field of `solve` reads, found by one evaluation."""
    cache: dict[str, Any] = solve.__dict__
    if "_recorded_inputs" not in cache:
        cache["_recorded_inputs"] = Inputs(solve)
    inputs: Inputs = cache["_recorded_inputs"]
    return inputs


def _sign_of(solve: Solve) -> float:
    """The direction of the solve in time."""
    times = _times_of(solve)
    return 1.0 if times[-1] > times[0] else -1.0


def _times_of(solve: Solve) -> tuple[float, ...]:
    """The output times as numbers, read from the device only if they are not known."""
    if solve.times is None:
        solve.__dict__["times"] = tuple(solve.ts.detach().tolist())
    times: Any = solve.times
    return tuple(times)


class _Forward:
    """The forward solve of one `solve`, with its checks and counts."""

    def __init__(self, solve: Solve, captured: Captured, inputs: Inputs) -> None:
        steps = solve.recipe.steps
        assert isinstance(steps, Adaptive)
        self.steps, self.captured, self.inputs = steps, captured, inputs
        self.field, self.times = solve.field, _times_of(solve)
        self.solver = solver_of(solve.recipe.scheme)
        self.watch = AdaptiveWatch(solve.counted(), solve.stats, steps.max_steps, end=self.times[-1])

    def __call__(self, y0: State) -> States:
        """The states at the output times."""
        captured = self.captured
        with captured.use(self.field, self.inputs.tensors):
            return captured.solve(
                y0.detach(),
                self.times,
                _Progress(self.watch, captured.forward, lambda: captured.forward.y, states=1, backward=False),
                landing=self.steps.landing or self.solver == "dopri8",
            )


class _Progress:
    """Counts the work of a recorded solve, and raises its errors."""

    def __init__(
        self, watch: AdaptiveWatch, stepper: Stepper, state: Callable[[], State], *, states: int, backward: bool
    ) -> None:
        self._watch, self._stepper, self._state, self._backward = watch, stepper, state, backward
        self._states = states  # vectors of the state's size at the beginning of what is solved for
        self._cost = watch.stats.backward if backward else watch.stats.forward

    def evaluated(self, times: int) -> None:
        self._cost.n_f += times
        if self._backward:
            self._cost.n_vjp += times

    def attempted(self, *, accepted: bool) -> None:
        if accepted:
            self._cost.n_accepted += 1
        else:
            self._cost.n_rejected += 1

    def may_attempt(self) -> bool:
        return self._cost.n_accepted + self._cost.n_rejected < self._watch.max_steps

    def refuse(self, *, tried: bool) -> None:
        stepper, y = self._stepper, self._state()
        slopes = stepper.slopes[1:] if tried else stepper.slope[None]
        columns = y.numel()
        self._watch.recent = [
            row[i * columns : (i + 1) * columns].reshape(y.shape)
            for row in slopes.reshape(len(slopes), -1)
            for i in range(self._states)
        ]
        self._watch.check_step(stepper.time, stepper.size, y, stepper.y)
        raise AssertionError("a step was refused that can be taken")


@dataclass
class _Held:
    """What the gradient of a solve needs besides the tensors that autograd saves."""

    rebuilding: Rebuilding
    lease: Lease | None
    tensors: list[Tensor]


class _Adjoint(Pullback):
    """The gradient of a recorded solve: the adjoint and the parameter gradient, solved together backward in time."""

    name = "OptDisc"

    def __init__(self, solve: Solve, forward: _Forward) -> None:
        how = solve.recipe.gradient
        assert isinstance(how, Continuous)
        self.how, self._forward, self.watch = how, forward, forward.watch
        captured, inputs = forward.captured, forward.inputs
        self._captured, self._sources = captured, inputs.sources
        rebuilding = Rebuilding(self.watch.f, solve.y0, solve.ts[0], solve.params, method=self.name)
        known = {id(x) for x in inputs.sources}
        if any(id(x) not in known for x in rebuilding.sources):
            raise NotRecordable("the field reads a tensor that no operator has been seen to take")
        self.inputs = (solve.ts, solve.y0, *inputs.sources)
        self._held: _Held | None = _Held(rebuilding, None, inputs.tensors)
        self._states: States | None = None
        if how.adjoint == "backsolve":
            self.watch.hint = BACKSOLVE_HINT

    def forward(self) -> States:
        """Solves; to be called once, with gradients disabled."""
        assert self._held is not None
        with self._captured.lock:
            states = self._forward(self.inputs[1])
            self.watch.turn_backward()
            if self._captured.nodes is not None:
                self._held.lease = self._captured.claim()
        self._held.rebuilding.settle(self._forward.times[-1], states[-1])
        self._states = states
        return states

    def release(self) -> Kept:
        states, held, self._states, self._held = self._states, self._held, None, None
        return Kept((self.inputs[0], states), held)

    def pull(self, kept: Kept, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        ts, states = kept.tensors
        held: _Held = kept.held
        captured = self._captured
        with torch.no_grad(), captured.lock, held.rebuilding.as_it_was():
            self.watch.check_cotangents(ts, cotangents)
            with captured.use(self._forward.field, held.tensors):
                if held.lease is not None:
                    captured.bring_back(held.lease)
                    self._close(held.lease, ts, states)
                adjoint, gradients = self._solve(states, cotangents)
            by_params = self._split(gradients)
            by_ts = time_gradient(self.watch.f, ts, states, cotangents, adjoint) if wanted[0] else None
        return by_ts, adjoint, *by_params

    def _close(self, lease: Lease, ts: Times, states: States) -> None:
        """Writes the last node before the first gradient, if `claim` has not: it needs an evaluation of the field."""
        if lease.closed:
            return
        t, y = ts[-1].detach(), states[-1].clone()
        self._captured.close(lease, t, y, self.watch.f(t.to(y.dtype), y))

    def _solve(self, states: States, cotangents: States) -> tuple[State, Tensor]:
        """The adjoint at the first output time, including the cotangent there, and the gradient by all sources."""
        watch, times = self.watch, self._forward.times
        stepper, augmented = self._captured.adjoint, self._captured.augmented
        assert stepper is not None
        backsolve = self._captured.nodes is None
        y = stepper.y
        augmented.gradients_of(y).zero_()
        augmented.adjoint_of(y).copy_(cotangents[-1])
        progress = _Progress(
            watch, stepper, lambda: augmented.state_of(stepper.time, y), states=augmented.states, backward=True
        )
        for k in range(len(times) - 1, 0, -1):
            watch.end = times[k - 1]
            if backsolve:
                augmented.state_of(stepper.time, y).copy_(states[k])
            interval = (times[k], times[k - 1])
            for end in stepper.solve(interval, progress, landing=True, resume=k < len(times) - 1):
                y.copy_(end)
            if backsolve:
                self._check_drift(augmented.state_of(stepper.time, y), states[k - 1], watch.end)
            augmented.adjoint_of(y).add_(cotangents[k - 1])
        return augmented.adjoint_of(y).clone(), augmented.gradients_of(y).clone()

    def _check_drift(self, reconstructed: State, stored: State, t: float) -> None:
        """Records the distance between the state that was solved backward and the stored one."""
        steps, how = self._forward.steps, self.how
        rtol, atol = max(steps.rtol, how.rtol or 0.0), max(steps.atol, how.atol or 0.0)
        drift, samples = drift_of(reconstructed, stored, rtol, atol)
        report_drift(self.watch.stats, how.drift, drift, t, samples, bound=drift_bound(self._forward.solver))

    def _split(self, gradients: Tensor) -> list[Tensor]:
        parts = gradients.split([x.numel() for x in self._sources])
        return [part.reshape(x.shape).to(x.dtype) for part, x in zip(parts, self._sources, strict=True)]
