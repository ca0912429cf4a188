"""Times, tolerances and options of every type: pynode.odeint gives what torchdiffeq gives, for every solver."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

import pynode
from pynode.errors import InvalidArgument, SolveError, UnknownName
from pynode.methods.disc_opt import DiscOpt
from pynode.torchdiffeq_interface import odeint, odeint_adjoint, odeint_dense
from pynode.torchdiffeq_interface.arguments import known_methods
from tests.torchdiffeq_interface.comparison import ALL, QUIET, TS, Net, assert_same, gradient, outcome

pytestmark = QUIET


@pytest.mark.parametrize("method", ALL)
def test_one_output_time_gives_the_initial_state(method: str | None) -> None:
    """For every solver, tensors and tuples, and through the adjoint."""
    for y0 in (torch.tensor([1.0, 2.0]), (torch.ones(2), torch.tensor(0.5))):
        func = (lambda t, y: tuple(-p for p in y)) if isinstance(y0, tuple) else (lambda t, y: -y)
        for solver in (odeint, partial(odeint_adjoint, adjoint_params=())):
            ys = solver(func, y0, TS[:1], method=method)
            for part, start in zip(
                ys if isinstance(ys, tuple) else (ys,), y0 if isinstance(y0, tuple) else (y0,), strict=True
            ):
                assert torch.equal(part, start[None])
    y = torch.ones(2, requires_grad=True)
    assert torch.equal(odeint(lambda t, y: -y, y, TS[:1], method=DiscOpt()), y[None])


@pytest.mark.parametrize(
    "step_size",
    [
        torch.tensor(0.1),
        torch.tensor([0.25]),
        torch.tensor(0.07, dtype=torch.float64),
        np.float32(0.1),
        np.array(0.1),
        1,
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["euler", "rk4", "heun3", "explicit_adams"])
def test_types_of_step_sizes(method: str, step_size: Any) -> None:
    """Tensors and numpy's numbers, in either direction."""
    for t in (TS, TS.flip(0), TS.float()):
        tolerance = 1e-12 if t.dtype == torch.float64 else 1e-6
        y0 = torch.ones(2, dtype=torch.float64)
        got = outcome(odeint, Net(torch.float64), y0, t, method=method, options={"step_size": step_size})
        # torchdiffeq divides by it, which torch is about to forbid for arrays
        known = step_size if isinstance(step_size, Tensor) else float(step_size)
        wanted = outcome(torchdiffeq.odeint, Net(torch.float64), y0, t, method=method, options={"step_size": known})
        for a, b in zip(got, wanted, strict=True):
            assert a.shape == b.shape
            assert float((a - b).abs().max()) <= tolerance * max(float(b.abs().max()), 1.0)


@pytest.mark.parametrize(
    "tolerance",
    [np.float32(1e-3), np.float64(1e-4), np.array(1e-3), torch.tensor(1e-3), np.inf, 1, [1e-3, 1e-4], np.full(2, 1e-3)],
    ids=str,
)
def test_types_of_tolerances(tolerance: Any) -> None:
    """Numbers of numpy, infinite ones, and one for each entry."""
    for call in ({"rtol": tolerance, "atol": 1e-5}, {"rtol": 1e-4, "atol": tolerance}):
        # torchdiffeq hands scipy the tensor, and fails
        scipy = () if isinstance(tolerance, Tensor) else ("scipy_solver",)
        for method in ("dopri5", "adaptive_heun", "rk4", *scipy):
            assert_same(
                lambda: Net(torch.float64), torch.ones(2, dtype=torch.float64), TS, 1e-12, method=method, **call
            )


def test_tolerances_that_can_not_be_used_are_named() -> None:
    """Before anything is computed; torchdiffeq takes the size of negative ones."""
    bad: list[Any] = [
        -1e-3,
        float("nan"),
        "1e-3",
        True,
        torch.ones(5),
        [1e-3, -1.0],
        torch.tensor(1e-3, requires_grad=True),
    ]
    for value in bad:
        for argument in ("rtol", "atol"):
            with pytest.raises(InvalidArgument, match=argument):
                odeint(lambda t, y: -y, torch.ones(2), TS, **{argument: value})
        for argument in ("adjoint_rtol", "adjoint_atol"):
            with pytest.raises(InvalidArgument, match=argument):
                odeint_adjoint(lambda t, y: -y, torch.ones(2), TS, adjoint_params=(), **{argument: value})


