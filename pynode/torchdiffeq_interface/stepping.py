"""torchdiffeq's plain fixed-step solves on pynode's stepper: fewer operations a step, and the same points in time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pynode.errors import StateMismatch
from pynode.grid import TimeGrid
from pynode.precision import hold_to_precision
from pynode.schemes.base import Scheme
from pynode.schemes.euler import EULER
from pynode.schemes.heun import HEUN
from pynode.schemes.midpoint import MIDPOINT
from pynode.schemes.rk38 import RK38
from pynode.torchdiffeq_interface.kernels import fixed_solve
from pynode.torchdiffeq_interface.values import (
    Func,
    Y,
    checked_parts,
    difference,
    flat_func,
    flatten,
    flattened,
    shapes_of,
    unflatten,
)
from pynode.torchdiffeq_interface.watching import CALLBACKS, called

FIXED: dict[str, Scheme] = {"euler": EULER, "midpoint": MIDPOINT, "heun2": HEUN, "rk4": RK38}
"""Solvers of torchdiffeq whose scheme pynode has; "rk4" is the 3/8 rule there."""


class Replayed:
    """A func whose value at the first call is known already."""

    def __init__(self, func: Func, value: Any) -> None:
        self.func, self._values = func, [value]

    def __call__(self, t: Tensor, y: Any) -> Any:
        return self._values.pop() if self._values else self.func(t, y)


class _Steady:
    """A func of one tensor, known to fit the state at the first call: it has to at all others."""

    def __init__(self, func: Func) -> None:
        self.func = func

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        slope = called(self.func, t, y)
        if slope.shape != y.shape or slope.dtype != y.dtype:
            raise StateMismatch(str(difference(slope, y)))
        return slope


def scheme_for(method: Any, func: Func, y0: Y, t: Tensor, options: Mapping[str, Any] | None) -> Scheme | None:
    """pynode's scheme for this solve; None where the solve needs something that only torchdiffeq has."""
    if method not in FIXED or len(t) < 2 or any(hasattr(func, name) for name in CALLBACKS):
        return None
    known = {"step_size"} | ({"interp"} if (options or {}).get("interp") == "linear" else set())
    step_size = (options or {}).get("step_size")
    wanted = isinstance(step_size, Tensor) and step_size.requires_grad
    if wanted or not set(options or ()) <= known:
        return None
    dtypes = {part.dtype for part in ((y0,) if isinstance(y0, Tensor) else y0)}
    # times coarser than the state: torchdiffeq's step sizes have their rounding errors
    exact = all(
        (dtype.is_floating_point or dtype.is_complex) and torch.finfo(t.dtype).eps <= torch.finfo(dtype).eps
        for dtype in dtypes
    )
    return FIXED[method] if exact else None


def solve_fixed(scheme: Scheme, func: Func, y0: Y, t: Tensor, step_size: Any) -> tuple[Y | None, Func]:
    """States at `t`, with steps of `step_size` from t[0], the last one cut, and outputs interpolated linearly.

    The states are None where torchdiffeq has rules of its own, for a derivative of another shape or dtype than the
    state above all.  `func` comes back too, with its first value, which need not be evaluated again.
    """
    shapes, flat, t = shapes_of(y0), flattened(y0), t.to(flattened(y0).device)
    grid = t if step_size is None else stepped(t, step_size)
    if grid is None:
        return None, func
    if (states := fixed_solve(scheme, func, y0, grid)) is not None:
        return states if grid is t else _interpolated(grid, states, t), func
    state = flat if shapes is None else unflatten(flat, shapes)
    value = called(func, t[0].to(flat.dtype.to_real()), state)
    if isinstance(state, tuple):
        value = checked_parts(value, state)
    first = flatten(value) if isinstance(state, tuple) else value
    if difference(first, flat):
        return None, Replayed(func, value)
    field = Replayed(_Steady(flat_func(func, y0)), first)
    states = scheme.solve(field, flat, TimeGrid.between(grid), grid)
    hold_to_precision(states)
    if grid is not t:
        states = _interpolated(grid, states, t)
    return states if shapes is None else unflatten(states, shapes, (len(t),)), func


def stepped(t: Tensor, step_size: Any) -> Tensor | None:
    """The grid that torchdiffeq makes of `step_size`; None where its points coincide in the precision of `t`."""
    count = math.ceil(((t[-1] - t[0]).detach().abs() / step_size + 1).item())
    sign = 1 if bool(t[-1] > t[0]) else -1
    inner = torch.arange(count - 1, dtype=t.dtype, device=t.device) * (sign * step_size) + t[0]
    with torch.no_grad():
        # by rounding, the last point may lie on the end or behind it: a step of no length
        inside = sign * inner < sign * t[-1]
        if count > 2 and not bool((sign * inner.diff() > 0).all()):
            return None
    return torch.cat([inner[inside], t[-1:]])


def _interpolated(grid: Tensor, states: Tensor, t: Tensor) -> Tensor:
    sign = 1.0 if bool(t[-1] > t[0]) else -1.0
    right = torch.searchsorted((sign * grid).detach(), (sign * t).detach().contiguous()).clamp(min=1)
    left = right - 1
    share = ((t - grid[left]) / (grid[right] - grid[left])).to(states.dtype)
    share = share.reshape(-1, *[1] * (states.ndim - 1))
    return states[left] + share * (states[right] - states[left])
