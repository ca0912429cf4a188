"""The forward solution between the steps of torchdiffeq's solvers, for adjoints that read the state from it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pynode.schemes.dopri5 import DOPRI5
from pynode.types import State, VectorField

MIDDLE = DOPRI5.dense_weights(0.5)
"""Weights of dopri5's slopes in its dense output half way through a step."""

POINTS = (0.0, 1 / 3, 2 / 3, 1.0)
"""Where in a step of dopri8 states and slopes are known to its interpolant."""

KEPT = 8
"""Steps of dopri8 whose inner points are kept."""

SolveOnto = Callable[[float, State, Sequence[float]], Sequence[State]]
"""States at some times of the solution through a state at a time, solved as the forward solve was."""


@dataclass(frozen=True)
class Node:
    """State and slope at a time; `middle` is the state half way to the next node, where the solver tells it."""

    t: float
    y: State
    slope: State
    middle: State | None = None


class StepRecorder:
    """Keeps the accepted steps of a forward solve by one of torchdiffeq's solvers, in either direction of time.

    A step takes two states of memory, three for dopri5.
    """

    def __init__(self, solver: str, direction: float) -> None:
        self.solver, self.direction = solver, direction
        self._nodes: list[Node] = []
        self._step: tuple[float, State, float, list[State]] | None = None  # the last one, with all its slopes
        self._slope: State | None = None

    def accept(self, t: Tensor, y: State, dt: Tensor, first: State, slopes: Sequence[State]) -> None:
        """A step from the state `y` at `t` by `dt` (positive), its `slopes` in order, the last one at its end.

        `first` is the slope at the initial state, which only the first step evaluates for itself.
        """
        self._close_step()
        slope = first if self._slope is None else self._slope
        if t.is_cpu:
            start, size = float(t.detach()), float(dt.detach())
        else:
            start, size = torch.stack((t.detach(), dt.detach())).tolist()
        self._step = (start, y.detach(), self.direction * size, [slope, *slopes])
        self._slope = slopes[-1]

    def nodes(self, f: VectorField, ts: Sequence[float], ys: Sequence[State]) -> list[Node]:
        """All nodes from the first to the last output time, or up to the end of the step that passes it."""
        assert self._step is not None
        t, y, size, slopes = self._step
        self._close_step()
        nodes, self._nodes = self._nodes, []
        # copies: a view of the states would keep the graph alive that holds these nodes
        first, last = ys[0].detach().clone(), ys[-1].detach().clone()
        if self.solver == "dopri5":
            nodes.append(Node(t + size, _combine(y, size, DOPRI5.a[-1], slopes), slopes[-1]))
        else:
            nodes.append(Node(ts[-1], last, f(torch.tensor(ts[-1]).to(last), last)))
        # the caller's y0 may have been changed since
        return [Node(ts[0], first, nodes[0].slope, nodes[0].middle), *nodes[1:]]

    def _close_step(self) -> None:
        """Makes a node of the last step."""
        if self._step is None:
            return
        t, y, size, slopes = self._step
        middle = _combine(y, size, MIDDLE, slopes) if self.solver == "dopri5" else None
        self._nodes.append(Node(t, y, slopes[0], middle))
        self._step = None


class Interpolant:
    """States of a forward solve at any time in its range.

    dopri5 has a dense output of order 4, the same as in SciML and in the compiled kernels (Hairer, Norsett & Wanner,
    Solving ODEs I, II.6).  Solvers of order 2 and 3 get the cubic that matches states and slopes at both ends of a
    step.  The steps of dopri8 are too long for that: each is solved once more, onto its thirds, when the adjoint comes
    to it, and a polynomial of degree 7 matches states and slopes at four points.
    """

    def __init__(self, solver: str, nodes: Sequence[Node], f: VectorField, solve_onto: SolveOnto) -> None:
        self._solver, self._nodes, self._f, self._solve_onto = solver, nodes, f, solve_onto
        self._sign = 1.0 if nodes[-1].t > nodes[0].t else -1.0
        self._keys = [self._sign * node.t for node in nodes]
        self._divided: dict[int, list[Node]] = {}

    def __call__(self, t: float) -> State:
        """The state at `t`."""
        k = min(max(bisect_right(self._keys, self._sign * t) - 1, 0), len(self._nodes) - 2)
        left, right = self._nodes[k], self._nodes[k + 1]
        size = right.t - left.t
        x = (t - left.t) / size
        if self._solver == "dopri8":
            return _septic(self._points(k), x, size)
        return _cubic(left, right, x, size) if left.middle is None else _quartic(left, right, x, size)

    def _points(self, k: int) -> list[Node]:
        """Nodes at `POINTS` of a step."""
        points = self._divided.get(k)
        if points is None:
            left, right = self._nodes[k], self._nodes[k + 1]
            inner = [left.t + x * (right.t - left.t) for x in POINTS[1:-1]]
            states = self._solve_onto(left.t, left.y, inner)
            between = [Node(t, y, self._f(torch.tensor(t).to(y), y)) for t, y in zip(inner, states, strict=True)]
            points = [left, *between, right]
            if len(self._divided) >= KEPT:
                del self._divided[max(self._divided)]  # the adjoint comes from the end
            self._divided[k] = points
        return points


def _combine(y: State, size: float, weights: Sequence[float], slopes: Sequence[State]) -> State:
    """Y + size times the weighted sum of the slopes; there may be fewer weights than slopes."""
    total = y.clone()
    for weight, slope in zip(weights, slopes, strict=False):
        if weight:
            total.add_(slope, alpha=size * weight)
    return total


def _cubic(left: Node, right: Node, x: float, size: float) -> State:
    rest = 1 - x
    total = left.y * (rest * rest * (1 + 2 * x))
    total.add_(right.y, alpha=x * x * (3 - 2 * x))
    total.add_(left.slope, alpha=size * x * rest * rest)
    return total.add_(right.slope, alpha=-size * x * x * rest)


def _quartic(left: Node, right: Node, x: float, size: float) -> State:
    assert left.middle is not None
    rest, bend = 1 - x, 1 - 2 * x
    total = left.y * (rest * rest * bend * (1 + 4 * x))
    total.add_(right.y, alpha=-x * x * bend * (5 - 4 * x))
    total.add_(left.middle, alpha=16 * x * x * rest * rest)
    total.add_(left.slope, alpha=size * x * rest * rest * bend)
    return total.add_(right.slope, alpha=size * x * x * rest * bend)


def _septic(points: Sequence[Node], x: float, size: float) -> State:
    total = torch.zeros_like(points[0].y)
    for node, at in zip(points, POINTS, strict=True):
        others = [p for p in POINTS if p != at]
        basis, bend = 1.0, 0.0
        for p in others:
            basis *= (x - p) / (at - p)
            bend += 1 / (at - p)
        basis *= basis
        total.add_(node.y, alpha=basis * (1 - 2 * (x - at) * bend))
        total.add_(node.slope, alpha=size * basis * (x - at))
    return total
