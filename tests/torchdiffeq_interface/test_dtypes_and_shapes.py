"""States and derivatives of every dtype and shape: pynode.odeint gives what torchdiffeq gives, for every solver."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor

from pynode.errors import InvalidArgument, StateChangedInPlace, StateMismatch
from pynode.torchdiffeq_interface import odeint, odeint_adjoint
from tests.torchdiffeq_interface.comparison import ADAPTIVE, FIXED, QUIET, TS, Net, assert_same

pytestmark = QUIET


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
