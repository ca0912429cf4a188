"""Events: found and differentiated as torchdiffeq does, through `odeint_event` and `event_fn`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from pynode.errors import InvalidArgument, NotTwiceDifferentiable, SolveError
from pynode.solution import Status
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
        event, wanted = odeint(Fall(), y0, ts, **call), torchdiffeq.odeint(Fall(), y0, ts, **call)
        assert torch.equal(event[0], wanted[0])
        assert torch.equal(event[1], wanted[1])


@pytest.mark.parametrize("reverse_time", [False, True])
@pytest.mark.parametrize("options", [None, {"step_size": 0.01, "interp": "cubic"}], ids=["dopri5", "rk4"])
@pytest.mark.parametrize("as_tuple", [False, True])
def test_parameters_of_the_event_function_get_their_gradient(
    options: dict[str, Any] | None, reverse_time: bool, as_tuple: bool
) -> None:
    """A fall from 10 to the height h: t = sqrt(2 (10 - h) / g), so dt/dh = -1 / (g t); torchdiffeq gives None."""
    field = Fall()
    height = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    whole = torch.tensor([10.0, 0.0], dtype=torch.float64, requires_grad=True)
    t0 = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    call: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12, "reverse_time": reverse_time}
    call |= {"method": "rk4", "options": options} if options else {}
    y0 = (whole[:1], whole[1:]) if as_tuple else whole
    event_t, states = odeint_event(field, y0, t0, event_fn=lambda _, y: y[0].reshape(()) - height, **call)
    speed = states[1][-1, 0] if as_tuple else states[-1, 1]
    sign = -1.0 if reverse_time else 1.0
    fall = sign * math.sqrt(2 * 7 / 9.8)
    assert event_t.item() == pytest.approx(0.5 + fall, rel=1e-8)
    by_time = torch.autograd.grad(event_t, (height, field.gravity, whole, t0), retain_graph=True)
    assert by_time[0].item() == pytest.approx(-1 / (9.8 * fall), rel=1e-6)
    assert by_time[1].item() == pytest.approx(-fall / (2 * 9.8), rel=1e-6)
    assert by_time[2].tolist() == pytest.approx([1 / (9.8 * fall), 1 / 9.8], rel=1e-6)
    assert by_time[3].item() == pytest.approx(1.0, rel=1e-6)
    by_speed = torch.autograd.grad(speed, (height, field.gravity))
    assert [g.item() for g in by_speed] == pytest.approx([1 / fall, -fall / 2], rel=1e-6)


@pytest.mark.parametrize("interface", [odeint, odeint_adjoint])
def test_gradients_of_an_event_are_those_of_torchdiffeq(interface: Callable[..., Any]) -> None:
    """Where it gives some: the field's parameters and y0, with several event functions of which the first counts."""
    gradients = []
    for library, solver in (
        (odeint_event, interface),
        (torchdiffeq.odeint_event, getattr(torchdiffeq, interface.__name__)),
    ):
        field, y0 = Fall(), torch.tensor([10.0, 0.0], dtype=torch.float64, requires_grad=True)
        event_t, states = library(
            field,
            y0,
            torch.tensor(0.0, dtype=torch.float64),
            event_fn=lambda t, y: torch.stack([y[0] - 3, y[1] + 100, t - 5]),
            odeint_interface=solver,
        )
        gradients.append(torch.autograd.grad(event_t**2 + states[-1].sum(), (y0, field.gravity)))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9)


