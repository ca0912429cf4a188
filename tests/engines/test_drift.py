"""A state that is solved backwards and leaves the trajectory: measured, reported, and an error; no false alarm."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.drift import DRIFT_BOUND, drift_of
from pynode.errors import DriftError, DriftWarning, InvalidArgument
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.flows.flow import Flow
from pynode.methods.base import method_from_json
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.samples import Samples
from pynode.schemes.rk4 import RK4

F64: dict[str, Any] = {"dtype": torch.float64}
BOTH = ("eager", "fused")
RATES = (20.0, 30.0, 50.0, 100.0)
FORWARDS, BACKWARDS = torch.tensor([0.0, 1.0], **F64), torch.tensor([1.0, 0.0], **F64)

pytestmark = pytest.mark.usefixtures("needs_fused")


def decaying(rate: float, sign: float = 1.0) -> Field:
    """y' = sign W y with W = [[-rate, rate], [0, -1]]."""
    theta = sign * torch.tensor([-rate, rate, 0.0, -1.0, 0.0, 0.0], **F64)
    return MLP((2, 2), "tanh").build(theta=theta)


def gradient(method: Any, field: Field, y0: Tensor, ts: Tensor = FORWARDS) -> tuple[Tensor, Any]:
    """That of the sum of squares at the end by theta and y0, and the work."""
    y0 = y0.detach().clone().requires_grad_()
    solution = method.solve(field, y0, ts)
    parts = torch.autograd.grad(solution.ys[-1].square().sum(), [*field.parameters(), y0])
    return torch.cat([p.reshape(-1) for p in parts]), solution.stats


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


