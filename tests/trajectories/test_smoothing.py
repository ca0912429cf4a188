"""Smooth curves: nearness to the truth, its slope and the noise, at several lengths and scales."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.trajectories.smoothing import smoothed


@pytest.mark.parametrize("n", [60, 1_000, 5_000])
def test_curves_are_nearer_to_the_truth_than_the_data(n: int) -> None:
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, n / 50, n))
    truth, noise = np.sin(2 * np.pi * times), 0.05
    (curve,), measured = smoothed([(times, truth + noise * rng.standard_normal(n))])
    assert curve is not None
    assert np.std(curve(times) - truth) < 0.6 * noise
    assert np.std(curve(times, 1) / (2 * np.pi) - np.cos(2 * np.pi * times)) < 0.12
    assert measured == pytest.approx(noise, rel=0.25)


def test_values_without_noise_are_kept() -> None:
    times = np.linspace(0, 3, 40)
    (curve,), noise = smoothed([(times, np.exp(-times))])
    assert curve is not None
    assert np.abs(curve(times) - np.exp(-times)).max() < 1e-3
    assert noise < 1e-3


def test_too_few_values_have_no_curve() -> None:
    (curve,), noise = smoothed([(np.arange(3.0), np.ones(3))])
    assert curve is None
    assert np.isnan(noise)


def test_beyond_the_data_a_curve_goes_on_straight() -> None:
    times = np.linspace(0, 1, 30)
    (curve,), _ = smoothed([(times, times**2)])
    assert curve is not None
    ahead = curve(np.array([1.0, 2.0, 3.0]))
    assert ahead[2] - ahead[1] == pytest.approx(ahead[1] - ahead[0])
