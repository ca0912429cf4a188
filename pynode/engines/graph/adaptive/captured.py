"""Static memory and recordings of an adaptive forward solve and of its adjoint."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pynode.adjoint import norm_of_parts
from pynode.engines.eager.interpolant import MIDDLE
from pynode.engines.graph.adaptive.augmented import Augmented
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
    """The claim of one solve to the nodes of its steps; alive as long as its gradient may be asked for."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.closed = False
        """Whether the node behind the last step has been written."""
        self.saved: tuple[Tensor, Tensor] | None = None


class Captured:
    """The recordings for solves of one kind, and the tensors on which they work.

    The nodes of the latest forward solve are in static memory.  If the gradient of an earlier solve may still be asked
    for, its nodes are copied before the next solve overwrites them.

    Nothing that is kept here refers back to this object: a cycle would hold memory of the device until the next garbage
    collection.
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
        interpolating = solve.wants_gradient and how.adjoint == "interpolating"
        formula = Formula(solver, like, steps.rtol, steps.atol)
        self.nodes = Nodes(like, with_middle=solver == "dopri5") if interpolating else None
        middle = formula.weights(torch.tensor(MIDDLE, dtype=torch.float64)) if solver == "dopri5" else None
        keep = None if self.nodes is None else _Writer(self.nodes, middle)
        self.forward = Stepper(recorder, formula, self.field, root_mean_square, like, sign, keep)
        self._lease: weakref.ref[Lease] | None = None
        self._stale = False  # whether the nodes have moved since the adjoint was recorded
        self._steps = 0
        self.augmented = Augmented(self.field, self.nodes, like, inputs.sources, sign)
        self.adjoint: Stepper | None = None
        if solve.wants_gradient:
            rtol = steps.rtol if how.rtol is None else how.rtol
            atol = steps.atol if how.atol is None else how.atol
            sizes = self.augmented.sizes
            flat = like.new_zeros(sum(sizes))
            measured = {"mixed": sizes, "seminorm": sizes[: self.augmented.states], "rms": [sum(sizes)]}[how.norm]
            backward = Formula(solver, flat, rtol, atol)
            self.adjoint = Stepper(recorder, backward, self.augmented, norm_of_parts(measured), flat, -sign)
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
        """The claim to the nodes of the latest solve; for dopri5 their last node is written here."""
        assert self.nodes is not None
        forward, lease = self.forward, Lease(self._steps)
        if self.nodes.columns > 2:
            self.nodes.close(forward.s, forward.y, forward.slope, lease.steps)
            lease.closed = True
        self._lease = weakref.ref(lease)
        return lease

    def close(self, lease: Lease, t: Tensor, y: State, slope: State) -> None:
        """Writes the node behind the last step of the solve whose nodes are in static memory."""
        assert self.nodes is not None
        self.nodes.close(self._sign * t.double(), y, self._sign * slope, lease.steps)
        lease.closed = True

    def bring_back(self, lease: Lease) -> None:
        """Copies the nodes of that solve back into static memory, if another solve has overwritten them."""
        assert self.nodes is not None
        if lease.saved is not None:
            self._make_room()
            self.nodes.restore(*lease.saved)
            lease.saved, self._lease = None, weakref.ref(lease)

    def _make_room(self) -> None:
        """Copies the nodes in static memory if the gradient of their solve may still be asked for."""
        assert self.nodes is not None
        owner = None if self._lease is None else self._lease()
        if owner is not None and owner.saved is None:
            owner.saved = self.nodes.saved(owner.steps + owner.closed)
        self._lease = None

    def grow(self, n: int) -> None:
        """Makes sure that there is memory for step `n`: for its node, and for the last node behind it."""
        if self.nodes is not None and n + 2 > self.nodes.capacity:
            self.nodes.grow()
            self.forward.record_again(self._counters())
            self._stale = True

    def _counters(self) -> list[Tensor]:
        """Tensors of the nodes that have to keep their values while an attempt is recorded.

        The rows need not: an attempt writes only to the row ahead, which the next attempt overwrites.
        """
        return [] if self.nodes is None else [self.nodes.count, self.nodes.points]


class _Writer:
    """Writes a node in each attempt of a step; part of its recording."""

    def __init__(self, nodes: Nodes, middle: Tensor | None) -> None:
        self._nodes, self._middle = nodes, middle

    def __call__(self, stepper: Stepper, accepted: Tensor) -> None:
        values = [stepper.before, stepper.slopes[0]]
        if self._middle is not None:
            weights = self._middle * stepper.taken.to(stepper.before.dtype)
            values.append(stepper.before + (stepper.slopes * weights).sum(0))
        self._nodes.write(stepper.start, values, accepted)


class _Counting:
    """Counts the accepted steps of a solve, and enlarges the memory of the nodes before an attempt that needs it."""

    def __init__(self, listener: Listener, captured: Captured) -> None:
        self._listener, self._captured, self.accepted = listener, captured, 0
        self.evaluated, self.refuse = listener.evaluated, listener.refuse

    def attempted(self, *, accepted: bool) -> None:
        self.accepted += accepted
        self._listener.attempted(accepted=accepted)

    def may_attempt(self) -> bool:
        self._captured.grow(self.accepted)
        return self._listener.may_attempt()
