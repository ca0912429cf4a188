"""Forecasts without a model."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.trajectories.baselines import last_value, mean_curve, straight_line

NAN = float("nan")
TIMES = np.array([0.0, 1.0, 3.0])
AT = np.array([4.0, 6.0])


def test_the_last_observed_value_is_held() -> None:
    values = np.array([[1.0, NAN, 7.0], [2.0, NAN, NAN], [NAN, NAN, 9.0]])
    np.testing.assert_array_equal(last_value(TIMES, values, AT), [[2.0, NAN, 9.0]] * 2)


def test_a_straight_line_goes_on() -> None:
    values = np.stack([5 - 2 * TIMES, [NAN, 3.0, NAN], [NAN] * 3], axis=1)
    np.testing.assert_allclose(straight_line(TIMES, values, AT), [[-3.0, 3.0, NAN], [-7.0, 3.0, NAN]])


def test_a_line_keeps_its_digits_where_times_are_seconds_since_1970() -> None:
    early, late = (straight_line(TIMES + s, (TIMES**2)[:, None], AT + s) for s in (0.0, 1.7e12))
    np.testing.assert_allclose(late, early, rtol=1e-9)


def test_a_line_of_angles_turns_the_shorter_way() -> None:
    angles = (340 + 30 * TIMES)[:, None] % 360  # 340, 10, 70
    line = straight_line(TIMES, angles, AT, [360.0])
    np.testing.assert_allclose(line[:, 0], [100.0, 160.0])


def test_the_mean_curve_is_over_those_that_were_seen_around_a_time() -> None:
    training = [(TIMES, np.array([[0.0], [10.0], [30.0]])), (np.array([0.0, 2.0]), np.array([[10.0], [NAN]]))]
    assert mean_curve(training, np.array([0.0]))[0, 0] == pytest.approx(5.0)
    assert mean_curve(training, np.array([2.0]))[0, 0] == pytest.approx(20.0), "the second was last seen at 0"
    assert mean_curve(training, np.array([9.0]))[0, 0] == pytest.approx((30 + 10) / 2), "nearest values beyond all"
    assert np.isnan(mean_curve([(TIMES, np.full((3, 1), NAN))], AT)).all()


def test_the_mean_of_angles_does_not_cross_the_circle() -> None:
    training = [(np.array([0.0, 1.0]), np.array([[a], [a]])) for a in (350.0, 20.0)]
    assert mean_curve(training, np.array([0.5]), [360.0])[0, 0] == pytest.approx(5.0)
