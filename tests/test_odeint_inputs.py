"""Whatever torchdiffeq takes, pynode.odeint takes: the same result for every solver and kind of input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

import pynode
from pynode.errors import InvalidArgument, SolveError, StateChangedInPlace, StateMismatch, UnknownName
from pynode.gradients.disc_opt import DiscOpt
from pynode.torchdiffeq_interface import odeint, odeint_adjoint, odeint_dense
from pynode.torchdiffeq_interface.solvers import known_methods

TS = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams", "fixed_adams")
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
ALL = (None, *FIXED, *ADAPTIVE, "scipy_solver")

pytestmark = [
    # torchdiffeq's own warnings
    pytest.mark.filterwarnings("ignore:Functional iteration did not converge"),
    pytest.mark.filterwarnings("ignore:The following arguments have no effect"),
    pytest.mark.filterwarnings("ignore:max_order is below"),
]


class Net(nn.Module):
    """Linear layers, which autocast runs in bfloat16, or weights of a dtype of their own."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 2)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) / 2)
        self.to(dtype)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dtype = self.first.weight.dtype
        return self.last(torch.tanh(self.first(y.to(dtype)))) * torch.cos(t).to(dtype)


def outcome(solver: Callable[..., Any], func: Any, y0: Any, t: Tensor, **call: Any) -> list[Tensor]:
    """The states (part by part), and where they can be differentiated, the gradients by y0 and the parameters."""
    leaves = [p.clone().requires_grad_(p.is_floating_point()) for p in (y0 if isinstance(y0, tuple) else (y0,))]
    ys = solver(func, tuple(leaves) if isinstance(y0, tuple) else leaves[0], t, **call)
    parts = ys if isinstance(ys, tuple) else (ys,)
    if not any(p.requires_grad for p in parts):
        return [p.detach() for p in parts]
    inputs = [leaf for leaf in leaves if leaf.requires_grad]
    inputs += list(func.parameters()) if isinstance(func, nn.Module) else []
    loss = torch.stack([p.abs().double().square().sum() for p in parts]).sum()
    gradients = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
    return [*(p.detach() for p in parts), *gradients]


def gradient(parameter: Tensor) -> Tensor:
    """The gradient that `backward` has left."""
    assert parameter.grad is not None
    return parameter.grad


def assert_same(
    func: Callable[[], Any], y0: Any, t: Tensor, tolerance: float, *, adjoint: bool = False, **call: Any
) -> None:
    """The same by pynode and torchdiffeq: shapes, dtypes, values, gradients."""
    ours, theirs = (odeint_adjoint, torchdiffeq.odeint_adjoint) if adjoint else (odeint, torchdiffeq.odeint)
    got, wanted = outcome(ours, func(), y0, t, **call), outcome(theirs, func(), y0, t, **call)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = max(float(b.abs().double().max()) if b.numel() else 0.0, 1.0)
        assert not b.numel() or float((a.double() - b.double()).abs().max()) <= tolerance * scale


