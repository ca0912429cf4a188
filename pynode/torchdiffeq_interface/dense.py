"""`odeint_dense`: the solution as a function of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchdiffeq
from torch import Tensor

from pynode.errors import InvalidArgument, UsageError
from pynode.torchdiffeq_interface.arguments import check_problem, check_tolerance, checked_options
from pynode.torchdiffeq_interface.failures import RAISED_BY_SOLVERS, failure
from pynode.torchdiffeq_interface.solving import ATOL, RTOL, Tolerance
from pynode.torchdiffeq_interface.values import Func
from pynode.torchdiffeq_interface.watching import prepared

THEIR_ODEINT_DENSE = getattr(torchdiffeq, "odeint_dense", None)


def odeint_dense(
    func: Func,
    y0: Tensor,
    t0: Tensor,
    t1: Tensor,
    *,
    rtol: Tolerance = RTOL,
    atol: Tolerance = ATOL,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Tensor], Tensor]:
    """Solves dy/dt = func(t, y), y(t0) = y0 until `t1` and returns the function t -> y(t), as in torchdiffeq.

    `y0` is one tensor and `method` "dopri5".  The function takes a time from `t0` to `t1`, both included, or several
    `(time,)`, whose states it returns as `(time, *y0.shape)`.  Unlike torchdiffeq's it works for `t1` < `t0` too.
    """
    if THEIR_ODEINT_DENSE is None:
        raise UsageError("the installed torchdiffeq has no odeint_dense; install torchdiffeq 0.2.4 or later")
    if method not in (None, "dopri5"):
        raise InvalidArgument("method", repr(method), "has no dense output", "use dopri5")
    if not isinstance(y0, Tensor):
        raise InvalidArgument("y0", type(y0).__name__, "not a tensor", "solve for one tensor")
    for argument, value in (("t0", t0), ("t1", t1)):
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim:
            shown = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)
            raise InvalidArgument(argument, shown, "not a floating point scalar tensor", "pass torch.tensor(0.0)")
    start, end = t0.detach(), t1.detach()
    span = torch.stack([start, end.to(start)])
    check_problem(y0, span, method, None)
    for argument, tolerance in (("rtol", rtol), ("atol", atol)):
        check_tolerance(argument, tolerance, y0, method)
    chosen = checked_options("options", options, span, method) or {}
    watched = prepared(func, y0, method)
    try:
        solution = THEIR_ODEINT_DENSE(watched, y0, start, end, rtol=rtol, atol=atol, method=method, options=chosen)
    except RAISED_BY_SOLVERS as error:
        typed = failure(error, watched.values.mismatch)
        if typed is None:
            raise
        raise typed from error
    sign = 1.0 if bool(end > start) else -1.0
    first, last = sorted((float(start), float(end)))
    dtype = torch.promote_types(chosen.get("dtype", torch.float64), y0.dtype.to_real())

    def states_at(t: Tensor) -> Tensor:
        if t.ndim:
            return torch.stack([states_at(each) for each in t])
        if not first <= float(t.detach()) <= last:
            raise InvalidArgument("t", float(t.detach()), "outside of the solve", f"use {first:g} to {last:g}")
        t = sign * t.to(dtype)
        try:
            return solution(t)
        except IndexError:  # the last step ends exactly at t1, and the search for t looks for the next one
            return solution(torch.nextafter(t, sign * start.to(dtype)))

    return states_at