ONE = torch.tensor([1.0, 0.5], **F64)
BATCH = torch.randn(5, 2, **F64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("y0", [ONE, BATCH], ids=["one", "batch"])
@pytest.mark.parametrize("ts", [FORWARDS, BACKWARDS], ids=["forwards", "backwards"])
def test_lost_trajectory_is_an_error(engine: Any, rate: float, y0: Tensor, ts: Tensor) -> None:
    field = decaying(rate, 1.0 if ts is FORWARDS else -1.0)
    method = OptDisc(adjoint="backsolve", engine=engine)
    with pytest.raises(DriftError) as caught:
        gradient(method, field, y0, ts)
    error = caught.value
    assert error.drift > 1e5
    assert error.t == ts[0]
    assert error.phase == "backward"
    for said in (f"{error.drift:.3g} times the tolerance", f"t = {float(ts[0]):g}", "adjoint='interpolating'"):
        assert said in str(error)
    assert (error.samples is None) == (y0 is ONE)


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize("rate", [1.0, 20.0, 100.0])
@pytest.mark.parametrize("norm", ["mixed", "seminorm", "rms"])
def test_interpolating_is_right_where_backsolve_is_not(engine: Any, rate: float, norm: Any) -> None:
    truth, _ = gradient(DiscOpt(RK4, 4000), decaying(rate), BATCH)
    interpolated, stats = gradient(OptDisc(engine=engine, adjoint_norm=norm), decaying(rate), BATCH)
    assert relative(interpolated, truth) < 1e-6
    assert stats.drift is None


def test_interpolating_is_the_default() -> None:
    assert OptDisc().adjoint == "interpolating"
    assert method_from_json({"method": "opt-disc"}) == OptDisc()


@pytest.mark.parametrize("engine", BOTH)
def test_ignored_and_warned(engine: Any) -> None:
    """The gradient is what it is, and the drift stands in the stats; a warning comes once a backward pass."""
    ts, field = torch.linspace(0.0, 3.0, 3, **F64), decaying(20.0)
    backsolved, stats = gradient(OptDisc(adjoint="backsolve", engine=engine, drift="ignore"), field, BATCH, ts)
    assert torch.isfinite(backsolved).all()
    assert stats.drift > 1e5
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        same, _ = gradient(OptDisc(adjoint="backsolve", engine=engine, drift="warn"), field, BATCH, ts)
    assert [w.category for w in said] == [DriftWarning]
    torch.testing.assert_close(same, backsolved)


@pytest.mark.parametrize("engine", BOTH)
def test_drift_of_one_sample_of_a_thousand_is_not_averaged_away(engine: Any) -> None:
    """One sample is off the fixed point of the others and lost; over the whole batch it would stay below the bound."""
    field = decaying(11.0)
    y0 = torch.zeros(1000, 2, **F64)
    y0[700] = ONE
    with pytest.raises(DriftError) as caught:
        gradient(OptDisc(adjoint="backsolve", engine=engine), field, y0)
    assert caught.value.samples == Samples((700,), 1000)
    assert caught.value.drift < DRIFT_BOUND * 1000**0.5
    assert "sample 700 of 1000" in str(caught.value)
    y0[700] = 0.0
    _, stats = gradient(OptDisc(adjoint="backsolve", engine=engine), field, y0)
    assert 0 <= stats.drift < 1


FIELDS: dict[str, Any] = {
    "mlp": MLP((4, 16, 4)),
    "antisymmetric": Antisymmetric(4, gamma=0.5),
    "hamiltonian": Hamiltonian(4, 16),
    "concatsquash": ConcatSquash((4, 16, 4)),
}
TIMES = {
    "one interval": torch.tensor([0.0, 1.0], **F64),
    "back in time": torch.tensor([1.0, 0.0], **F64),
    "several": torch.linspace(0.0, 2.0, 6, **F64),
    "uneven": torch.tensor([2.0, 1.9, 0.3, 0.0], **F64),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_no_false_alarm(name: str, times: str, dtype: torch.dtype) -> None:
    """Far below the bound over tolerances, for a batch; kernels and torch operators measure alike."""
    spec = FIELDS[name]
    field = spec.build(theta=1.5 * spec.initial_theta(0), dtype=dtype)
    y0 = torch.randn(100, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    for rtol in (1e-3, 1e-6) if dtype is torch.float32 else (1e-3, 1e-6, 1e-9):
        for engine in BOTH if rtol == 1e-6 else ("fused",):
            method = OptDisc(rtol=rtol, atol=rtol / 100, adjoint="backsolve", engine=engine)
            _, stats = gradient(method, field, y0, TIMES[times].to(dtype))
            assert 0 < stats.drift < DRIFT_BOUND / 3, (rtol, engine)


def test_no_false_alarm_for_a_flow() -> None:
    flow = Flow.build(ConcatSquash((2, 16, 2)), blocks=2, method=OptDisc(rtol=1e-5, atol=1e-7, adjoint="backsolve"))
    moved = flow.transport(torch.randn(50, 2, generator=torch.Generator().manual_seed(0), **F64))
    (-moved.log_prob.mean()).backward()
    drifts = [stats.drift for stats in moved.solves if stats.drift is not None]
    assert len(drifts) == 2
    assert all(drift < 100 for drift in drifts)
    assert sum(moved.solves[1:], moved.solves[0]).drift == max(drifts)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_measure(dtype: torch.dtype) -> None:
    """By hand: the worst sample, by root mean squares of its error and of its state."""
    stored = torch.tensor([[3.0, 4.0], [0.0, 0.0], [30.0, 40.0]], dtype=dtype)
    off = torch.tensor([[0.3, 0.4], [0.003, -0.004], [0.3, -0.4]], dtype=dtype)
    drift, samples = drift_of(stored + off, stored, 1e-2, 1e-3)
    size = (12.5) ** 0.5
    by_hand = [0.1 * size / (1e-3 + 1e-2 * size), 1e-3 * size / 1e-3, 0.1 * size / (1e-3 + 1e-1 * size)]
    assert drift == pytest.approx(max(by_hand), rel=1e-5)
    assert samples == Samples((by_hand.index(max(by_hand)),), 3)
    assert drift_of(stored * float("nan"), stored, 1e-2, 1e-3)[0] > 1e300
    assert drift_of(stored, stored, 1e-2, 1e-3)[0] == 0
    assert drift_of(stored[0], stored[0], 1e-2, 1e-3)[1] is None


def test_output_at_the_start_alone() -> None:
    """A loss of y(t0) only: nothing is wrong with a gradient that does not depend on the trajectory, but it is told."""
    field = decaying(30.0)
    y0 = ONE.clone().requires_grad_()
    for engine in BOTH:
        method = OptDisc(adjoint="backsolve", engine=engine, drift="ignore")
        solution = method.solve(field, y0, FORWARDS)
        (by_y0,) = torch.autograd.grad(solution.ys[0].sum(), [y0])
        torch.testing.assert_close(by_y0, torch.ones_like(y0))
        assert solution.stats.drift is not None
        assert solution.stats.drift > 1e5


def test_bad_choice() -> None:
    with pytest.raises(InvalidArgument, match="drift"):
        OptDisc(drift="raise")  # type: ignore[arg-type]
