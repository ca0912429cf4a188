"""Scaling: there and back, each column by its own spread, angles as cosine and sine."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.trajectories.grid import make_grid
from pynode.trajectories.scaling import fitted_scaling
from tests.trajectories.made import series, trajectory


def test_there_and_back_on_very_different_scales() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 3)) * (1e6, 1e-3, 40) + (5e6, 2e-3, 180)
    values[:, 2] %= 360
    of = series(trajectory("a", np.arange(50.0), values), names=("a", "b", "wind"), periods={"wind": 360.0})
    scaling = fitted_scaling(of, [np.ones(50, bool)])
    model = scaling.to_model(values)
    assert model.shape == (50, 4)
    assert model[:, :2].std(0) == pytest.approx([1, 1])
    assert np.allclose(scaling.to_file(model), values, rtol=1e-9)
    assert (scaling.to_file(model)[:, 2] < 360).all()


def test_only_training_rows_decide() -> None:
    values = np.r_[np.zeros(10), np.ones(10), 1e6 * np.ones(10)]
    of = series(trajectory("a", np.arange(30.0), values))
    scaling = fitted_scaling(of, [np.arange(30) < 20])
    assert scaling.shifts == pytest.approx([0.5])
    assert scaling.scales == pytest.approx([0.5])


def test_epoch_milliseconds_keep_their_digits() -> None:
    times = 1_732_786_800_000 + 250.0 * np.arange(40)
    of = series(trajectory("a", times, np.sin(times / 1e3)))
    scaling = fitted_scaling(of, [np.ones(40, bool)])
    assert make_grid(of.each[0], scaling, (), longest=np.inf).lengths == pytest.approx(np.full(39, 250.0))
