"""Opt-Disc: its gradient is as good as its tolerances, its work is counted, its failures say where they happened."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument, SolveError
from pynode.fields import FIELDS
from pynode.fields.base import Field
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.solution import Status
from pynode.studies.gradients.taylor import fitted_slope
from pynode.types import VectorField

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]
TS = torch.tensor([0.1, 0.5, 1.1], dtype=torch.float64)
FINE = DiscOpt(RK4, 200)
"""Exact for a discrete loss that is within 1e-10 of the continuous one."""


def gradient(method: Any, field: Field, y0: Tensor, ts: Tensor, *, by_ts: bool = False) -> Tensor:
    """All gradients of one loss in one vector: by parameters, by y0, and, if wished, by the output times."""
    y0, ts = y0.clone().requires_grad_(), ts.clone().requires_grad_(by_ts)
    ys = method.solve(field, y0, ts).ys
    weights = torch.linspace(0.5, 1.5, ys.numel(), dtype=ys.dtype).reshape(ys.shape)
    sources = [*field.parameters(), y0, *([ts] if by_ts else [])]
    gradients = torch.autograd.grad((weights * (ys - 0.3).square()).sum(), sources)
    return torch.cat([g.reshape(-1) for g in gradients])


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("name", FIELDS.names())
def test_the_gradient_error_falls_with_the_tolerance(
    name: str, times: Tensor, small_field: FieldOf, small_state: StateOf
) -> None:
    """From 1e-3 to 1e-10, in either time direction: about in proportion, over many decades."""
    field, y0 = small_field(name), small_state(name)
    reference = gradient(FINE, field, y0, times)
    tolerances = [10.0**-k for k in range(3, 11)]
    errors = [
        relative(gradient(OptDisc(rtol=tol, atol=tol, engine="eager"), field, y0, times), reference)
        for tol in tolerances
    ]
    # a loose solve may be right by luck, so only a tolerance a thousand times tighter must be better for sure
    assert all(tight < loose for loose, tight in zip(errors, errors[3:], strict=False))
    assert errors[0] / errors[-1] > 1e4
    assert fitted_slope(tolerances, errors) == pytest.approx(1.0, abs=0.3)
    # per-step tolerances: the error of a whole solve is larger by the number of steps and the field's growth
    assert all(error < 50 * tol for error, tol in zip(errors, tolerances, strict=True))


def test_both_tolerances_matter(small_field: FieldOf, small_state: StateOf) -> None:
    """A tight forward solve does not help a loose adjoint, nor the other way round."""
    field, y0 = small_field("concatsquash"), small_state("concatsquash")
    reference = gradient(FINE, field, y0, TS)
    loose, tight = 1e-3, 1e-10

    def error(forward: float, backward: float) -> float:
        method = OptDisc(rtol=forward, atol=forward, adjoint_rtol=backward, adjoint_atol=backward)
        return relative(gradient(method, field, y0, TS), reference)

    best = error(tight, tight)
    assert error(loose, tight) > 1e3 * best
    assert error(tight, loose) > 1e3 * best


@pytest.mark.parametrize("name", FIELDS.names())
def test_the_gradient_by_the_output_times(name: str, small_field: FieldOf, small_state: StateOf) -> None:
    """Against finite differences of the solve itself, the first and last time included."""
    field, y0, method = small_field(name), small_state(name), OptDisc(rtol=1e-11, atol=1e-12)
    by_times = gradient(method, field, y0, TS, by_ts=True)[-len(TS) :]
    weights = torch.linspace(0.5, 1.5, 3 * y0.numel(), dtype=torch.float64).reshape(3, *y0.shape)

    @torch.no_grad()
    def loss(ts: Tensor) -> float:
        return float((weights * (method.solve(field, y0, ts).ys - 0.3).square()).sum())

    h = 1e-4
    for i, e in enumerate(torch.eye(3, dtype=torch.float64)):
        expected = (loss(TS + h * e) - loss(TS - h * e)) / (2 * h)
        # h^2 and the solve's 1e-11 / h are both below 1e-6
        assert by_times[i].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("solver", ["dopri5", "dopri8", "bosh3", "adaptive_heun"])
def test_all_solvers_give_the_same_gradient(solver: str, small_field: FieldOf, small_state: StateOf) -> None:
    """Each to its tolerance."""
    field, y0 = small_field("mlp"), small_state("mlp")
    method = OptDisc(solver=solver, rtol=1e-6, atol=1e-6)
    assert relative(gradient(method, field, y0, TS), gradient(FINE, field, y0, TS)) < 1e-4


def test_the_seminorm_saves_work_and_keeps_the_gradient(small_field: FieldOf, small_state: StateOf) -> None:
    """Parameter gradients are plain integrals: leaving them out of step control must not spoil them."""
    field, y0 = small_field("concatsquash"), small_state("concatsquash")
    reference, work = gradient(FINE, field, y0, TS), []
    for norm in ("mixed", "seminorm"):
        method = OptDisc(rtol=1e-7, atol=1e-9, adjoint_norm=norm)
        assert relative(gradient(method, field, y0, TS), reference) < 1e-5
        solution = method.solve(field, y0, TS)
        solution.ys.square().sum().backward()
        work.append(solution.stats.backward.n_f)
    assert work[1] <= work[0]


def test_work_is_counted(small_field: FieldOf, small_state: StateOf) -> None:
    """The counts are those of a hook on the module, apart for both directions; tighter tolerances cost more."""
    field, calls, totals = small_field("mlp"), 0, []

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    field.register_forward_hook(count)
    for tol in (1e-3, 1e-8):
        calls = 0
        solution = OptDisc(rtol=tol, atol=tol).solve(field, small_state("mlp"), TS)
        stats = solution.stats
        assert stats.nfe_forward == stats.forward.n_f == calls > 0
        assert stats.forward.n_vjp == 0
        assert stats.backward.evaluations == 0
        steps = stats.forward.n_accepted + stats.forward.n_rejected
        assert 0 < steps < stats.forward.n_f  # dopri5: six new evaluations a step, and two or three to begin with
        assert stats.forward.n_f - 6 * steps in (2, 3)
        calls = 0
        solution.ys.square().sum().backward()
        assert stats.nfe_backward == stats.backward.n_f == stats.backward.n_vjp == calls > 0
        assert stats.backward.n_accepted >= len(TS) - 1  # a solve of its own between any two output times
        totals.append(stats.forward.evaluations + stats.backward.evaluations)
    assert totals[1] > 2 * totals[0]


def test_closures_over_parameters_get_their_gradient() -> None:
    """Named or not."""
    scale, y0 = nn.Parameter(torch.tensor(-0.7, dtype=torch.float64)), torch.ones(2, dtype=torch.float64)
    for params in (None, [scale]):
        ys = OptDisc().solve(lambda _, y: scale * y, y0, TS, params=params).ys
        (gradient,) = torch.autograd.grad(ys[-1].sum(), scale)
        # two components, each y(t) = exp(s t), so dy/ds = t exp(s t), over a time of one
        assert gradient.item() == pytest.approx(2 * math.exp(-0.7), rel=1e-6)


# --- failures --------------------------------------------------------------------------------------------------------


def blows_up(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
    """y = 1 / (1 - t): gone at t = 1."""
    return y * y


def turns_nan(t: Tensor, y: Tensor) -> Tensor:
    """No value after t = 0.5."""
    return -y * torch.where(t > 0.5, math.nan, 1.0)


def decays(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
    """Harmless."""
    return -y


FAILURES: list[Any] = [
    pytest.param(blows_up, Status.STEP_UNDERFLOW, {}, 1.0, id="underflow"),
    pytest.param(turns_nan, Status.NON_FINITE, {}, 0.5, id="non-finite"),
    pytest.param(decays, Status.MAX_STEPS, {"max_steps": 3}, 0.5, id="max-steps"),
]


@pytest.mark.parametrize(("field", "status", "options", "near"), FAILURES)
def test_failures_say_when_how_and_what_to_do(
    field: VectorField, status: Status, options: dict[str, Any], near: float
) -> None:
    """t, dt and |f| in numbers, a sentence and a remedy in words."""
    y0, ts = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64)
    with pytest.raises(SolveError) as caught:
        OptDisc(**options).solve(field, y0, ts)
    error = caught.value
    assert error.status is status
    assert error.phase == "forward"
    assert error.t == pytest.approx(near, abs=0.2)
    for part in (f"t = {error.t:.6g}", f"dt = {error.dt:.3g}", f"|f| = {error.norm_f:.3g}"):
        assert part in str(error)
    assert status.sentence in str(error)
    assert status.remedy in str(error)
    assert error.norm_f > 0


@pytest.mark.parametrize(("field", "status", "options", "near"), FAILURES)
def test_failures_can_be_asked_for_as_a_status(
    field: VectorField, status: Status, options: dict[str, Any], near: float
) -> None:
    """A study of failures wants rows, not exceptions: NaN states, never half a solution."""
    y0, ts = torch.ones(2, 1, dtype=torch.float64), torch.tensor([0.0, near / 4, 2.0], dtype=torch.float64)
    solution = OptDisc(**options).solve(field, y0, ts, throw=False)
    assert solution.status is status
    assert solution.ys.shape == (3, 2, 1)
    assert bool(solution.ys.isnan().all())
    assert solution.stats.nfe_forward > 0


def test_success_has_a_status_too() -> None:
    """So that a caller need not look at the states."""
    y0, ts = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64)
    assert OptDisc().solve(decays, y0, ts, throw=False).status is Status.SUCCESS


@pytest.mark.parametrize("throw", [True, False])
def test_a_failed_adjoint_is_the_same_typed_error(throw: bool) -> None:
    """-y^3 forgets its start: solved back from y(1) = 0.7 it blows up before it reaches y(0) = 100."""
    y0 = torch.tensor([100.0], dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    solution = OptDisc(rtol=1e-4, atol=1e-4, adjoint="backsolve").solve(lambda _, y: -(y**3), y0, ts, throw=throw)
    assert solution.status is Status.SUCCESS
    with pytest.raises(SolveError, match="backward solve failed") as caught:
        solution.ys[-1].sum().backward()
    assert caught.value.phase == "backward"
    assert caught.value.status is Status.STEP_UNDERFLOW
    assert 0 < caught.value.t < 0.01
    assert caught.value.norm_f > 1e6


def test_an_adjoint_that_needs_too_many_steps_is_stopped() -> None:
    """`max_steps` holds for the backward solve by itself: decay forwards is growth backwards, and stiff."""
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 2.0], dtype=torch.float64)
    solution = OptDisc(rtol=1e-5, atol=1e-7, max_steps=100, adjoint="backsolve").solve(lambda _, y: -50 * y, y0, ts)
    with pytest.raises(SolveError) as caught:
        solution.ys[-1].sum().backward()
    assert (caught.value.phase, caught.value.status) == ("backward", Status.MAX_STEPS)
    assert "adjoint='interpolating'" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"solver": "dopri6"}, "solver"),
        ({"rtol": 0.0}, "rtol"),
        ({"atol": -1e-6}, "atol"),
        ({"rtol": math.nan}, "rtol"),
        ({"rtol": "1e-3"}, "rtol"),
        ({"adjoint_rtol": 0.0}, "adjoint_rtol"),
        ({"adjoint_atol": math.inf}, "adjoint_atol"),
        ({"adjoint_norm": "max"}, "adjoint_norm"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], argument: str) -> None:
    """When the method is written, not when it is first used."""
    with pytest.raises(InvalidArgument) as caught:
        OptDisc(**options)
    assert caught.value.argument == argument


@pytest.mark.parametrize("name", FIELDS.names())
def test_landing_on_the_outputs_improves_the_gradient(
    name: str, engine: Any, small_field: FieldOf, small_state: StateOf
) -> None:
    """On either engine, for more evaluations forwards, at many outputs in long steps."""
    field, y0 = small_field(name), small_state(name)
    times = torch.linspace(0.0, 0.8, 12, dtype=torch.float64)
    reference = gradient(FINE, field, y0, times)
    errors, counts = [], []
    for landing in (False, True):
        method = OptDisc(rtol=1e-5, atol=1e-7, landing=landing, engine=engine)
        errors.append(relative(gradient(method, field, y0, times), reference))
        counts.append(method.solve(field, y0, times).stats.nfe_forward)
    assert errors[1] < errors[0] / 3
    assert counts[1] > counts[0]
