"""The search for an event: checks the event function's values, and ends where the event does not come."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pynode.errors import InvalidArgument, SolveError
from pynode.solution import Status
from pynode.torchdiffeq_interface.arguments import has_fixed_steps, is_number, reports_steps
from pynode.torchdiffeq_interface.failures import norm_of_slope
from pynode.torchdiffeq_interface.values import Func, Y, flat_func, flattened

MOST_STEPS = 5_000
"""Steps of an adaptive solver that looks for an event; torchdiffeq has this bound for fixed steps only."""

FARTHEST = 1e300
"""Length of time without a limit of the user's own; steps that still grow there would overflow."""

EXHAUSTED = ("max_num_steps exceeded", "Reached maximum number of iterations")
"""What torchdiffeq says when it has taken as many steps as it may."""


class EventSearch:
    """A user's event function as torchdiffeq calls it."""

    def __init__(self, func: Func, y0: Y, t: Tensor, event_fn: Func, limit: float) -> None:
        self.event_fn, self.limit = event_fn, limit
        self._func, self._y0 = func, y0
        self._start = float(t[0].detach())
        self._signs: Tensor | None = None
        self._last: tuple[Tensor, Y] = (t[0].detach(), y0)

    def __call__(self, t: Tensor, y: Any) -> Tensor:
        value = event_value(self.event_fn, t, y)
        if self._signs is None:
            self._signs = value.detach().sign()
        waiting = bool((value.detach() * self._signs).min() > 0)
        previous, self._last = self._last, (t.detach(), y)
        if waiting and abs(float(t.detach()) - self._start) > self.limit:
            raise self._not_found(float(t.detach()) - float(previous[0]))
        return value

    def failure(self, error: Exception) -> SolveError | None:
        """The typed error if the solver has taken all its steps without an event; None for any other reason."""
        return self._not_found(0.0) if any(text in str(error) for text in EXHAUSTED) else None

    def check(self, event_t: Tensor) -> None:
        """Raises `SolveError` if the event lies beyond the limit."""
        if abs(float(event_t.detach()) - self._start) > self.limit:
            raise self._not_found(0.0)

    def _not_found(self, dt: float) -> SolveError:
        t, y = self._last
        state = flattened(y).detach() if isinstance(y, tuple) else y.detach()
        norm_f = norm_of_slope(flat_func(self._func, self._y0), t, state)
        return SolveError(Status.NO_EVENT, t=float(t), dt=dt, norm_f=norm_f)


def event_value(event_fn: Func, t: Tensor, y: Any) -> Tensor:
    """event_fn(t, y); raises `InvalidArgument` unless it is a real tensor without NaN."""
    value = event_fn(t, y)
    if not isinstance(value, Tensor) or value.is_complex() or not value.numel():
        shown = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise InvalidArgument("event_fn", shown, "its value is not a real tensor", "return e.g. y[0] - height")
    if bool(torch.isnan(value.detach()).any()):
        problem = f"its value is NaN at t = {float(t.detach()):g}"
        raise InvalidArgument("event_fn", getattr(event_fn, "__name__", type(event_fn).__name__), problem, "check it")
    return value


def search_options(
    options: dict[str, Any] | None, method: str | None, atol: Any
) -> tuple[dict[str, Any] | None, float]:
    """The options for torchdiffeq, bounded in steps, and the greatest length of time to search."""
    chosen = dict(options or {})
    limit = chosen.pop("event_time_limit", None)
    if limit is not None and (not is_number(limit) or not 0 < limit < math.inf):
        raise InvalidArgument("options['event_time_limit']", limit, "not a positive number", "give a length of time")
    if has_fixed_steps(method) and chosen.get("step_size") is None:
        problem = f"{method} needs the size of its steps to search for an event"
        raise InvalidArgument("options['step_size']", None, problem, "pass options={'step_size': 0.01}")
    if isinstance(atol, (tuple, list)) or (isinstance(atol, Tensor) and atol.numel() > 1):
        problem = "several entries, but event times are found to one tolerance"
        raise InvalidArgument("atol", atol, problem, "give one number with event_fn")
    if reports_steps(method):
        chosen.setdefault("max_num_steps", MOST_STEPS)
    return chosen if options is not None or chosen else None, FARTHEST if limit is None else float(limit)
