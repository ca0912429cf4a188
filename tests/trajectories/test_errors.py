"""RMSE, MAE and MASE over what was observed."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.trajectories.errors import column_errors, difference, naive_steps, shorter_way

NAN = float("nan")


def test_each_column_by_itself_over_observed_entries() -> None:
    observed = [np.array([[0.0, 1e6], [2.0, NAN]]), np.array([[4.0, 3e6]])]
    predicted = [np.array([[1.0, 1e6], [2.0, 7e9]]), np.array([[1.0, 3e6]])]
    small, large = column_errors(predicted, observed, np.array([2.0, 1e5]))
    assert small.rmse == pytest.approx(np.sqrt(10 / 3))
    assert [small.mae, small.mase] == pytest.approx([4 / 3, 2 / 3])
    assert small.count == 3
    assert (large.rmse, large.mae, large.mase, large.count) == (0, 0, 0, 2)


def test_a_column_without_observations_has_no_errors() -> None:
    (none,) = column_errors([np.zeros((2, 1))], [np.full((2, 1), NAN)], np.array([1.0]))
    assert np.isnan([none.rmse, none.mae, none.mase]).all()
    assert none.count == 0
    assert column_errors([], [], np.array([1.0]))[0].count == 0


@pytest.mark.parametrize("value", [NAN, np.inf, -np.inf])
def test_a_forecast_that_is_not_finite_is_not_left_out(value: float) -> None:
    (errors,) = column_errors([np.array([[1.0], [value]])], [np.array([[1.0], [1.0]])], np.array([1.0]))
    assert errors.rmse == errors.mae == errors.mase == np.inf


def test_huge_errors_do_not_overflow() -> None:
    (errors,) = column_errors([np.array([[1e200]])], [np.array([[0.0]])], np.array([1.0]))
    assert errors.rmse == pytest.approx(1e200)


def test_angles_differ_by_the_shorter_way() -> None:
    observed, predicted = np.array([[350.0, 350.0], [10.0, NAN]]), np.array([[10.0, 10.0], [350.0, 1.0]])
    result = difference(predicted, observed, [360.0, None])
    np.testing.assert_allclose(result, [[20.0, -340.0], [-20.0, NAN]])
    assert shorter_way(np.array([180.0]), 360.0) == -180.0


def test_naive_steps_stay_within_a_trajectory_and_skip_gaps() -> None:
    values = [np.array([[1.0, NAN], [NAN, 5.0], [4.0, NAN]]), np.array([[100.0, NAN], [101.0, NAN]])]
    steps = naive_steps(values)
    assert steps[0] == pytest.approx((3 + 1) / 2)
    assert np.isnan(steps[1])
    assert naive_steps([np.array([[350.0], [10.0]])], [360.0])[0] == pytest.approx(20.0)


def test_a_column_that_never_changed_has_no_mase() -> None:
    (errors,) = column_errors([np.array([[1.0]])], [np.array([[2.0]])], np.array([0.0]))
    assert errors.rmse == 1
    assert np.isnan(errors.mase)