class Pair(nn.Module):
    """Two parts that drive each other, by one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, t: Tensor, y: Any) -> Any:  # noqa: ARG002
        return -self.a * y[0], y[0].sum() * self.a - y[1]


@pytest.mark.parametrize("method", [None, "rk4", "scipy_solver"])
@pytest.mark.parametrize(
    "call",
    [
        {"rtol": (1e-7, 1e-8), "atol": (1e-9, 1e-10)},
        {"rtol": torch.tensor([1e-7, 1e-8])},
        {"adjoint_rtol": (1e-7, 1e-8), "adjoint_atol": [1e-9, 1e-10]},
        {"adjoint_rtol": (1e-6, 1e-7, 1e-8, 1e-7)},
    ],
    ids=["forward", "a tensor", "of the parts", "of the adjoint's parts"],
)
def test_tuple_tolerances_of_the_adjoint(call: dict[str, Any], method: str | None) -> None:
    """One for each part of y0, which torchdiffeq's `backward()` does not take, or each part of the adjoint solve."""
    y0 = (torch.ones(2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    if method == "scipy_solver" and ("rtol" in call or len(call["adjoint_rtol"]) == 4):
        with pytest.raises(InvalidArgument, match="one number"):
            odeint_adjoint(Pair(), y0, TS, method=method, **call)
        return
    options = {"step_size": 0.01} if method == "rk4" else {}
    got, wanted = Pair(), Pair()
    odeint_adjoint(got, y0, TS, method=method, options=options, **call)[1][-1].sum().backward()
    torchdiffeq.odeint(wanted, y0, TS, rtol=1e-10, atol=1e-11)[1][-1].sum().backward()
    assert torch.allclose(gradient(got.a), gradient(wanted.a), rtol=1e-2 if method == "scipy_solver" else 1e-5)


def test_a_tolerance_for_each_entry_in_the_adjoint() -> None:
    """Of a tensor y0; torchdiffeq's `backward()` takes it for a tuple's."""
    got, wanted = Net(torch.float64), Net(torch.float64)
    y0 = torch.ones(3, 2, dtype=torch.float64)
    odeint_adjoint(got, y0, TS, rtol=torch.tensor([1e-8, 1e-9]), atol=1e-10)[-1].sum().backward()
    odeint(wanted, y0, TS, rtol=1e-9, atol=1e-10)[-1].sum().backward()
    for a, b in zip(got.parameters(), wanted.parameters(), strict=True):
        assert torch.allclose(gradient(a), gradient(b), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize(
    "points", [[0.3, 0.6], np.array([0.3, 0.6]), torch.tensor([0.3, 0.6])], ids=["list", "numpy", "tensor"]
)
def test_points_in_time_as_a_list(points: Any, times: Tensor) -> None:
    """`step_t` and `jump_t`; torchdiffeq does not mirror a list where time runs backwards."""
    visited: list[float] = []

    class Listening(Net):
        def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:  # noqa: ARG002
            visited.append(round(t0.item(), 6))

    for name in ("step_t", "jump_t"):
        visited.clear()
        odeint(Listening(torch.float64), torch.ones(2, dtype=torch.float64), times, options={name: points}, rtol=1e-2)
        assert {0.3, 0.6} <= set(visited)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        ({"options": {"step_size": 0.1, "grid_constructor": lambda f, y, t: t}}, "step_size"),
        ({"options": {"step_size": torch.ones(2)}}, "step_size"),
        ({"options": {"step_size": "0.1"}}, "step_size"),
        ({"options": {"interp": "nearest"}}, "interp"),
        ({"options": {"norm": "seminorm"}}, "norm"),
        ({"options": [("step_size", 0.1)]}, "options"),
        ({"method": DiscOpt}, "method"),
        ({"method": 4}, "method"),
        ({"method": DiscOpt(), "rtol": 1e-3}, "rtol"),
        ({"event_fn": lambda t, y: y[0]}, "t"),
        ({"event_fn": lambda t, y: y[0], "t": TS[:2]}, "step_size"),
        ({"event_fn": lambda t, y: y[0], "t": TS[:2], "method": "scipy_solver"}, "method"),
    ],
)
def test_options_that_can_not_be_used_are_named(call: dict[str, Any], argument: str) -> None:
    """By the argument that holds them."""
    with pytest.raises(InvalidArgument) as caught:
        odeint(lambda t, y: -y, torch.ones(2), **{"t": TS, "method": "rk4", **call})
    assert argument in caught.value.argument


def test_adjoint_options_that_can_not_be_used_are_named_before_the_solve() -> None:
    """torchdiffeq finds most of them in `backward()`."""
    solver = partial(odeint_adjoint, lambda t, y: -y, torch.ones(2), TS, adjoint_params=())
    with pytest.raises(UnknownName, match="adjoint_method"):
        solver(adjoint_method="dopri55")
    for call in (
        {"adjoint_options": {"norm": "max"}},
        {"adjoint_method": "rk4", "adjoint_options": {"step_size": -1}},
        {"adjoint_method": "rk4", "options": {"first_step": 0.1}},
        {"adjoint_rtol": (1e-3, 1e-4, 1e-4, 1e-4)},
    ):
        with pytest.raises(InvalidArgument, match="adjoint_"):
            solver(**call)


def test_methods_are_those_of_the_installed_torchdiffeq(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that a newer one brings works at once."""
    from torchdiffeq._impl import fixed_grid
    from torchdiffeq._impl.odeint import SOLVERS

    assert set(known_methods()) == set(SOLVERS)
    monkeypatch.setitem(SOLVERS, "brand_new", fixed_grid.RK4)
    ys = odeint(lambda t, y: -y, torch.ones(2), TS, method="brand_new")
    assert torch.allclose(ys, odeint(lambda t, y: -y, torch.ones(2), TS, method="rk4"))
    monkeypatch.delitem(SOLVERS, "heun3")
    with pytest.raises(UnknownName, match="heun3"):
        odeint(lambda t, y: -y, torch.ones(2), TS, method="heun3")


def test_pynode_may_take_the_place_of_torchdiffeq(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torchdiffeq.odeint = pynode.odeint`: no endless recursion."""
    for name in ("odeint", "odeint_adjoint", "odeint_event", "odeint_dense"):
        monkeypatch.setattr(torchdiffeq, name, getattr(pynode, name))
    assert torchdiffeq.odeint(lambda t, y: -y, torch.ones(2), TS).shape == (3, 2)
    assert torchdiffeq.odeint_adjoint(Net(), torch.ones(2), TS.float(), method="heun3").shape == (3, 2)


# --- failures and messages -------------------------------------------------------------------------------------------


def test_times_in_messages_are_those_that_were_given() -> None:
    """0.1 in float32 is shown as 0.1, not as 0.10000000149."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        with pytest.raises(InvalidArgument, match=r"^t = \[0, 0\.1, 0\.3, 0\.2\]: not strictly monotone"):
            odeint(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 0.1, 0.3, 0.2], dtype=dtype))
    with pytest.raises(InvalidArgument, match=r"738000\.25, 738000\.25"):
        odeint(lambda t, y: -y, torch.ones(2), torch.tensor([738000.25, 738000.25]))


def test_steps_below_the_precision_of_the_times_are_taken_as_there() -> None:
    """Their grid holds equal times, which the user never gave and no message may complain of."""
    call: dict[str, Any] = {"method": "rk4", "options": {"step_size": 1.0}}
    t = torch.tensor([1e8, 1e8 + 64])
    ys = odeint(lambda t, y: torch.ones_like(y), torch.zeros(1), t, **call)
    assert torch.equal(ys, torchdiffeq.odeint(lambda t, y: torch.ones_like(y), torch.zeros(1), t, **call))


def test_states_that_are_not_finite_are_named() -> None:
    """y0 itself, or the sample that is the first to overflow."""
    for method in (None, "rk4"):
        with pytest.raises(InvalidArgument, match="y0"):
            odeint(lambda t, y: -y, torch.tensor([1.0, float("nan")]), TS, method=method)
    y0 = torch.tensor([[1.0], [1e30], [2.0]])
    with pytest.raises(SolveError, match="sample 1 of 3"):
        odeint(lambda t, y: y**3, y0, torch.linspace(0, 0.1, 3), method="euler")


# --- dense output ----------------------------------------------------------------------------------------------------


def test_dense_output() -> None:
    """torchdiffeq's values, at any time of the interval, its ends included."""
    field, y0, span = Net(torch.float64), torch.ones(3, 2, dtype=torch.float64), (TS[0], TS[-1])
    got = odeint_dense(field, y0, *span, rtol=1e-5, atol=1e-6)
    wanted = torchdiffeq.odeint_dense(field, y0, *span, rtol=1e-5, atol=1e-6)
    times = torch.tensor([0.0, 0.01, 0.37, 0.9, 1.0], dtype=torch.float64)
    assert torch.equal(got(times), torch.stack([wanted(t) for t in times]))
    assert torch.equal(got(torch.tensor(0.25)), wanted(TS[1]))
    (slope,) = torch.autograd.grad(got(TS[1]).sum(), field.first.bias)
    assert torch.equal(slope, torch.autograd.grad(wanted(TS[1]).sum(), field.first.bias)[0])


def test_dense_output_backwards_and_at_its_last_step() -> None:
    """Where torchdiffeq has no value."""
    one = torch.ones(1, dtype=torch.float64)
    back = odeint_dense(lambda t, y: -y, one, TS[-1], TS[0])
    assert float(back(TS[1])) == pytest.approx(np.exp(0.75), rel=1e-6)
    landing = odeint_dense(lambda t, y: torch.ones_like(y), one, TS[0], TS[-1], options={"step_t": TS[-1:]})
    assert float(landing(TS[-1])) == pytest.approx(2.0)


def test_bad_input_of_dense_output() -> None:
    """Typed."""
    one = torch.ones(1)
    with pytest.raises(InvalidArgument, match="outside"):
        odeint_dense(lambda t, y: -y, one, TS[0], TS[1])(TS[2])
    with pytest.raises(InvalidArgument, match="t1"):
        odeint_dense(lambda t, y: -y, one, TS[0], 1.0)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="method"):
        odeint_dense(lambda t, y: -y, one, TS[0], TS[1], method="rk4")
    with pytest.raises(InvalidArgument, match="y0"):
        odeint_dense(lambda t, y: -y, (one,), TS[0], TS[1])  # type: ignore[arg-type]
