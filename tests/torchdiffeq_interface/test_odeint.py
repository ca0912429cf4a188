"""pynode.odeint is torchdiffeq's: the same values and gradients, the same semantics, better errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from pynode.errors import InvalidArgument, PynodeError, SolveError, StateMismatch, UnknownName
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk38 import RK38
from pynode.solution import Status
from pynode.torchdiffeq_interface import odeint, odeint_adjoint
from pynode.torchdiffeq_interface.arguments import known_methods
from pynode.torchdiffeq_interface.stepping import FIXED

TS = torch.tensor([0.0, 0.3, 0.4, 1.0], dtype=torch.float64)
# torchdiffeq's own warnings, on grids as coarse as these tests want them
ADAMS = pytest.mark.filterwarnings("ignore:Functional iteration did not converge")
UNHEARD = pytest.mark.filterwarnings("ignore:Solver 'rk4' does not support callbacks")
UNUSED = pytest.mark.filterwarnings("ignore:The following arguments have no effect")
DIRECTIONS = pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])


class Net(nn.Module):
    """A small field that depends on t, y and a parameter, nonlinearly."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.W = nn.Parameter(torch.randn(2, 2, dtype=torch.float64, generator=generator))
        self.b = nn.Parameter(torch.randn(2, dtype=torch.float64, generator=generator))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ self.W.T + self.b) * torch.cos(t) - 0.2 * y


class PairNet(Net):
    """The same on a tuple, whose second part is a matrix that the first one drives."""

    def forward(self, t: Tensor, y: Any) -> Any:
        z, m = y
        return super().forward(t, z), z[..., None] * z[..., None, :] - 0.3 * m


