"""Forward solve and adjoint of one kind of adaptive solve, recorded once and used by all solves of that kind."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pynode.adjoint import norm_of_parts
from pynode.engines.eager.interpolant import MIDDLE
from pynode.engines.graph.adaptive.formula import Formula, root_mean_square
from pynode.engines.graph.adaptive.inputs import Inputs, StaticField
from pynode.engines.graph.adaptive.nodes import Nodes
from pynode.engines.graph.adaptive.stepper import Listener, Stepper
from pynode.engines.graph.capture import Recorder
from pynode.engines.solvers import solver_of
from pynode.gradients import Continuous
from pynode.solve import Solve
from pynode.steps import Adaptive
from pynode.types import State, VectorField


class Lease:
    """The claim of one solve to the nodes of its steps, as long as its gradient can be asked for."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.closed = False
        """Whether the node behind the last step has been written."""
        self.saved: tuple[Tensor, Tensor] | None = None


class Captured:
    """Static memory and recordings of a forward solve and, where one is wanted, of its adjoint.

    The nodes of the latest forward solve stay in static memory; those of an earlier one, whose gradient may still be
    asked for, are copied away before the next one overwrites them.
    """

    def __init__(self, solve: Solve, inputs: Inputs, recorder: Recorder, sign: float) -> None:
        steps, how = solve.recipe.steps, solve.recipe.gradient
        assert isinstance(steps, Adaptive)
        assert isinstance(how, Continuous)
        self.lock = threading.RLock()
        self._recorder = recorder
        self.field = StaticField(inputs)
        self._sign = sign
        solver = solver_of(solve.recipe.scheme)
        like = solve.y0.detach()
        wants = solve.wants_gradient
        interpolating = wants and how.adjoint == "interpolating"
        formula = Formula(solver, like, steps.rtol, steps.atol)
        self.nodes = Nodes(like, with_middle=solver == "dopri5") if interpolating else None
        self._middle = formula.weights(torch.tensor(MIDDLE, dtype=torch.float64)) if solver == "dopri5" else None
        keep = self._keep if interpolating else None
        self.forward = Stepper(recorder, formula, self.field, root_mean_square, like, sign, keep)
        self._lease: weakref.ref[Lease] | None = None
        self._stale = False  # the adjoint's recordings read the nodes where they were
        self._steps = 0
        self.adjoint: Stepper | None = None
        if wants:
            rtol = steps.rtol if how.rtol is None else how.rtol
            atol = steps.atol if how.atol is None else how.atol
            self._shape, self._dim = like.shape, like.numel()
            states = 1 if interpolating else 2
            sizes = [*[self._dim] * states, *(x.numel() for x in inputs.sources)]
            self._before = self._dim * (states - 1)
            flat = like.new_zeros(sum(sizes))
            measured = {"mixed": sizes, "seminorm": sizes[:states], "rms": [sum(sizes)]}[how.norm]
            backward = Formula(solver, flat, rtol, atol)
            self.adjoint = Stepper(recorder, backward, self._augmented, norm_of_parts(measured), flat, -sign)
        with self.use(solve.field, inputs.tensors):
            self.forward.y.copy_(like)
            self.forward.record(self._counters())
            if self.adjoint is not None:
                self.adjoint.record()

    @contextmanager
    def use(self, field: VectorField, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Inside the block the recordings belong to one solve of `field`, which reads `tensors`."""
        with self.lock, torch.no_grad():
            self._recorder.enter()
            with self.field.bind(field, tensors):
                yield

    # --- the forward solve -------------------------------------------------------------------------------------------

    def solve(self, y0: State, times: Sequence[float], listener: Listener, *, landing: bool) -> Tensor:
        """The states at `times`; to be called inside of `use`."""
        if self.nodes is not None:
            self._make_room()
            self.nodes.clear()
        self.forward.y.copy_(y0)
        solution = y0.new_empty(len(times), *y0.shape)
        solution[0].copy_(y0)
        counting = _Counting(listener, self)
        for k, state in enumerate(self.forward.solve(times, counting, landing=landing), start=1):
            solution[k].copy_(state)
        if self._stale:
            assert self.adjoint is not None
            self.adjoint.record_again()
            self._stale = False
        self._steps = counting.accepted
        return solution

    def claim(self) -> Lease:
        """The claim to the nodes of the solve that has just been done, which dopri5 has also closed."""
        assert self.nodes is not None
        forward, lease = self.forward, Lease(self._steps)
        if self.nodes.columns > 2:
            self.nodes.close(forward.s, forward.y, forward.slope, lease.steps)
            lease.closed = True
        self._lease = weakref.ref(lease)
        return lease

    def close(self, lease: Lease, t: Tensor, y: State, slope: State) -> None:
        """Writes the last node of the present nodes."""
        assert self.nodes is not None
        self.nodes.close(self._sign * t.double(), y, self._sign * slope, lease.steps)
        lease.closed = True

    def bring_back(self, lease: Lease) -> None:
        """Makes the nodes of that solve the present ones."""
        assert self.nodes is not None
        if lease.saved is not None:
            self._make_room()
            self.nodes.restore(*lease.saved)
            lease.saved, self._lease = None, weakref.ref(lease)

    def _make_room(self) -> None:
        """Copies nodes away whose gradient may still be asked for."""
        assert self.nodes is not None
        owner = None if self._lease is None else self._lease()
        if owner is not None and owner.saved is None:
            owner.saved = self.nodes.saved(owner.steps + owner.closed)
        self._lease = None

    def grow(self, n: int) -> None:
        """Makes sure of memory for the node of one more step, and for the last one behind it."""
        if self.nodes is not None and n + 2 > self.nodes.capacity:
            self.nodes.grow()
            self.forward.record_again(self._counters())
            self._stale = True

    def _counters(self) -> list[Tensor]:
        """What an attempt writes to beside the tensors of the stepper; of the nodes only what is ahead is lost."""
        return [] if self.nodes is None else [self.nodes.count, self.nodes.points]

    def _keep(self, accepted: Tensor) -> None:
        """Writes the node of the attempt that has been made, inside of its recording."""
        assert self.nodes is not None
        forward = self.forward
        values = [forward.before, forward.slopes[0]]
        if self._middle is not None:
            weights = self._middle * forward.taken.to(forward.before.dtype)
            values.append(forward.before + (forward.slopes * weights).sum(0))
        self.nodes.write(forward.start, values, accepted)

    # --- the adjoint -------------------------------------------------------------------------------------------------

    def state_of(self, t: Tensor, augmented: Tensor) -> State:
        """The state at the time `t` of an adjoint solve."""
        if self.nodes is None:
            return augmented[: self._dim].reshape(self._shape)
        return self.nodes.state(self._sign * t.double())

    def adjoint_of(self, augmented: Tensor) -> Tensor:
        """The adjoint in the vector that is solved back in time."""
        return augmented[self._before : self._before + self._dim].reshape(self._shape)

    def gradients_of(self, augmented: Tensor) -> Tensor:
        """The gradient by all sources in it, flat."""
        return augmented[self._before + self._dim :]

    def _augmented(self, t: Tensor, augmented: Tensor) -> Tensor:
        """The derivative of (y, l, g), or of (l, g)."""
        y = self.state_of(t, augmented).detach().requires_grad_()
        slope, leaves = self.field.with_leaves(t, y)
        sources = (y, *leaves)
        if slope.requires_grad:
            cotangent = -self.adjoint_of(augmented)
            by_sources = torch.autograd.grad(slope, sources, cotangent, allow_unused=True, materialize_grads=True)
        else:  # f is constant
            by_sources = tuple(torch.zeros_like(s) for s in sources)
        solved = [] if self.nodes is not None else [slope.detach().reshape(-1)]
        return torch.cat([*solved, *(g.reshape(-1) for g in by_sources)])


class _Counting:
    """Counts the accepted steps, and lets memory grow before an attempt that needs it."""

    def __init__(self, listener: Listener, captured: Captured) -> None:
        self._listener, self._captured, self.accepted = listener, captured, 0
        self.evaluated, self.refuse = listener.evaluated, listener.refuse

    def attempted(self, *, accepted: bool) -> None:
        self.accepted += accepted
        self._listener.attempted(accepted=accepted)

    def may_attempt(self) -> bool:
        self._captured.grow(self.accepted)
        return self._listener.may_attempt()
