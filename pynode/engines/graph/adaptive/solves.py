"""Adaptive solves on a GPU and their continuous adjoints, by recordings that are kept for the next solve."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
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
from pynode.engines.solvers import solver_of
from pynode.gradients import Continuous
from pynode.precision import active_precision
from pynode.rebuilding import Rebuilding
from pynode.solve import Kept, Pullback, Run, Solve
from pynode.steps import Adaptive
from pynode.types import State, States, Times

KEPT = 8
"""Kinds of solves whose recordings are kept."""

REFUSED = 64
"""Kinds of solves that are remembered because they can't be recorded."""


class AdaptiveSolves:
    """Runs adaptive solves by recordings, made with a new recorder for each kind of solve.

    A kind is a field's operators and parameters, the shape of the state, and the recipe.  What the field reads besides
    parameters is copied before every solve, so that a new context or new probes need no new recordings.
    """

    def __init__(self, new_recorder: Callable[[torch.device], Recorder]) -> None:
        self._new_recorder = new_recorder
        self._kept: OrderedDict[Hashable, Captured] = OrderedDict()
        self._refused: OrderedDict[Hashable, str] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self) -> None:
        """Forgets all recordings; solves whose gradient is still to come keep theirs."""
        with self._lock:
            self._kept.clear()
            self._refused.clear()

    def obstacle(self, solve: Solve) -> str | None:
        """Why `solve` can't be recorded, as a sentence; None where there are recordings, which are made if need be."""
        try:
            self._prepared(solve)
        except NotRecordable as error:
            return str(error)
        return None

    def run(self, solve: Solve) -> Run:
        """Solves; the gradient is a solve of its own."""
        captured, inputs = self._prepared(solve)
        forward = _Forward(solve, captured, inputs)
        if not solve.wants_gradient:
            with torch.no_grad():
                return Run(forward(solve.y0), None, solve.stats)
        pullback = _Adjoint(solve, forward)
        with torch.no_grad():
            return Run(pullback.forward(), pullback, solve.stats)

    def _prepared(self, solve: Solve) -> tuple[Captured, Inputs]:
        """The recordings for `solve`, made where there are none; raises `NotRecordable`."""
        cache: dict[str, Any] = solve.__dict__
        inputs: Inputs | None = cache.get("_recorded_inputs")
        if inputs is None:
            inputs = cache["_recorded_inputs"] = Inputs(solve)
        y0, recipe = solve.y0, solve.recipe
        times = _times_of(solve)
        sign = 1.0 if times[-1] > times[0] else -1.0
        like = (tuple(y0.shape), y0.dtype, y0.device)
        choices = (recipe.scheme, recipe.steps, recipe.gradient, sign, solve.wants_gradient)
        key = (inputs.key, like, choices, _precision())
        with self._lock:
            if reason := self._refused.get(key):
                raise NotRecordable(reason)
            captured = self._kept.get(key)
            if captured is None:
                try:
                    captured = Captured(solve, inputs, self._new_recorder(y0.device), sign)
                except NotRecordable as error:
                    self._refused[key] = str(error)
                    _shorten(self._refused, REFUSED)
                    raise
                self._kept[key] = captured
                _shorten(self._kept, KEPT)
                self._forget_with(inputs.tensors, key)
            self._kept.move_to_end(key)
        return captured, inputs

    def _forget_with(self, tensors: Sequence[Tensor], key: Hashable) -> None:
        """Drops the recordings of `key` with the first of these parameters that is freed."""
        kept = weakref.ref(self)

        def forget() -> None:
            if (solves := kept()) is not None:
                solves._kept.pop(key, None)
                solves._refused.pop(key, None)

        for x in tensors:
            if isinstance(x, nn.Parameter):
                weakref.finalize(x, forget).atexit = False


def _precision() -> tuple[Any, ...]:
    """The settings by which torch chooses kernels."""
    products = torch.backends.cuda.matmul
    chosen = getattr(products, "fp32_precision", None)
    tensor_cores = products.allow_tf32 if chosen is None else chosen
    return tensor_cores, torch.are_deterministic_algorithms_enabled(), active_precision()


def _shorten(cache: OrderedDict[Hashable, Any], limit: int) -> None:
    while len(cache) > limit:
        cache.popitem(last=False)


def _times_of(solve: Solve) -> tuple[float, ...]:
    """The output times as numbers: read from the device only where nobody has handed them over."""
    if solve.times is None:
        solve.__dict__["times"] = tuple(solve.ts.detach().tolist())
    times: Any = solve.times
    return tuple(times)


class _Forward:
    """The forward solve of one `solve`, and what watches it."""

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
    """Counts the work of a solve by recordings, and raises its errors."""

    def __init__(
        self, watch: AdaptiveWatch, stepper: Stepper, state: Callable[[], State], *, states: int, backward: bool
    ) -> None:
        self._watch, self._stepper, self._state, self._backward = watch, stepper, state, backward
        self._states = states  # vectors of the state's shape that are solved for, before all others
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
    """What a gradient needs of its solve beside tensors."""

    rebuilding: Rebuilding
    lease: Lease | None
    tensors: list[Tensor]


class _Adjoint(Pullback):
    """Adjoint and parameter gradient, solved together back in time by recordings."""

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
        """Solves; to be called once, without autograd."""
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
        """Writes the last node, where that needs an evaluation of the field, before the first gradient."""
        if lease.closed:
            return
        t, y = ts[-1].detach(), states[-1].clone()
        self._captured.close(lease, t, y, self.watch.f(t.to(y.dtype), y))

    def _solve(self, states: States, cotangents: States) -> tuple[State, Tensor]:
        """The adjoint at the first output time, its cotangent included, and the gradient by all sources."""
        captured, watch, times = self._captured, self.watch, self._forward.times
        stepper = captured.adjoint
        assert stepper is not None
        backsolve = captured.nodes is None
        y = stepper.y
        captured.gradients_of(y).zero_()
        captured.adjoint_of(y).copy_(cotangents[-1])
        states_solved = 2 if backsolve else 1
        progress = _Progress(
            watch, stepper, lambda: captured.state_of(stepper.time, y), states=states_solved, backward=True
        )
        for k in range(len(times) - 1, 0, -1):
            watch.end = times[k - 1]
            if backsolve:
                captured.state_of(stepper.time, y).copy_(states[k])
            interval = (times[k], times[k - 1])
            for end in stepper.solve(interval, progress, landing=True, resume=k < len(times) - 1):
                y.copy_(end)
            if backsolve:
                self._check_drift(captured.state_of(stepper.time, y), states[k - 1], watch.end)
            captured.adjoint_of(y).add_(cotangents[k - 1])
        return captured.adjoint_of(y).clone(), captured.gradients_of(y).clone()

    def _check_drift(self, reconstructed: State, stored: State, t: float) -> None:
        """Notes how far the state solved backwards is from the stored one."""
        steps, how = self._forward.steps, self.how
        rtol, atol = max(steps.rtol, how.rtol or 0.0), max(steps.atol, how.atol or 0.0)
        drift, samples = drift_of(reconstructed, stored, rtol, atol)
        report_drift(self.watch.stats, how.drift, drift, t, samples, bound=drift_bound(self._forward.solver))

    def _split(self, gradients: Tensor) -> list[Tensor]:
        parts = gradients.split([x.numel() for x in self._sources])
        return [part.reshape(x.shape).to(x.dtype) for part, x in zip(parts, self._sources, strict=True)]
