"""Dates as files write them, and the way back to text."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynode.datasets.date_order import Order
from pynode.datasets.date_styles import seconds_of, written
from pynode.datasets.dates import Dates, read_dates


def dates(*cells: str) -> Dates:
    """The dates in some cells, of which none is missing."""
    result = read_dates(cells, lambda _: False)
    assert result is not None
    return result


def stamp(text: str) -> float:
    """Seconds since 1970 of an ISO date in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


WRITTEN = {
    # what a file writes: the same as ISO, in UTC
    "2024-01-31": "2024-01-31",
    "2024/1/31": "2024-01-31",
    "2024-01-31T12:30": "2024-01-31T12:30",
    "2024-01-31 12:30:15.25": "2024-01-31T12:30:15.250",
    "2024-01-31T12:30:00Z": "2024-01-31T12:30",
    "2024-01-31T12:30:00+02:00": "2024-01-31T10:30",
    "2024-01-31 12:30 -0530": "2024-01-31T18:00",
    "2024-01-31 12:30 CET": "2024-01-31T11:30",
    "2024-01-31 24:00": "2024-02-01T00:00",
    "31.01.2024": "2024-01-31",
    "31. 1. 2024": "2024-01-31",
    "31.01.24 07:05": "2024-01-31T07:05",
    "31/01/2024 7:05": "2024-01-31T07:05",
    "1/31/2024 7:05 PM": "2024-01-31T19:05",
    "1/31/2024 12:05 AM": "2024-01-31T00:05",
    "31-Jan-2024 10:00": "2024-01-31T10:00",
    "31 January 2024": "2024-01-31",
    "January 31, 2024": "2024-01-31",
    "Jan-31-2024": "2024-01-31",
    "Wed, 31 Jan 2024 10:00:00 GMT": "2024-01-31T10:00",
    "3. Mai 2024": "2024-05-03",
    "20240131_1230": "2024-01-31T12:30",
    "20240131-123000": "2024-01-31T12:30",
    "2Q2024": "2024-04-01",
    "20240131T1230": "2024-01-31T12:30",
    "2024-05": "2024-05-01",
    "05/2024": "2024-05-01",
    "2024M05": "2024-05-01",
    "May 2024": "2024-05-01",
    "May-24": "2024-05-01",
    "2024 May": "2024-05-01",
    "2024Q2": "2024-04-01",
    "2024-Q2": "2024-04-01",
    "Q2 2024": "2024-04-01",
    "2024-W05": "2024-01-29",
}


@pytest.mark.parametrize("text", WRITTEN)
def test_ways_to_write_a_date(text: str) -> None:
    """Each is read as the same moment."""
    result = dates(text)
    assert not result.problem
    assert not result.wrong
    assert result.values[0] == stamp(WRITTEN[text])


@pytest.mark.parametrize("text", ["oak", "12", "mild", "12-34", "may"])
def test_words_are_no_dates(text: str) -> None:
    """Nor are numbers."""
    assert read_dates([text], lambda _: False) is None


def test_the_order_is_that_of_the_whole_column() -> None:
    """A 13 decides, or the order of time, or equal steps; the notice says which."""
    assert "since a 13 occurs" in dates("03/04/2024", "13/04/2024").notice
    monthly = dates(*(f"{month}/1/{year}" for year in (2004, 2005) for month in range(1, 13)))
    assert written(float(monthly.values[1]), "%Y-%m-%d") == "2004-02-01"
    assert "evenly spaced" in monthly.notice or "order of time" in monthly.notice
    daily = dates(*(f"{day:02d}/{month:02d}/2024" for month in (1, 2) for day in range(1, 13)))
    assert written(float(daily.values[1]), "%Y-%m-%d") == "2024-01-02"


def test_an_order_that_nothing_decides() -> None:
    """Is a problem, with its remedy."""
    problem = dates("1/2/2024", "1/3/2024").problem
    assert "can be day, month, year or month, day, year: write them as year-month-day" in problem


def test_times_of_day() -> None:
    """Seconds since midnight, above 24 hours too."""
    clock = dates("10:30", "25:00", "9:05:30")
    assert clock.family == "clock"
    np.testing.assert_array_equal(clock.values, [37800, 90000, 32730])
    assert written(90000.0, "clock") == "25:00"


STYLES = [
    "2024-01-31",
    "2024-01-31 12:30",
    "2024-01-31T12:30:15",
    "2024-01-31T12:30:00Z",
    "2024-01-31 12:30:00+02:00",
    "31.01.2024 12:30",
    "20240131",
    "20240131T1230",
]


@pytest.mark.parametrize("text", STYLES)
def test_the_style_of_the_file(text: str) -> None:
    """A date is written as the file writes it."""
    result = dates(text)
    assert written(float(result.values[0]), result.style) == text


@pytest.mark.parametrize("text", [*STYLES, "1/31/2024", "May 2024", "2024Q2", "31.01.2024"])
@given(seconds=st.integers(0, 4_000_000_000_000))
def test_any_time_survives(text: str, seconds: int) -> None:
    """A time of another precision than the file's is written with more of it, and read back exactly."""
    moment = seconds / 1000
    again = seconds_of(written(moment, dates(text).style))
    assert again is not None
    assert abs(again - moment) < 1e-5


def test_text_that_others_read() -> None:
    """What stands for dates other than day.month.year is ISO 8601, as Python reads it."""
    for text in ("1/31/2024 7:05 PM", "May 2024", "2024Q2", "2024-01-31 12:30"):
        for more in (0, 1, 3600, 0.5):
            moment = float(dates(text).values[0]) + more
            iso = datetime.fromisoformat(written(moment, dates(text).style))
            assert iso - datetime(1970, 1, 1) == timedelta(seconds=moment)


def test_an_order_that_is_given() -> None:
    """Decides where nothing else does, over what the column suggests, and makes other dates wrong."""
    orders: dict[Order, str] = {"dmy": "2024-03-01", "mdy": "2024-01-03"}
    for order, second in orders.items():
        told = read_dates(["1/2/2024", "1/3/2024", "1/13/2024"], lambda cell: not cell, order)
        assert told is not None
        assert not told.problem
        assert written(float(told.values[1]), "%Y-%m-%d") == second
        assert told.wrong == ((2,) if order == "dmy" else ())