# --- dtypes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("method", [None, *FIXED, *ADAPTIVE[2:]])
def test_autocast(method: str | None, adjoint: bool) -> None:
    """Slopes in bfloat16, a state in float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(Net, torch.ones(3, 2), TS.float(), 1e-6, adjoint=adjoint, method=method, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", [None, *FIXED, *ADAPTIVE[2:], "scipy_solver"])
@pytest.mark.parametrize(("state", "weights"), [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_a_field_of_another_dtype_than_the_state(method: str | None, state: torch.dtype, weights: torch.dtype) -> None:
    """In either direction; the result has the dtype of the state."""
    for adjoint in (False, True):
        y0 = torch.ones(3, 2, dtype=state)
        call = {"method": method, "rtol": 1e-3, "atol": 1e-4}
        assert_same(partial(Net, weights), y0, TS, 1e-6, adjoint=adjoint, **call)


@pytest.mark.parametrize("method", ["euler", "heun2", "rk4", "dopri5", "implicit_adams"])
@pytest.mark.parametrize("times", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("state", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_dtypes_of_times_and_states(method: str, times: torch.dtype, state: torch.dtype) -> None:
    """Coarse times for fine states and the other way round, in the arithmetic of torchdiffeq."""
    y0 = torch.tensor([1.0, -0.5]).to(state)
    seen: list[set[torch.dtype]] = []
    tolerance = 20 * max(torch.finfo(state).eps, 1e-14)
    for solver in (odeint, torchdiffeq.odeint):
        seen.append(set())

        def field(t: Tensor, y: Tensor, dtypes: set[torch.dtype] = seen[-1]) -> Tensor:
            dtypes.add(t.dtype)
            return -t * y + 0.1 * y.flip(0)

        with torch.no_grad():
            ys = solver(field, y0, torch.tensor([0.1, 0.35, 1.1], dtype=times), method=method, rtol=1e-4, atol=1e-4)
        if solver is odeint:
            ours = ys
    assert ours.dtype == state
    assert seen[0] == seen[1]
    assert float((ours - ys).abs().max()) <= max(tolerance, 20 * torch.finfo(times).eps * (times is not torch.float64))


@pytest.mark.parametrize("method", FIXED)
def test_an_integer_state_with_fixed_steps(method: str) -> None:
    """Rounded towards zero, as there."""
    y0 = torch.tensor([10, 20])
    ys = odeint(lambda t, y: -y * (1 + t), y0, TS, method=method)
    assert ys.dtype == torch.int64
    assert torch.equal(ys, torchdiffeq.odeint(lambda t, y: -y * (1 + t), y0, TS, method=method))
    assert torch.equal(ys[0], y0)


@pytest.mark.parametrize("method", [None, "bosh3", "scipy_solver"])
def test_an_integer_state_without_fixed_steps_is_refused(method: str | None) -> None:
    """torchdiffeq fails in nextafter, or cuts off 20 to 19."""
    with pytest.raises(InvalidArgument, match="y0"):
        odeint(lambda t, y: -y, torch.tensor([10, 20]), TS, method=method)


def test_a_complex_derivative_of_a_real_state_is_refused() -> None:
    """torchdiffeq drops the imaginary part."""
    for method in ("dopri5", "rk4", "implicit_adams", "scipy_solver"):
        for y0 in (torch.ones(2), (torch.ones(2), torch.ones(1))):
            with pytest.raises(StateMismatch, match="imaginary part"):
                odeint(lambda t, y: tuple(1j * p for p in y) if isinstance(y, tuple) else 1j * y, y0, TS, method=method)


def test_complex_states_get_their_gradient_or_an_error() -> None:
    """By odeint; the adjoint's complex sums can't be handed to real parameters, which `backward()` says."""
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([1.0, 1.0j])

    def field(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
        return weight * 1j * y

    (got,) = torch.autograd.grad(odeint(field, y0, TS)[-1].real.sum(), weight)
    (wanted,) = torch.autograd.grad(torchdiffeq.odeint(field, y0, TS)[-1].real.sum(), weight)
    assert torch.allclose(got, wanted)
    ys = odeint_adjoint(field, y0, TS, adjoint_params=(weight,))
    assert torch.equal(ys, torchdiffeq.odeint_adjoint(field, y0, TS, adjoint_params=(weight,)))
    with pytest.raises(InvalidArgument, match="view_as_real"):
        ys[-1].real.sum().backward()


# --- shapes ----------------------------------------------------------------------------------------------------------

BROADCASTING: dict[str, tuple[Tensor, Callable[[Tensor, Tensor], Any]]] = {
    "one number for all": (torch.ones(3, 2), lambda t, y: torch.tensor(0.3)),
    "a Python number": (torch.ones(3, 2), lambda t, y: 0.3),
    "one row for all": (torch.ones(3, 2), lambda t, y: torch.tensor([0.1, -0.2])),
    "a column of sums": (torch.ones(3, 2), lambda t, y: -y.sum(-1, keepdim=True)),
    "an axis more": (torch.ones(3, 2), lambda t, y: -y.reshape(1, 3, 2)),
    "one entry for a scalar": (torch.tensor(1.0), lambda t, y: -y.reshape(1)),
    "integers": (torch.ones(2), lambda t, y: torch.tensor([1, 2])),
}


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("kind", BROADCASTING)
@pytest.mark.parametrize("method", [None, "bosh3", *FIXED])
def test_derivatives_that_broadcast(method: str | None, kind: str, adjoint: bool) -> None:
    """The same states where torchdiffeq gives some, and a `StateMismatch` where it fails."""
    y0, func = BROADCASTING[kind]
    extra: dict[str, Any] = {"adjoint_params": ()} if adjoint else {}
    ours, theirs = (odeint_adjoint, torchdiffeq.odeint_adjoint) if adjoint else (odeint, torchdiffeq.odeint)
    try:
        wanted = theirs(func, y0, TS, method=method, **extra)
    except Exception:
        with pytest.raises(StateMismatch, match="func"):
            ours(func, y0, TS, method=method, **extra)
        return
    got = ours(func, y0, TS, method=method, **extra)
    assert got.shape == wanted.shape
    assert torch.allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("method", ["rk4", "euler", "implicit_adams"])
@pytest.mark.parametrize("kind", BROADCASTING)
def test_the_adjoint_of_derivatives_that_broadcast(kind: str, method: str) -> None:
    """torchdiffeq's adjoint fails on most of them; the gradient is that of `odeint`."""
    y0, func = BROADCASTING[kind]
    first, second = y0.double().requires_grad_(), y0.double().requires_grad_()
    call: dict[str, Any] = {"method": method, "options": {"step_size": 0.01}}
    odeint_adjoint(func, first, TS, adjoint_params=(), **call).square().sum().backward()
    odeint(func, second, TS, **call).square().sum().backward()
    assert first.grad is not None
    assert second.grad is not None
    # one is the gradient of the steps, the other that of the solution
    assert torch.allclose(first.grad, second.grad, rtol=2e-2 if method == "euler" else 1e-6)