def oscillator(_: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y[1], -y[0]])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (None, {"event_time_limit": 3.0}),
        (None, {"max_num_steps": 30}),
        ("bosh3", {"event_time_limit": 0.5}),
        ("rk4", {"step_size": 0.1, "event_time_limit": 2}),
    ],
)
@pytest.mark.parametrize("reverse_time", [False, True])
def test_events_that_do_not_come_end_the_solve(method: str | None, options: dict[str, Any], reverse_time: bool) -> None:
    """An oscillator of size 1 never reaches -2: after the time, or the steps, that the options allow."""
    y0, t0 = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    for interface in (odeint, lambda *args, **call: odeint_adjoint(*args, adjoint_params=(), **call)):
        kept = dict(options)
        call: dict[str, Any] = {"method": method, "options": options, "reverse_time": reverse_time}
        with pytest.raises(SolveError, match="event_fn") as caught:
            odeint_event(oscillator, y0, t0, event_fn=lambda _, y: y[0] + 2, odeint_interface=interface, **call)
        assert caught.value.status is Status.NO_EVENT
        assert options == kept
        if limit := options.get("event_time_limit"):
            assert limit <= abs(caught.value.t - 1) < limit + 1


def test_a_search_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any option, and where the steps grow until the time overflows."""
    from pynode.torchdiffeq_interface import search

    monkeypatch.setattr(search, "MOST_STEPS", 40)
    y0, t0 = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    with pytest.raises(SolveError, match="max_num_steps"):
        odeint_event(oscillator, y0, t0, event_fn=lambda _, y: y[0] + 2)
    monkeypatch.setattr(search, "MOST_STEPS", 5000)
    with pytest.raises(SolveError) as caught:
        odeint_event(lambda _, y: torch.zeros_like(y), y0, t0, event_fn=lambda _, y: y[0] + 2)
    assert caught.value.status is Status.NO_EVENT
    assert caught.value.t > 1e300


def test_an_event_within_the_limit_is_found() -> None:
    """Also where the step in which it lies ends beyond the limit; one behind the limit is not."""
    y0, t0 = torch.tensor([10.0, 0.0], dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    fall = math.sqrt(2 * 7 / 9.8)
    for limit, is_within in ((fall + 0.01, True), (fall - 0.01, False)):
        call: dict[str, Any] = {"event_fn": lambda _, y: y[0] - 3, "options": {"event_time_limit": limit}}
        if is_within:
            assert odeint_event(Fall(), y0, t0, **call)[0].item() == pytest.approx(fall, rel=1e-6)
        else:
            with pytest.raises(SolveError, match="event_fn"):
                odeint_event(Fall(), y0, t0, **call)


def test_bad_input_of_events_is_named() -> None:
    """Event functions that are NaN or no tensor, limits and times that are none."""
    y0, t0 = torch.tensor([10.0, 0.0], dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (t0, {"event_fn": lambda _, y: y[0] * math.nan}, "event_fn"),
        (t0, {"event_fn": lambda _, y: 1.0}, "event_fn"),
        (t0, {"event_fn": lambda _, y: y[0], "options": {"event_time_limit": -1.0}}, "event_time_limit"),
        (t0, {"event_fn": lambda _, y: y[0], "atol": torch.ones(2)}, "atol"),
        (0.0, {"event_fn": lambda _, y: y[0]}, "t0"),
        (torch.tensor(0), {"event_fn": lambda _, y: y[0]}, "t0"),
    ]
    for start, call, argument in cases:
        with pytest.raises(InvalidArgument) as caught:
            odeint_event(Fall(), y0, start, **call)
        assert argument in caught.value.argument


def test_second_derivatives_through_an_event_are_refused() -> None:
    """torchdiffeq leaves out terms; the first one may still be taken with a graph."""
    field = Fall()
    y0, t0 = torch.tensor([10.0, 0.0], dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    event_t, _ = odeint_event(field, y0, t0, event_fn=lambda _, y: y[0] - 3)
    (slope,) = torch.autograd.grad(event_t, field.gravity, create_graph=True)
    assert slope.item() == pytest.approx(-math.sqrt(2 * 7 / 9.8) / (2 * 9.8), rel=1e-5)
    with pytest.raises(NotTwiceDifferentiable, match="odeint_event"):
        torch.autograd.grad(slope, field.gravity)
