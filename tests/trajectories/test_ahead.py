"""The times of a forecast."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from pynode.cli.predict import _spacing
from pynode.errors import InvalidArgument
from pynode.trajectories.ahead import MOST_ROWS, months_apart, times_ahead, typical_spacing, usual_until
from pynode.trajectories.data import Input, Trajectory
from tests.trajectories.axes import DAYS, NUMBERS, WHOLE

if TYPE_CHECKING:
    from pynode.problems.series.user_series import UserSeries


def trajectory(times: list[float], name: str = "") -> Trajectory:
    at = np.array(times)
    return Trajectory(name, at, at[:, None], (), np.empty(0), np.arange(len(at)))


def dates(*texts: str) -> Trajectory:
    return trajectory([DAYS.parse(text) for text in texts])


def test_rows_after_the_last_one_up_to_and_including_the_end() -> None:
    (times,) = times_ahead(NUMBERS, [trajectory([0, 1, 2, 4])], 7.5, None)
    np.testing.assert_allclose(times, [5, 6, 7, 7.5])
    (times,) = times_ahead(NUMBERS, [trajectory([0, 1, 2, 4])], 7.0, None)
    np.testing.assert_allclose(times, [5, 6, 7])
    (times,) = times_ahead(NUMBERS, [trajectory([0, 1, 2, 4])], 4.5, 0.2)
    np.testing.assert_allclose(times, [4.2, 4.4, 4.5])


def test_a_dose_has_a_row_at_it_and_one_just_after_it() -> None:
    known = Input(np.array([0.0, 2.0, 5.5, 6.0]), np.array([1.0, 1.0, 3.0, 0.0]))
    each = replace(trajectory([0, 1, 2, 4]), inputs=(known,))
    (times,) = times_ahead(NUMBERS, [each], 7.0, None, ["jumps"])
    np.testing.assert_allclose(times, [5, 5.5, 5.501, 6, 7])
    (times,) = times_ahead(NUMBERS, [each], 7.0, None, ["interpolated"])
    np.testing.assert_allclose(times, [5, 6, 7])


def test_each_trajectory_from_its_own_end() -> None:
    one, other = times_ahead(NUMBERS, [trajectory([0, 1, 2]), trajectory([0, 5])], 4.0, None)
    np.testing.assert_allclose(one, [3, 4])
    assert other.size == 0


def test_the_spacing_is_the_median_over_all_gaps() -> None:
    assert typical_spacing([trajectory([0, 1, 2, 3]), trajectory([0, 50])]) == 1
    assert typical_spacing([trajectory([0])]) == 1


def test_whole_numbers_stay_whole() -> None:
    start = 1732786800000
    (times,) = times_ahead(WHOLE, [trajectory([start, start + 250, start + 501])], start + 1000, None)
    assert [WHOLE.text(t) for t in times] == [str(start + t) for t in (752, 1000)] or len(times) == 2
    assert times[-1] == start + 1000
    assert (times == np.round(times)).all()


def test_times_that_read_alike_are_one_row() -> None:
    (times,) = times_ahead(WHOLE, [trajectory([0, 10])], 12.0, 0.4)
    np.testing.assert_array_equal(times, [11, 12])


def test_months_go_by_the_calendar() -> None:
    monthly = dates("2014-11-01", "2014-12-01", "2015-01-01")
    (times,) = times_ahead(DAYS, [monthly], DAYS.parse("2015-04-15"), None)
    assert [DAYS.text(t) for t in times] == ["2015-02-01", "2015-03-01", "2015-04-01", "2015-04-15"]
    assert months_apart(DAYS, [dates("2014-01-01", "2014-04-01", "2014-07-01")]) == 3
    assert months_apart(DAYS, [dates("2014-01-01", "2014-01-02")]) is None
    assert months_apart(NUMBERS, [monthly]) is None


def test_an_end_before_the_data_end_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^until = 4: not after the last row \(4\); give a time after 4"):
        times_ahead(NUMBERS, [trajectory([0, 4])], 4.0, None)
    with pytest.raises(
        InvalidArgument, match=r"not after the end of every trajectory .3 is the earliest.; give a time after 3"
    ):
        times_ahead(NUMBERS, [trajectory([0, 4]), trajectory([0, 3])], 2.0, None)


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="would have 100,000,000 rows"):
        times_ahead(NUMBERS, [trajectory([0, 1])], 1e8 + 1, None)
    with pytest.raises(InvalidArgument, match=r"^every = .*or a longer time between rows \(every="):
        times_ahead(NUMBERS, [trajectory([0, 1])], 1e8 + 1, 1.0)


@pytest.mark.parametrize(("seconds", "until", "unit"), [(3_600.0, 2.2e11, "d"), (60.0, 1e8, "min"), (0.001, 1e6, "s")])
def test_between_dates_the_spacing_offered_is_one_that_predict_takes(seconds: float, until: float, unit: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        times_ahead(DAYS, [trajectory([0, seconds, 2 * seconds])], until, None)
    offered = str(refused.value).rpartition("(every=")[2].removesuffix(")")
    assert offered.lstrip("0123456789") == unit
    dated = cast("UserSeries", SimpleNamespace(series=SimpleNamespace(axis=DAYS)))
    spacing = _spacing(dated, offered)
    assert spacing is not None
    assert until / spacing <= MOST_ROWS


def test_where_nobody_says_it_a_forecast_goes_a_fifth_further_on_the_grid_of_the_rows() -> None:
    assert usual_until(NUMBERS, [trajectory([0, 1, 2, 4, 10])]) == "11.5"
    assert usual_until(NUMBERS, [trajectory([0, 2, 4, 6])], ahead=5.0) == "10"
    assert usual_until(NUMBERS, [trajectory([0, 10])]) == "20"
    assert usual_until(NUMBERS, [trajectory([0, 1, 2, 10])], ahead=3.0) == "13"
    assert usual_until(DAYS, [dates(*(f"2015-{month:02d}-01" for month in range(1, 13)))]) == "2016-02-01"


def test_no_further_than_inputs_are_known() -> None:
    assert usual_until(NUMBERS, [trajectory([0, 1, 10])], known=10.5) == "10.5"
    assert usual_until(NUMBERS, [trajectory([0, 1, 10])], known=10.0) is None