def start(*shape: int) -> Tensor:
    """An initial state."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


def results(solver: Callable[..., Any], field: Net, y0: Any, times: Tensor, **options: Any) -> list[Tensor]:
    """Values, then the gradients of one loss by y0 (each part), t and the parameters."""
    parts = tuple(p.clone().requires_grad_() for p in (y0 if isinstance(y0, tuple) else (y0,)))
    t = times.clone().requires_grad_()
    ys = solver(field, parts if isinstance(y0, tuple) else parts[0], t, **options)
    assert isinstance(ys, tuple) == isinstance(y0, tuple)
    outputs = ys if isinstance(ys, tuple) else (ys,)
    loss = sum(((y - 0.3) ** 2 * torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape)).sum() for y in outputs)
    assert isinstance(loss, Tensor)
    return [*(y.detach() for y in outputs), *torch.autograd.grad(loss, [*parts, t, *field.parameters()])]


def assert_equal(tensors: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-12) -> None:
    """Every tensor, relative to its size."""
    assert len(tensors) == len(wanted)
    for a, b in zip(tensors, wanted, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert float((a - b).norm()) <= tolerance * max(float(b.norm()), 1.0)


# --- equality with torchdiffeq ---------------------------------------------------------------------------------------


@ADAMS
@DIRECTIONS
@pytest.mark.parametrize("method", [None, *(m for m in known_methods() if m != "scipy_solver")])
def test_values_and_gradients_are_those_of_torchdiffeq(method: str | None, times: Tensor) -> None:
    """By y0, by t, by the parameters, for every method and direction."""
    options = {"method": method, "rtol": 1e-4, "atol": 1e-5}
    tensors = results(odeint, Net(), start(3, 2), times, **options)
    assert_equal(tensors, results(torchdiffeq.odeint, Net(), start(3, 2), times, **options))


@UNUSED
def test_scipys_solvers_are_passed_on() -> None:
    """They give values alone."""
    with torch.no_grad():
        call = {"method": "scipy_solver", "options": {"solver": "RK45"}}
        assert torch.equal(odeint(Net(), start(2), TS, **call), torchdiffeq.odeint(Net(), start(2), TS, **call))  # type: ignore[arg-type]


def test_every_method_of_torchdiffeq_is_known() -> None:
    """A new release of it may know more: then this list must follow."""
    from torchdiffeq._impl.odeint import SOLVERS

    assert set(SOLVERS) == set(known_methods())


@DIRECTIONS
@pytest.mark.parametrize("method", ["dopri5", "rk4", "euler"])
def test_tuples(method: str, times: Tensor) -> None:
    """Parts of unlike shape, in and out."""
    y0 = (start(3, 2), start(3, 2, 2))
    options = {"method": method, "rtol": 1e-4, "atol": 1e-5}
    for ours, theirs in ((odeint, torchdiffeq.odeint), (odeint_adjoint, torchdiffeq.odeint_adjoint)):
        tensors = results(ours, PairNet(), y0, times, **options)
        assert_equal(tensors, results(theirs, PairNet(), y0, times, **options))


@pytest.mark.parametrize("method", ["dopri5", "rk4", "midpoint"])
def test_scalars(method: str) -> None:
    """y0 without a dimension."""
    y0 = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    states = odeint(lambda t, y: -t * y, y0, TS, method=method)
    assert states.shape == (4,)
    assert torch.allclose(states, torchdiffeq.odeint(lambda t, y: -t * y, y0, TS, method=method), rtol=1e-12)
    (slope,) = torch.autograd.grad(states[-1], y0)
    assert slope.item() == pytest.approx(math.exp(-0.5), rel=0.1)  # three steps


@ADAMS
@DIRECTIONS
@pytest.mark.parametrize("step_size", [0.1, 0.05, 0.125, 0.07, 0.3, 5.0])
@pytest.mark.parametrize("method", [*FIXED, "heun3", "implicit_adams"])
def test_step_sizes_that_divide_and_that_do_not(method: str, step_size: float, times: Tensor) -> None:
    """The last step is cut, outputs between grid points are interpolated linearly, as there."""
    options = {"method": method, "options": {"step_size": step_size}}
    tensors = results(odeint, Net(), start(3, 2), times, **options)
    wanted = results(torchdiffeq.odeint, Net(), start(3, 2), times, **options)
    if method in FIXED and step_size in (0.1, 0.05, 0.3):
        # an output on a step boundary: torchdiffeq takes the state there without its slope, so that the output's own
        # time gets no gradient; and where rounding makes it add a step of no size, the rest agrees to that rounding
        del tensors[2], wanted[2]
        assert_equal(tensors, wanted, 1e-9)
    else:
        assert_equal(tensors, wanted)


@pytest.mark.parametrize(
    "options", [{"step_size": 0.15, "interp": "cubic"}, {"step_size": 0.25, "perturb": True}, {"interp": "linear"}]
)
def test_other_options_of_fixed_methods(options: dict[str, Any]) -> None:
    """Passed on where pynode's stepper has no such thing; the caller's dictionary is left alone."""
    call: dict[str, Any] = {"method": "rk4", "options": options}
    kept = dict(options)
    assert_equal(results(odeint, Net(), start(2), TS, **call), results(torchdiffeq.odeint, Net(), start(2), TS, **call))
    assert options == kept


@pytest.mark.parametrize("options", [{"first_step": 0.01}, {"step_t": torch.tensor([0.35])}, {"max_num_steps": 500}])
def test_options_of_adaptive_methods(options: dict[str, Any]) -> None:
    """Passed on."""
    call: dict[str, Any] = {"method": "dopri5", "options": options, "rtol": 1e-4, "atol": 1e-5}
    assert_equal(results(odeint, Net(), start(2), TS, **call), results(torchdiffeq.odeint, Net(), start(2), TS, **call))


def test_a_grid_of_ones_own() -> None:
    """`grid_constructor`."""

    def grid(_: Any, __: Any, t: Tensor) -> Tensor:
        return torch.linspace(0, 1, 8, dtype=t.dtype)

    call: dict[str, Any] = {"method": "rk4", "options": {"grid_constructor": grid}}
    assert_equal(results(odeint, Net(), start(2), TS, **call), results(torchdiffeq.odeint, Net(), start(2), TS, **call))


def test_tolerances_for_each_part() -> None:
    """One tolerance for each part of a tuple, and tensors as tolerances."""
    y0 = (start(3, 2), start(3, 2, 2))
    call: dict[str, Any] = {"rtol": (1e-3, 1e-6), "atol": (1e-4, 1e-7)}
    tensors = results(odeint, PairNet(), y0, TS, **call)
    assert_equal(tensors, results(torchdiffeq.odeint, PairNet(), y0, TS, **call))
    call = {"rtol": torch.tensor(1e-4), "atol": torch.tensor([1e-4, 1e-6])}
    assert_equal(results(odeint, Net(), start(2), TS, **call), results(torchdiffeq.odeint, Net(), start(2), TS, **call))


@UNHEARD
@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_callbacks_of_the_user_still_run(method: str) -> None:
    """As often as there, with the same arguments, forwards and in the adjoint."""

    class Listening(Net):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[tuple[str, float, float]] = []

        def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
            self.heard.append(("step", float(t0), float(dt)))
            assert y0.shape == (2,)

        def callback_accept_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:  # noqa: ARG002
            self.heard.append(("accept", float(t0), float(dt)))

        def callback_reject_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:  # noqa: ARG002
            self.heard.append(("reject", float(t0), float(dt)))

        def callback_step_adjoint(self, t0: Tensor, y0: Any, dt: Tensor) -> None:  # noqa: ARG002
            self.heard.append(("adjoint", float(t0), float(dt)))

    heard = []
    for solver in (odeint_adjoint, torchdiffeq.odeint_adjoint):
        field = Listening()
        solver(field, start(2), TS.float().double(), method=method, rtol=1e-5, atol=1e-5)[-1].sum().backward()
        heard.append(field.heard)
    assert len(heard[0]) >= 6
    assert {"step", "adjoint"} <= {kind for kind, _, _ in heard[0]}
    assert heard[0] == heard[1]


# --- the adjoint -----------------------------------------------------------------------------------------------------


@ADAMS
@DIRECTIONS
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "rk4", "euler", "implicit_adams"])
def test_the_adjoint_is_that_of_torchdiffeq(method: str, times: Tensor) -> None:
    """Values and gradients, the one by t included."""
    options = {"method": method, "rtol": 1e-4, "atol": 1e-5}
    tensors = results(odeint_adjoint, Net(), start(3, 2), times, **options)
    assert_equal(tensors, results(torchdiffeq.odeint_adjoint, Net(), start(3, 2), times, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"adjoint_rtol": 1e-2, "adjoint_atol": 1e-3},
        {"adjoint_method": "rk4", "adjoint_options": {"step_size": 0.05}},
        {"adjoint_options": {"norm": "seminorm"}},
    ],
    ids=["tolerances", "method", "seminorm"],
)
def test_adjoint_options(options: dict[str, Any]) -> None:
    """They change the gradient, and in the same way."""
    tensors = results(odeint_adjoint, Net(), start(3, 2), TS, **options)
    assert_equal(tensors, results(torchdiffeq.odeint_adjoint, Net(), start(3, 2), TS, **options))
    plain = results(odeint_adjoint, Net(), start(3, 2), TS)
    assert torch.equal(tensors[0], plain[0])
    assert not all(torch.equal(a, b) for a, b in zip(tensors[1:], plain[1:], strict=True))


def test_adjoint_params_choose_what_gets_a_gradient() -> None:
    """Some of a module's, those of a plain function, or none."""
    field = Net()
    odeint_adjoint(field, start(2), TS, adjoint_params=(field.W,))[-1].sum().backward()
    assert field.W.grad is not None
    assert field.b.grad is None
    whole = Net()
    y0 = start(2).requires_grad_()
    odeint_adjoint(lambda t, y: whole(t, y), y0, TS, adjoint_params=tuple(whole.parameters()))[-1].sum().backward()
    assert whole.W.grad is not None
    assert torch.allclose(whole.W.grad, field.W.grad, rtol=1e-4)
    other = start(2).requires_grad_()
    odeint_adjoint(lambda _, y: -y, other, TS, adjoint_params=())[-1].sum().backward()
    assert other.grad is not None
    assert other.grad.tolist() == pytest.approx([math.exp(-1)] * 2, rel=1e-6)


