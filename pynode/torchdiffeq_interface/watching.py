"""A user's func as torchdiffeq calls it: its values are checked, its callbacks are kept, failures are typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pynode.engines.eager.watch import AdaptiveWatch
from pynode.errors import StateChangedInPlace, StateMismatch
from pynode.evaluation import CountedField
from pynode.solution import SolveStats
from pynode.torchdiffeq_interface.arguments import reports_steps
from pynode.torchdiffeq_interface.drifting import DriftWatch
from pynode.torchdiffeq_interface.values import (
    Func,
    Y,
    check_usable,
    checked_parts,
    difference,
    flatten,
    flattened,
    shapes_of,
    unflatten,
    without_leading_ones,
)
from pynode.transforms import is_transformed

CALLBACKS = tuple(
    f"callback_{event}{phase}" for event in ("step", "accept_step", "reject_step") for phase in ("", "_adjoint")
)


def called(func: Func, t: Tensor, y: Any) -> Any:
    """func(t, y); raises `StateChangedInPlace` if it changes the state, which the solver goes on using."""
    state = y[0] if isinstance(y, tuple) else y  # parts of a tuple are views of one vector
    if state.is_inference() or is_transformed():
        return func(t, y)
    version = state._version
    slope = func(t, y)
    if state._version != version:
        raise StateChangedInPlace(
            "func(t, y) changes its argument y in place, which the solver goes on using; compute with a copy: "
            "y = y.clone()"
        )
    return slope


class Values:
    """Checks the values of a func: the first against the state, the others against the first."""

    def __init__(self) -> None:
        self.mismatch: str | None = None
        """What sets the derivative apart from the state, where torchdiffeq may still be able to use it."""
        self.in_adjoint = False
        """Whether torchdiffeq's adjoint solve is at work, which has to take products with the derivative."""
        self._shape: torch.Size | None = None

    def checked(self, slope: Any, y: Any) -> Any:
        """The derivative, for torchdiffeq; raises `StateMismatch` if it can't be used."""
        if isinstance(y, tuple):
            parts = checked_parts(slope, y)
            return tuple(map(_for_products, parts, y)) if self.in_adjoint else tuple(map(_complex_like, parts, y))
        if isinstance(slope, Tensor) and slope.dtype == y.dtype and slope.shape == y.shape == self._shape:
            return _for_products(slope, y) if self.in_adjoint else slope
        shape = slope.shape if isinstance(slope, Tensor) else torch.Size()
        if self._shape is None:
            check_usable(slope, y)
            self.mismatch, self._shape = difference(slope, y), shape
        elif without_leading_ones(shape) != without_leading_ones(self._shape):
            raise StateMismatch(
                f"func(t, y) has shape {tuple(shape)}, but {tuple(self._shape)} at the first evaluation; return one "
                "shape throughout"
            )
        if self.in_adjoint:
            return _for_products(slope, y)
        return _complex_like(slope, y)


def _complex_like(slope: Any, y: Tensor) -> Any:
    """The derivative of a complex state as a complex number: torch hands no complex gradient back to a real one."""
    return slope.to(y.dtype) if y.is_complex() and isinstance(slope, Tensor) else slope


def _for_products(slope: Any, y: Tensor) -> Tensor:
    """The derivative in a form with which torchdiffeq's adjoint solve can take products: that of the state."""
    slope = slope if isinstance(slope, Tensor) else torch.full_like(y, slope)
    if slope.shape != y.shape:
        slope = slope.reshape(y.shape) if slope.numel() == y.numel() else slope.expand(y.shape)
    if slope.dtype != y.dtype and (y.is_complex() or not slope.is_floating_point() or not torch.is_grad_enabled()):
        slope = slope.to(y.dtype)
    # a constant derivative has products too: zeros
    return slope if slope.requires_grad or not torch.is_grad_enabled() else slope.detach().requires_grad_()


class CheckedFunc:
    """A func whose values are checked; torchdiffeq finds the callbacks of the user's func on it."""

    def __init__(self, func: Func) -> None:
        self.func, self.values = func, Values()

    def __call__(self, t: Tensor, y: Any) -> Any:
        return self.values.checked(called(self.func, t, y), y)

    def __getattr__(self, name: str) -> Any:
        if name in CALLBACKS:
            return getattr(self.func, name)
        raise AttributeError(name)


class WatchedFunc(AdaptiveWatch):
    """A checked func for an adaptive solver, whose failed steps raise `SolveError`; the user's callbacks still run."""

    def __init__(self, func: Func, y0: Y, *, watch_adjoint: bool) -> None:
        stats = SolveStats()
        self.func, self.values, self.shapes = func, Values(), shapes_of(y0)
        self.drift: DriftWatch | None = None  # of the backward solve, set once the states are there
        self.sign = 1.0  # of the adjoint's times: torchdiffeq counts them backwards where `t` is decreasing
        super().__init__(CountedField(self._flat_func, stats.forward), stats)
        if watch_adjoint:  # a solver without callbacks would warn of them
            self.callback_step_adjoint = self._check_adjoint_step
            self.callback_accept_step_adjoint = self._accept_adjoint_step
            self.callback_reject_step_adjoint = self._reject_adjoint_step
        for name in CALLBACKS:
            if hasattr(func, name):
                mine, theirs = getattr(self, name, None), getattr(func, name)
                setattr(self, name, _both(mine, theirs) if mine else theirs)

    def __call__(self, t: Tensor, y: Any) -> Any:
        slope = self.values.checked(called(self.func, t, y), y)
        if isinstance(slope, Tensor) and not self.values.in_adjoint:
            self.recent.append(slope.detach())
        if self.drift is not None:
            self.drift.evaluated(y, slope)
        return slope

    def callback_step(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        flat = flattened(y0)
        self.check_step(t0, dt, flat, flat)
        self.recent.clear()

    def _check_adjoint_step(self, t0: Tensor, y0: tuple[Tensor, ...], dt: Tensor) -> None:
        parts = self._state_parts(y0)
        self.check_step(self.sign * t0, dt, flatten(parts), flatten(y0))
        if self.drift is not None:
            self.drift.before_step(self.sign * float(t0))

    def _accept_adjoint_step(self, t0: Tensor, y0: tuple[Tensor, ...], dt: Tensor) -> None:
        if self.drift is not None:
            self.drift.accepted(self.sign * float(t0), self._state_parts(y0), float(dt))

    def _reject_adjoint_step(self, t0: Tensor, y0: tuple[Tensor, ...], dt: Tensor) -> None:  # noqa: ARG002
        if self.drift is not None:
            self.drift.rejected()

    def _state_parts(self, augmented: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The state in the vector (dL/dt, y, dL/dy, dL/dparams...) of the adjoint solve."""
        state = augmented[1]
        return (state,) if self.shapes is None else unflatten(state.reshape(-1), self.shapes)

    def _flat_func(self, t: Tensor, y: Tensor) -> Tensor:
        if self.shapes is None:
            return self.func(t, y)
        return flatten(self.func(t, unflatten(y, self.shapes)))


def prepared(func: Func, y0: Y, method: str | None, adjoint_method: str | None = None) -> CheckedFunc | WatchedFunc:
    """`func` as it is handed to torchdiffeq's solver `method`, with failures typed as well as that solver allows."""
    if not reports_steps(method):
        return CheckedFunc(func)
    return WatchedFunc(func, y0, watch_adjoint=reports_steps(adjoint_method or method))


def _both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        first(*args)
        second(*args)

    return call
