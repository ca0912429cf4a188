"""Stress problems: their data obey what is known of them, and the judge is accurate enough for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ellipj
from torch import Tensor

from pynode.errors import InvalidArgument, UsageError
from pynode.grid import TimeGrid
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.problems.series.base import Array, TimeSeries
from pynode.schemes.rk4 import RK4


def problem(name: str, **options: Any) -> TimeSeries:
    kind = PROBLEMS.load(name)
    posed = kind(options=options_from_json(kind, options))
    assert isinstance(posed, TimeSeries)
    return posed


CASES: list[tuple[str, dict[str, Any]]] = [
    ("lotka-volterra", {}),
    ("van-der-pol", {}),
    ("van-der-pol", {"stiffness": 20.0}),
    ("van-der-pol", {"stiffness": 0.5}),
    ("oscillator", {}),
    ("oscillator", {"dim": 8, "horizon": 2.0}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_the_judge_is_accurate_on_the_true_field(name: str, options: dict[str, Any]) -> None:
    """`accurate_steps` of RK4 against DOP853 at 1e-13."""
    posed = problem(name, **options)

    def true_field(t: Tensor, y: Tensor) -> Tensor:
        return torch.as_tensor(posed.true_field(float(t), y.numpy()))

    ys = RK4.solve(true_field, posed.y0, TimeGrid.between(posed.times, posed.accurate_steps))
    assert float((ys - posed.data).abs().max()) < 1e-5


def invariant(posed: TimeSeries, u: Array) -> Array:
    """What the system conserves, at states `(time, dim)`."""
    if posed.name == "lotka-volterra":
        return np.asarray(u[:, 0] - 3 * np.log(u[:, 0]) + u[:, 1] - 1.5 * np.log(u[:, 1]))
    q, p = np.split(u, 2, axis=1)
    return np.asarray(p**2 / 2 - np.cos(q))


@pytest.mark.parametrize(("name", "options"), [CASES[0], *CASES[4:]], ids=str)
def test_conserved_quantities(name: str, options: dict[str, Any]) -> None:
    posed = problem(name, **options)
    values = invariant(posed, posed.data.numpy())
    np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), atol=1e-10)
    assert np.ptp(posed.data.numpy(), axis=0).min() > 0.5, "nothing moves: the test shows nothing"


def test_pendulums_move_as_jacobi_said() -> None:
    """sin(q / 2) = sin(q_0 / 2) cd(w t) with the parameter m = sin(q_0 / 2)^2, from rest at q_0 = 1."""
    posed = problem("oscillator", dim=6, horizon=2.0)
    k = np.sin(0.5)
    for i, w in enumerate((1.0, 1.5, 2.0)):
        _, cn, dn, _ = ellipj(w * posed.times.numpy(), k**2)
        np.testing.assert_allclose(posed.data.numpy()[:, i], 2 * np.arcsin(k * cn / dn), atol=1e-10)


def test_van_der_pol_comes_back_after_its_period() -> None:
    """The default horizon is about one turn, from near the cycle's turning point."""
    for stiffness in (5.0, 10.0):
        states = problem("van-der-pol", stiffness=stiffness).data.numpy()
        assert states[:, 0].min() < -1.9
        assert states[-1, 0] > 1.0


@pytest.mark.parametrize("architecture", ["mlp", "antisymmetric", "hamiltonian"])
def test_oscillators_take_any_architecture(architecture: str) -> None:
    posed = problem("oscillator", dim=4, horizon=1.0, architecture=architecture, width=8)
    assert posed.field_spec.architecture == architecture
    assert np.isfinite(posed.validation_loss(posed.model(0)))


def test_collocation_fits_the_dynamics() -> None:
    """Much closer than an untrained field, without any solve; the same for the same seed."""
    posed = problem("oscillator", horizon=2.0, width=16)
    fitted = posed.collocated(3, iterations=300, points=100)
    assert posed.validation_loss(fitted) < 0.05 * posed.validation_loss(posed.model(3))
    again = posed.collocated(3, iterations=300, points=100)
    assert torch.equal(fitted.theta(), again.theta())


def test_evaluation_goes_beyond_the_data() -> None:
    from pynode.methods.disc_opt import DiscOpt

    posed = problem("lotka-volterra", horizon=2.0)
    series = posed.evaluate(posed.model(0), DiscOpt()).series
    assert series["t"][-1] == pytest.approx(4.0)
    assert len(series["model"]) == len(series["truth"]) == 120


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("van-der-pol", {"stiffness": 0.0}),
        ("van-der-pol", {"horizon": -1.0}),
        ("oscillator", {"dim": 3}),
        ("oscillator", {"horizon": float("inf")}),
        ("oscillator", {"architecture": "cnn"}),
        ("lotka-volterra", {"width": 0}),
        ("lotka-volterra", {"stiffness": 1.0}),
    ],
    ids=str,
)
def test_bad_options_are_named(name: str, options: dict[str, Any]) -> None:
    with pytest.raises((InvalidArgument, UsageError), match=next(iter(options))):
        problem(name, **options)
