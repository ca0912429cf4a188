"""Watches the backward solve of `odeint_adjoint`, and warns where the state that it reconstructs has gone astray."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pynode.drift import drift_bound, drift_of
from pynode.errors import DriftError, DriftWarning
from pynode.schemes.dopri5 import DOPRI5
from pynode.solution import Status

FSAL = ("bosh3",)
"""Solvers of order 3 whose last evaluation of a step is at its end."""

OF_ORDER_2 = ("fehlberg2", "adaptive_heun")
MEASURED = ("dopri5", *FSAL, *OF_ORDER_2)
"""Solvers whose steps are short enough to read the state at an output time from the evaluations of a step."""

REMEDY = (
    "pass method=pynode.OptDisc(adjoint='interpolating'), which reads the state from the forward solve, use odeint, or "
    "give more output times"
)


class DriftWatch:
    """Compares the state of an adjoint solve with the stored one at each output time; warns once a backward pass.

    torchdiffeq keeps the reconstructed state to itself, so it is read from the evaluations of the step that passes the
    output time, without a further one.  `ts` are the output times, `ys` the states there (tensors `(time, ...)`, one
    for each part of a tuple), tolerances those of the forward and the adjoint solve, whichever is larger.
    """

    def __init__(self, solver: str, ts: Sequence[float], ys: Sequence[Tensor], rtol: float, atol: float) -> None:
        self._solver, self._ts, self._ys, self._rtol, self._atol = solver, ts, ys, rtol, atol
        self._backwards = 1.0 if ts[0] > ts[-1] else -1.0  # the direction of the backward solve
        self._evaluations: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []  # state and slope, by parts
        self._first: Sequence[Tensor] | None = None  # the slope at the beginning of the step
        self._warned = False

    def evaluated(self, y: Any, slope: Any) -> None:
        """An evaluation of the field in the backward solve."""
        self._evaluations.append((_parts(y), _parts(slope)))

    def before_step(self, t: float) -> None:
        """What was evaluated between two steps begins with the slope at `t`."""
        if t == self._ts[-1]:
            self._warned = False  # another backward pass
        if self._evaluations:
            self._first = self._evaluations[0][1]
            self._evaluations = []

    def rejected(self) -> None:
        """The step is tried again."""
        self._evaluations = []

    def accepted(self, start: float, y: Any, dt: float) -> None:
        """A step of length `dt` from the state `y` at `start`; measures where it passes an output time."""
        evaluations, first = self._evaluations, self._first
        self._evaluations = []
        if not evaluations or first is None:
            return
        self._first = evaluations[-1][1]
        size = self._backwards * dt
        ahead = [k for k, at in enumerate(self._ts) if self._backwards * (at - start) > 0]
        k = max(ahead, default=None)
        if k is None or (self._ts[k] - start) / size > 1 + 1e-9:
            return
        x = min(1.0, (self._ts[k] - start) / size)
        slopes = [first, *(slope for _, slope in evaluations)]
        drifts = []
        for part, (before, stored) in enumerate(zip(_parts(y), self._ys, strict=True)):
            end = evaluations[-1][0][part]
            reached = self._between(before, end, [slope[part] for slope in slopes], x, size)
            if not reached.is_complex():
                drifts.append(drift_of(reached.reshape(stored[k].shape), stored[k], self._rtol, self._atol))
        drift, samples = max(drifts, key=lambda each: each[0], default=(0.0, None))
        bound = drift_bound(self._solver)
        if drift > bound and not self._warned:
            self._warned = True
            said = DriftError(Status.DRIFT, drift=drift, bound=bound, t=self._ts[k], samples=samples, remedy=REMEDY)
            warnings.warn(str(said), DriftWarning, stacklevel=2)

    def _between(self, before: Tensor, end: Tensor, slopes: Sequence[Tensor], x: float, size: float) -> Tensor:
        """One part of the state at the share `x` of a step, to the order of the solver."""
        if self._solver == "dopri5":
            weights = DOPRI5.dense_weights(x)
            return before + size * sum(w * k for w, k in zip(weights, slopes, strict=True))
        if self._solver in FSAL:
            value = before * ((1 - x) ** 2 * (1 + 2 * x)) + end * (x * x * (3 - 2 * x))
            return value + slopes[0] * (size * x * (1 - x) ** 2) - slopes[-1] * (size * x * x * (1 - x))
        return before + size * (x * slopes[0] + 0.5 * x * x * (slopes[-1] - slopes[0]))


def largest(*tolerances: Any) -> float | None:
    """The largest entry of some tolerances; None where it is infinite, so that nothing is ever too far off."""
    entries = [float(e) for tolerance in tolerances for e in _entries(tolerance)]
    drift = max(entries, default=0.0)
    return drift if drift < float("inf") else None


def _entries(tolerance: Any) -> list[Any]:
    if tolerance is None:
        return []
    if isinstance(tolerance, (list, tuple)):
        return [entry for part in tolerance for entry in _entries(part)]
    return torch.as_tensor(tolerance).reshape(-1).tolist()


def _parts(y: Any) -> tuple[Tensor, ...]:
    return tuple(part.detach() for part in y) if isinstance(y, (tuple, list)) else (y.detach(),)
