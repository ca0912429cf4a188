"""First models by linear least squares: decays to a level of rest with doses, and sums of two decays."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.datasets.splits import Array
from pynode.trajectories.build import Prepared, prepare
from pynode.trajectories.data import Input
from pynode.trajectories.impulses import fitted_decays
from pynode.trajectories.relaxation import fitted_relaxation
from tests.trajectories.made import series, trajectory


def masks_of(prepared: Prepared) -> list[Array]:
    return [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]


def test_fitted_decay_has_the_rate_rest_and_jump_of_doses() -> None:
    each = []
    for k in range(4):
        times = 0.25 * np.arange(60)
        at, doses = np.array([0.0, 4.1 + k, 9.3]), np.array([10.0, 5.0 + k, 8.0])
        level = [
            2 + sum(0.5 * d * np.exp(-0.6 * (t - a)) for a, d in zip(at, doses, strict=True) if a < t) for t in times
        ]
        values = np.stack((level, np.full(60, np.nan)), -1)
        each.append(trajectory(f"p{k}", times, values, (Input(at, doses),)))
    of = series(*each, names=("level", "never"), kinds=("jumps",))
    prepared = prepare(of, [np.ones(60, bool)] * 4, augment=0)
    decay, nothing = fitted_decays(prepared.grids, masks_of(prepared), 2)
    assert nothing is None
    assert decay is not None
    scaling = prepared.scaling
    assert decay.rate / scaling.time == pytest.approx(0.6, rel=0.1), "rates of the grid are 11 % apart"
    assert decay.rest * scaling.scales[0] + scaling.shifts[0] == pytest.approx(2, abs=0.1)
    assert decay.jumps[0] * scaling.scales[0] / scaling.input_scales[0] == pytest.approx(0.5, rel=0.1)
    nodes = prepared.grids[1].rows
    values = decay.at(prepared.grids[1], nodes) * scaling.scales[0] + scaling.shifts[0]
    assert np.abs(values - each[1].values[:, 0]).max() < 0.2


def test_fitted_relaxation_has_both_rates_the_rest_and_the_shares() -> None:
    slow, fast, rng = 0.4, 3.0, np.random.default_rng(0)
    times = np.linspace(0, 8, 60)
    each, shares = [], []
    for k in range(12):
        a, b = 3 + rng.standard_normal(2)
        shares.append((a, -b))
        each.append(trajectory(f"r{k}", times, 5 + a * np.exp(-slow * times) - b * np.exp(-fast * times)))
    prepared = prepare(series(*each), [np.ones(60, bool)] * 12, augment=1)
    relaxation = fitted_relaxation(prepared.grids, masks_of(prepared))
    assert relaxation is not None
    scaling = prepared.scaling
    assert relaxation.slow / scaling.time == pytest.approx(slow, rel=0.15)
    assert relaxation.fast / scaling.time == pytest.approx(fast, rel=0.25)
    assert relaxation.rest * scaling.scales[0] + scaling.shifts[0] == pytest.approx(5, abs=0.15)
    states = relaxation.states(3, times / scaling.time, 1.0)
    assert np.abs(states[:, 0] * scaling.scales[0] + scaling.shifts[0] - each[3].values[:, 0]).max() < 0.1
    assert relaxation.shares[:, 0] * scaling.scales[0] == pytest.approx([a for a, _ in shares], rel=0.3)


def test_too_few_values_have_no_relaxation() -> None:
    each = [trajectory(f"r{k}", np.arange(3.0), np.exp(-np.arange(3.0))) for k in range(3)]
    prepared = prepare(series(*each), [np.ones(3, bool)] * 3, augment=1)
    assert fitted_relaxation(prepared.grids, masks_of(prepared)) is None