def test_a_plain_function_needs_adjoint_params() -> None:
    """As there, with a typed error that says which function."""
    with pytest.raises(InvalidArgument, match=r"func = <lambda> \(test_odeint\.py, line \d+\): .* adjoint_params"):
        odeint_adjoint(lambda _, y: -y, start(2), TS)


# --- pynode's own methods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [odeint, odeint_adjoint])
def test_gradient_methods_can_be_given(solver: Callable[..., Any]) -> None:
    """By object: tensors and tuples, the gradient being that of the method."""
    discrete = DiscOpt(RK38, 1, "recompute")
    tensors = results(solver, Net(), start(3, 2), TS, method=discrete)
    assert_equal(tensors, results(torchdiffeq.odeint, Net(), start(3, 2), TS, method="rk4"))
    y0 = (start(3, 2), start(3, 2, 2))
    tensors = results(solver, PairNet(), y0, TS, method=discrete)
    assert_equal(tensors, results(torchdiffeq.odeint, PairNet(), y0, TS, method="rk4"))
    tensors = results(solver, PairNet(), y0, TS, method=OptDisc(rtol=1e-9, atol=1e-10))
    # two adaptive solves that control their steps by different norms
    assert_equal(tensors, results(torchdiffeq.odeint, PairNet(), y0, TS, rtol=1e-9, atol=1e-10), 1e-6)


def test_gradient_methods_refuse_what_is_theirs() -> None:
    """Options beside a method object would be ignored: say so instead."""
    for call in ({"options": {"step_size": 0.1}}, {"event_fn": lambda _, y: y.sum()}):
        with pytest.raises(InvalidArgument, match="no meaning"):
            odeint(Net(), start(2), TS, method=DiscOpt(), **call)
    with pytest.raises(InvalidArgument, match="no meaning"):
        odeint_adjoint(Net(), start(2), TS, method=DiscOpt(), adjoint_method="rk4")


