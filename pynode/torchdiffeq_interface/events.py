"""`odeint_event`: solves until an event, with the gradient of the event's time and state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pynode.errors import InvalidArgument, NotTwiceDifferentiable
from pynode.torchdiffeq_interface.search import event_value
from pynode.torchdiffeq_interface.solving import odeint
from pynode.torchdiffeq_interface.values import Func, Y, flat_func, flatten, shapes_of, unflatten

SMALLEST_RATE = 1e-12
"""Added to the event function's rate of change, as in torchdiffeq: where it only touches zero, the rate is zero."""


def odeint_event(
    func: Func,
    y0: Y,
    t0: Tensor,
    *,
    event_fn: Func,
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **kwargs: Any,
) -> Any:
    """Solves until `event_fn(t, y)` changes sign: (event time, states at `t0` and there), both differentiable.

    Gradients go to `y0`, `t0`, the parameters of `func`, and to whatever `event_fn` uses: its own parameters and other
    tensors get theirs too, for which torchdiffeq needs them to be entries of the state (Chen, Amos & Nickel 2021, arXiv
    2011.03902).  `kwargs` go to `odeint_interface`; see `odeint` for events that never come.
    """
    if not isinstance(t0, Tensor) or not t0.is_floating_point() or t0.numel() != 1:
        shown = f"{tuple(t0.shape)} {t0.dtype}" if isinstance(t0, Tensor) else repr(t0)
        raise InvalidArgument("t0", shown, "not a floating point tensor with one entry", "pass torch.tensor(0.0)")
    start = t0.reshape(-1)
    towards = -1.0 if reverse_time else 1.0
    event_t, states = odeint_interface(
        func, y0, torch.cat([start, start.detach() + towards]), event_fn=event_fn, **kwargs
    )
    if not torch.is_grad_enabled():
        return event_t, states
    shapes = shapes_of(y0)
    final = states[-1] if shapes is None else flatten(part[-1] for part in states)
    event_t, final = _differentiable(flat_func(func, y0), event_fn, y0, start[0].detach(), event_t.detach(), final)
    if shapes is None:
        return event_t, torch.cat([states[:-1], final[None]])
    ends = unflatten(final, shapes)
    return event_t, tuple(torch.cat([part[:-1], end[None]]) for part, end in zip(states, ends, strict=True))


def _differentiable(
    field: Func, event_fn: Func, y0: Y, start: Tensor, event_t: Tensor, final: Tensor
) -> tuple[Tensor, Tensor]:
    """The event's time and state as functions of all that they depend on.

    `final` is the state at the fixed time `event_t`.  With g the event function, the event moves by
    -dg / (dg/dt + dg/dy f), and the state by f times that: one Newton step, whose value is zero.
    """
    shapes = shapes_of(y0)
    with torch.no_grad():
        signs = event_value(event_fn, start, y0).sign()

    def event(t: Tensor, y: Tensor) -> Tensor:
        # the first event of several: all are positive at the start
        return (event_value(event_fn, t, y if shapes is None else unflatten(y, shapes)) * signs).min()

    t, y = event_t.clone().requires_grad_(), final.detach().requires_grad_()
    by_t, by_y = torch.autograd.grad(event(t, y), (t, y), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        slope = field(event_t.to(final.abs().dtype), final.detach())
        rate = by_t + (by_y.conj() * slope).sum().real + SMALLEST_RATE
    value = event(event_t, final)
    moved = ((value.detach() - value) / rate).to(event_t.dtype)
    event_t, final = _OnceDifferentiable.apply(event_t + moved, final + slope * moved)
    return event_t, final


class _OnceDifferentiable(torch.autograd.Function):
    """Hands its inputs through; the gradient of a gradient would lack the derivatives of the event's rate."""

    @staticmethod
    def forward(ctx: Any, event_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(event_t, state)
        return event_t.clone(), state.clone()

    @staticmethod
    def backward(ctx: Any, by_t: Tensor, by_state: Tensor) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled():
            return by_t, by_state
        guarded: tuple[Tensor, Tensor] = _Refused.apply(by_t, by_state, *ctx.saved_tensors)
        return guarded


class _Refused(torch.autograd.Function):
    """A gradient with a graph, in which differentiating it is a typed error."""

    @staticmethod
    def forward(ctx: Any, by_t: Tensor, by_state: Tensor, *dependencies: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG004
        return by_t.clone(), by_state.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> None:  # noqa: ARG004
        raise NotTwiceDifferentiable(
            "the gradient of odeint_event can't be differentiated again (Hessians, gradient penalties): it leaves out "
            "how the rate of the event function changes; take finite differences of the first gradient"
        )