def test_a_derivative_that_changes_its_shape_is_refused() -> None:
    """Where broadcasting would hide it."""
    for method in ("dopri5", "rk4", "heun3"):
        calls = iter(range(1000))

        def field(t: Tensor, y: Tensor, calls: Any = calls) -> Tensor:  # noqa: ARG001
            return -y if next(calls) < 3 else -y[:1]

        with pytest.raises(StateMismatch, match="shape"):
            odeint(field, torch.ones(3, 2), TS, method=method)


@pytest.mark.parametrize("method", ["dopri5", "rk4", "heun3"])
def test_a_func_that_changes_its_state_is_refused(method: str) -> None:
    """At the first evaluation or later, tensor or tuple."""
    for y0 in (torch.ones(2), (torch.ones(2), torch.ones(3))):
        for late in (0, 3):
            calls = iter(range(1000))

            def field(t: Tensor, y: Any, late: int = late, calls: Any = calls) -> Any:  # noqa: ARG001
                if next(calls) >= late:
                    (y if isinstance(y, Tensor) else y[1]).mul_(0.9)
                return -y if isinstance(y, Tensor) else tuple(-part for part in y)

            with pytest.raises(StateChangedInPlace, match="in place"):
                odeint(field, y0, TS, method=method)


@pytest.mark.parametrize("method", ["dopri5", "rk4", "heun3"])
def test_parts_of_a_tuple(method: str) -> None:
    """Any iterable of as many parts and entries; parts in the wrong order would be cut at the wrong places."""
    y0 = (torch.ones(2), torch.tensor(0.5), torch.ones(3, 2, dtype=torch.float64))
    funcs: list[Callable[[Tensor, Any], Any]] = [
        lambda t, y: tuple(-part for part in y),
        lambda t, y: [-part for part in y],
        lambda t, y: (-part for part in y),
        lambda t, y: (-y[0].reshape(1, 2), -y[1].reshape(1), -y[2].reshape(6).float()),
    ]
    for func in funcs:
        got, wanted = odeint(func, y0, TS, method=method), torchdiffeq.odeint(func, y0, TS, method=method)
        assert all(torch.equal(a, b) or torch.allclose(a, b, rtol=1e-7) for a, b in zip(got, wanted, strict=True))
        assert [part.dtype for part in got] == [part.dtype for part in wanted]
    with pytest.raises(StateMismatch, match="part 0"):
        odeint(lambda t, y: (-y[2], -y[1], -y[0]), y0, TS, method=method)
    with pytest.raises(StateMismatch, match="2 parts"):
        odeint(lambda t, y: (-y[0], -y[2]), y0, TS, method=method)


# --- times, tolerances, options --------------------------------------------------------------------------------------


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