# --- bad input and failures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [odeint, odeint_adjoint])
def test_unknown_methods_get_the_nearest_match(solver: Callable[..., Any]) -> None:
    """And all known ones."""
    with pytest.raises(UnknownName, match="did you mean 'dopri5'") as caught:
        solver(Net(), start(2), TS, method="dopri55")
    assert all(name in str(caught.value) for name in known_methods())


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"rtol": -1e-3}, "rtol"),
        ({"atol": math.nan}, "atol"),
        ({"t": TS[:0]}, "t"),
        ({"t": TS[[0, 2, 1]]}, "t"),
        ({"t": TS * math.nan}, "t"),
        ({"t": [0.0, 1.0]}, "t"),
        ({"y0": [1.0, 2.0]}, "y0"),
        ({"y0": (1.0, start(2))}, "y0"),
        ({"method": "rk4", "options": {"step_size": 0.0}}, "step_size"),
        ({"method": "rk4", "options": {"step_size": -0.1}}, "step_size"),
    ],
)
@pytest.mark.parametrize("solver", [odeint, odeint_adjoint])
def test_bad_input_is_named(solver: Callable[..., Any], change: dict[str, Any], argument: str) -> None:
    """The message begins with the name under which the user passed it."""
    call: dict[str, Any] = {"y0": start(2), "t": TS, **change}
    with pytest.raises(InvalidArgument) as caught:
        solver(Net(), call.pop("y0"), call.pop("t"), **call)
    assert argument in str(caught.value).partition(" = ")[0]


@pytest.mark.parametrize("method", ["dopri5", "rk4", "implicit_adams"])
@pytest.mark.parametrize("solver", [odeint, partial(odeint_adjoint, adjoint_params=())])
def test_a_func_that_does_not_fit_is_found(solver: Callable[..., Any], method: str) -> None:
    """torchdiffeq fails far from the cause."""
    for misfit in (lambda _, y: y[:2], lambda _, y: y[..., None], lambda _, y: y.reshape(2, 3), lambda _, y: None):
        with pytest.raises(StateMismatch, match="shape"):
            solver(misfit, start(3, 2), TS, method=method)


def test_a_derivative_that_dopri5_can_not_broadcast_is_found() -> None:
    """torchdiffeq: shape '[3, 2]' is invalid for input of size 3."""
    with pytest.raises(StateMismatch, match=r"shape \(3, 1\)"):
        odeint(lambda _, y: y[..., :1], start(3, 2), TS)


@pytest.mark.parametrize("solver", [odeint, odeint_adjoint])
@pytest.mark.parametrize("as_tuple", [False, True])
def test_step_size_underflow_is_typed(solver: Callable[..., Any], as_tuple: bool) -> None:
    """torchdiffeq: an assertion `underflow in dt 0.0`; here t, dt and |f|."""

    class Square(nn.Module):
        def forward(self, t: Tensor, y: Any) -> Any:  # noqa: ARG002
            return (y[0] ** 2,) if isinstance(y, tuple) else y**2

    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(SolveError, match="forward solve failed at t = ") as caught:
        solver(Square(), (one,) if as_tuple else one, 2 * TS)
    assert caught.value.status is Status.STEP_UNDERFLOW
    assert caught.value.t == pytest.approx(1.0, abs=1e-3)
    assert caught.value.norm_f > 1e6


@pytest.mark.parametrize("as_tuple", [False, True])
def test_a_failed_adjoint_is_typed(as_tuple: bool) -> None:
    """-y^3 cannot be solved backwards to its start: the error says so, from inside `backward()`."""

    class Forgetful(nn.Module):
        def forward(self, t: Tensor, y: Any) -> Any:  # noqa: ARG002
            return (-(y[0] ** 3),) if isinstance(y, tuple) else -(y**3)

    y0 = torch.tensor([100.0], dtype=torch.float64, requires_grad=True)
    ys = odeint_adjoint(Forgetful(), (y0,) if as_tuple else y0, TS[[0, -1]], rtol=1e-4, atol=1e-4)
    with pytest.raises(SolveError, match="backward solve failed at t = ") as caught:
        (ys[0] if as_tuple else ys)[-1].sum().backward()
    assert caught.value.phase == "backward"
    # reported in the user's time, from which torchdiffeq counts backwards
    assert 0 <= caught.value.t < 0.01


def test_too_many_steps_are_typed() -> None:
    """torchdiffeq's own assertion, as an error of ours that an `except PynodeError` meets."""
    with pytest.raises(PynodeError, match="max_num_steps"):
        odeint(Net(), start(2), 50 * TS, method="dopri5", options={"max_num_steps": 3})


def test_bad_arguments_left_to_torchdiffeq_are_its_errors() -> None:
    """No guessing: what pynode doesn't know it passes on."""
    with pytest.raises(PynodeError), pytest.warns(UserWarning, match="Unexpected"):
        odeint(lambda _, y: y * math.nan, start(2), TS, method="dopri5", options={"nonsense": 1})
