"""Events: found and differentiated as torchdiffeq does, through `odeint_event` and `event_fn`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from pynode.torchdiffeq_interface import odeint, odeint_adjoint, odeint_event

TS = torch.tensor([0.0, 0.3], dtype=torch.float64)


class Fall(nn.Module):
    """(height, speed) under gravity."""

    def __init__(self) -> None:
        super().__init__()
        self.gravity = nn.Parameter(torch.tensor(9.8, dtype=torch.float64))

    def forward(self, t: Tensor, y: Any) -> Any:  # noqa: ARG002
        return (y[1], -self.gravity.expand_as(y[1])) if isinstance(y, tuple) else torch.stack([y[1], -self.gravity])


@pytest.mark.parametrize("interface", [odeint, odeint_adjoint])
@pytest.mark.parametrize("as_tuple", [False, True])
def test_events_are_found_and_differentiable(interface: Callable[..., Any], as_tuple: bool) -> None:
    """A fall from height 10: t = sqrt(2 h / g), and dt/dg = -t / (2 g)."""
    field = Fall()
    whole = torch.tensor([10.0, 0.0], dtype=torch.float64)
    y0 = (whole[0].reshape(1), whole[1].reshape(1)) if as_tuple else whole
    event_t, states = odeint_event(
        field,
        y0,
        torch.tensor(0.0, dtype=torch.float64),
        event_fn=lambda _, y: y[0].reshape(()),
        odeint_interface=interface,
        atol=1e-10,
        rtol=1e-10,
    )
    expected = math.sqrt(2 * 10 / 9.8)
    # torchdiffeq finds events by bisection to atol
    assert event_t.item() == pytest.approx(expected, rel=1e-7)
    final = torch.cat([s[-1].reshape(-1) for s in states]) if as_tuple else states[-1]
    assert final.tolist() == pytest.approx([0.0, -math.sqrt(2 * 10 * 9.8)], rel=1e-6, abs=1e-6)
    (slope,) = torch.autograd.grad(event_t, field.gravity)
    assert slope.item() == pytest.approx(-expected / (2 * 9.8), rel=1e-5)


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_event_fn_of_odeint_is_torchdiffeqs(method: str) -> None:
    """(event time, states), also for fixed-step methods and in reversed time."""
    y0 = torch.tensor([10.0, 0.0], dtype=torch.float64)
    for ts in (TS, -TS):
        call: dict[str, Any] = {"event_fn": lambda _, y: y[0] - 3, "method": method}
        if method == "rk4":
            call["options"] = {"step_size": 0.05, "interp": "cubic"}
        found, wanted = odeint(Fall(), y0, ts, **call), torchdiffeq.odeint(Fall(), y0, ts, **call)
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])
