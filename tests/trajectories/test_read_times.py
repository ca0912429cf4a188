"""Times of files: stamps, dates, several columns; their units, and the way back to text."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynode.datasets.errors import DataError
from pynode.errors import InvalidArgument
from pynode.trajectories.axis import TimeAxis, unit_in
from pynode.trajectories.data import Trajectories
from pynode.trajectories.read import read_series

STAMP = 1704067200
"""2024-01-01 in seconds since 1970."""


def series(tmp_path: Path, head: str, *times: str, **options: Any) -> Trajectories:
    """A series of one value at these times."""
    path = tmp_path / "table.csv"
    path.write_text(head + "\n" + "".join(f"{t},{[3, 1, 4, 1.5][n % 4]}\n" for n, t in enumerate(times)))
    return read_series(path, **options)


@pytest.mark.parametrize(
    ("factor", "unit"), [(1, "seconds"), (1000, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")]
)
def test_stamps(tmp_path: Path, factor: int, unit: str) -> None:
    """Numbers since 1970 are told by their size, keep their unit, and come back without a decimal point."""
    texts = [str((STAMP + n * n) * factor) for n in range(6)]
    axis = series(tmp_path, "when,x", *texts).axis
    assert axis.unit == f"{unit} since 1970"
    assert [axis.text(float(t)) for t in texts] == texts
    assert axis.parse(texts[3]) == float(texts[3])
    assert axis.parse("2024-01-01") == float(texts[0])


def test_jitter_of_milliseconds(tmp_path: Path) -> None:
    """Is not lost: times are double precision."""
    texts = [str(STAMP * 1000 + 250 * n + n % 3) for n in range(9)]
    result = series(tmp_path, "when,x", *texts)
    assert np.diff(result.each[0].times).tolist() == [251, 251, 248, 251, 251, 248, 251, 251]


UNITS = {
    "hours": "hours", "t_ms": "milliseconds", "Time (h)": "hours", "time [s]": "seconds", "elapsedDays": "days",
    "hour of day": "hours", "days since birth": "days", "Minuten": "minutes", "s": "seconds", "day": "days",
    "weeks": "weeks", "year": "years",
}  # fmt: skip


@pytest.mark.parametrize("name", UNITS)
def test_units_in_names(tmp_path: Path, name: str) -> None:
    """A column's name says the unit; one that doesn't is in units of its own."""
    assert unit_in(name) == UNITS[name]
    assert series(tmp_path, f"{name},x", "0", "1.5", "4").axis.unit == UNITS[name]
    assert series(tmp_path, "when,x", "0", "1.5", "4").axis.unit == "units of when"


DATES: dict[tuple[str, ...], tuple[int, ...]] = {
    # how the file writes three times: what they are, in seconds after 2024-01-01
    ("2024-01-01", "2024-01-02", "2024-01-04"): (0, 86400, 259200),
    ("2024-01-01 00:00", "2024-01-01 06:30", "2024-01-02 00:00"): (0, 23400, 86400),
    ("2024-01-01T01:00:00+01:00", "2024-01-01T02:00:00+01:00", "2024-01-01T04:00:00+01:00"): (0, 3600, 10800),
    ("2024-01-01T00:00:00Z", "2024-01-01T00:00:01Z", "2024-01-01T00:00:03Z"): (0, 1, 3),
    ("01.01.2024 00:00", "01.01.2024 12:00", "13.01.2024 00:00"): (0, 43200, 12 * 86400),
    ("20240101", "20240102", "20240104"): (0, 86400, 259200),
    ("2024010100", "2024010101", "2024010103"): (0, 3600, 10800),
    ("202401010000", "202401010010", "202401010030"): (0, 600, 1800),
}


@pytest.mark.parametrize("texts", DATES)
def test_dates(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """Dates are seconds since 1970 UTC, and come back as the file writes them."""
    result = series(tmp_path, "date,x", *texts)
    assert (result.each[0].times - STAMP).tolist() == list(DATES[texts])
    assert [result.axis.text(t) for t in result.each[0].times] == list(texts)
    assert [result.axis.parse(text) for text in texts] == result.each[0].times.tolist()


OTHERS = {
    "months": (["Jan 2004", "Feb 2004", "Mar 2004"], ["2004-01-01", "2004-02-01", "2004-03-01"]),
    "numbers of months": (["2004-01", "2004-02", "2004-04"], ["2004-01-01", "2004-02-01", "2004-04-01"]),
    "quarters": (["2004Q1", "2004Q2", "2004Q4"], ["2004-01-01", "2004-04-01", "2004-10-01"]),
    "American": (["1/12/2004 1:00 PM", "1/13/2004 1:00 PM"], ["2004-01-12 13:00", "2004-01-13 13:00"]),
    "days": (["12.01.2004", "13.01.2004"], ["2004-01-12", "2004-01-13"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_dates_that_become_iso(tmp_path: Path, name: str) -> None:
    """Other ways to write dates come back as ISO 8601."""
    texts, iso = OTHERS[name]
    result = series(tmp_path, "date,x", *texts)
    assert [result.axis.text(t) for t in result.each[0].times] == iso


def test_zones(tmp_path: Path) -> None:
    """Without a zone times are read as UTC, which is said once; with one, the hour that occurs twice is no mistake."""
    plain = series(tmp_path, "date,x", "2024-03-31 01:00", "2024-03-31 03:00")
    assert sum("no zone" in notice for notice in plain.notices) == 1
    local = ["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00"]
    zoned = series(tmp_path, "date,x", *local)
    assert np.diff(zoned.each[0].times).tolist() == [3600, 3600]
    assert not any("no zone" in notice for notice in zoned.notices)


def test_date_and_time_of_day_in_two_columns(tmp_path: Path) -> None:
    """Guessed, named one by one, and named together."""
    times = [f"2024-01-{1 + n // 4:02d},{6 * (n % 4):02d}:30" for n in range(9)]
    for options in ({}, {"time": "date"}, {"time": "time"}, {"time": "date,time"}):
        result = series(tmp_path, "date,time,x", *times, **options)
        assert np.diff(result.each[0].times).tolist() == [21600] * 8
        assert result.axis.text(result.each[0].times[1]) == "2024-01-01T06:30"
    hours = series(tmp_path, "date,hour,x", *(f"2024-01-{1 + n // 4:02d},{6 * (n % 4)}" for n in range(9)))
    assert np.diff(hours.each[0].times).tolist() == [21600] * 8


def test_parts_of_a_date_in_columns(tmp_path: Path) -> None:
    """Year, month, day and hour; year and quarter; month and day without a year."""
    hours = series(tmp_path, "year,month,day,hour,x", *(f"2024,1,{1 + n // 24},{n % 24}" for n in range(30)))
    assert hours.axis.text(hours.each[0].times[25]) == "2024-01-02T01:00"
    quarters = series(tmp_path, "year,quarter,x", *(f"{1960 + n // 4},{1 + n % 4}" for n in range(9)))
    assert quarters.axis.text(quarters.each[0].times[5]) == "1961-04-01"
    named = series(tmp_path, "year,month,x", *(f"{1949 + n // 2},{('March', 'April')[n % 2]}" for n in range(5)))
    assert named.axis.text(named.each[0].times[1]) == "1949-04-01"
    quarters = series(tmp_path, "year,quarter,x", *(f"{1960 + n // 4},Q{1 + n % 4}" for n in range(9)))
    assert quarters.axis.text(quarters.each[0].times[5]) == "1961-04-01"
    weeks = series(tmp_path, "year,week,x", *(f"{2023 + n // 52},{1 + n % 52}" for n in range(60)))
    assert set(np.diff(weeks.each[0].times)) == {604800.0}
    numbered = series(tmp_path, "year,doy,x", *(f"{2023 + n // 365},{1 + n % 365}" for n in range(340, 390)))
    assert set(np.diff(numbered.each[0].times)) == {86400.0}
    assert numbered.axis.text(numbered.each[0].times[25]) == "2024-01-01"
    whole = series(tmp_path, "year,doy,x", *(f"2023,{n}" for n in range(1, 40)))
    assert whole.axis.text(whole.each[0].times[0]) == "2023-01-01"
    with pytest.raises(DataError, match="line 6: 2023 has no day of year 366; correct the row"):
        series(tmp_path, "year,doy,x", *(f"2023,{n}" for n in range(362, 367)))
    days = series(tmp_path, "Month,Day,x", *(f"{5 + n // 31},{1 + n % 31}" for n in range(40)))
    assert days.each[0].times[[0, 39]].tolist() == [121, 160]
    assert any("no column has the year" in notice for notice in days.notices)


@pytest.mark.parametrize("head", ["year,month,day,time", "year,doy,time", "day,time", "date,time"])
@pytest.mark.parametrize("clock", ["{h:02d}:{m:02d}", "{h}{m:02d}", "{h:02d}{m:02d}"])
@pytest.mark.parametrize("apart", [30, 60])
def test_times_of_day_beside_days(tmp_path: Path, head: str, clock: str, apart: int) -> None:
    """As 13:30 or as 1330, however far apart: hours are even as they stand."""
    moments = [datetime(2024, 1, 30) + timedelta(minutes=apart * n) for n in range(120)]
    parts = {"date": "%Y-%m-%d", "year": "%Y", "month": "%m", "day": "%d", "doy": "%j"}
    days = [p for p in head.split(",") if p in parts]
    if days == ["day"]:
        moments = [moment - timedelta(days=20) for moment in moments]
    texts = [
        ",".join([*(moment.strftime(parts[p]) for p in days), clock.format(h=moment.hour, m=moment.minute)])
        for moment in moments
    ]
    result = series(tmp_path, f"{head},x", *texts)
    assert result.values == ("x",)
    assert len(result.each) == 1
    assert set(np.diff(result.each[0].times)) == {60.0 * apart}


@pytest.mark.parametrize(
    ("head", "row"), [("hour,minute", "{h},{m}"), ("day,hour,minute", "{d},{h},{m}"), ("minute,second", "{m},{s}")]
)
def test_counts_of_time_in_columns(tmp_path: Path, head: str, row: str) -> None:
    """Hours and minutes that begin again are one time, and no names of trajectories."""
    seconds = [3000 + 300 * n for n in range(60)] if "hour" in head else [20 * n for n in range(60)]
    texts = [row.format(d=s // 86400 + 3, h=s // 3600 % 24, m=s // 60 % 60, s=s % 60) for s in seconds]
    result = series(tmp_path, f"{head},x", *texts)
    assert len(result.each) == 1
    assert len(set(np.diff(result.each[0].times))) == 1
    assert result.axis.unit == "hours and minutes"


def test_durations_with_days(tmp_path: Path) -> None:
    """As Python and pandas write them."""
    for head in ("{d} days {h:02d}:00:00", "{d} days {h:02d}:00:00.000000", '"{d} day, {h}:00:00"', "{d}d {h}:00"):
        texts = [head.format(d=n // 24, h=n % 24) for n in range(50)]
        result = series(tmp_path, "elapsed,x", *texts)
        assert set(np.diff(result.each[0].times)) == {3600.0}
    texts = [str(timedelta(hours=n)) for n in range(50)]
    assert set(np.diff(series(tmp_path, "elapsed,x", *(f'"{t}"' for t in texts)).each[0].times)) == {3600.0}


def test_year_and_day_of_the_year_in_one_number(tmp_path: Path) -> None:
    """In a column of dates; elsewhere such numbers are numbers."""
    texts = [(datetime(2023, 12, 20) + timedelta(days=n)).strftime("%Y%j") for n in range(30)]
    result = series(tmp_path, "date,x", *texts)
    assert set(np.diff(result.each[0].times)) == {86400.0}
    assert [result.axis.text(t) for t in result.each[0].times] == texts
    assert result.axis.parse("2024001") == result.axis.parse("2024-01-01")
    assert series(tmp_path, "t,x", *texts).axis.kind == "number"


def test_times_of_day(tmp_path: Path) -> None:
    """Go on after midnight; 930 is half past nine where that spaces the rows evenly, with a column of days."""
    clock = series(tmp_path, "time,x", "22:30", "23:30", "00:30", "01:30")
    assert np.diff(clock.each[0].times).tolist() == [3600] * 3
    assert clock.axis.text(clock.each[0].times[-1]) == "25:30"
    minutes = [520 + 10 * n for n in range(110)]
    packed = series(tmp_path, "day,time,x", *(f"{346 + m // 1440},{m // 60 % 24 * 100 + m % 60}" for m in minutes))
    assert set(np.diff(packed.each[0].times)) == {600.0}


def test_numbers_that_stand_for_dates(tmp_path: Path) -> None:
    """Days of a spreadsheet, years with fractions, and year.month, where .1 is October."""
    days = series(tmp_path, "Date,x", *(f"{45292 + n / 4}" for n in range(9)))
    assert days.axis.unit == "days since 1899-12-30"
    assert days.axis.parse("2024-01-02") == 45293
    years = series(tmp_path, "time,x", *(f"{1949 + n / 12:.6f}" for n in range(20)))
    assert years.axis.unit == "years"
    months = series(
        tmp_path, "Date,x", *(f"{1871 + (n // 12)}.{n % 12 + 1:02d}".replace(".10", ".1") for n in range(30))
    )
    assert months.axis.text(months.each[0].times[9]) == "1871.10"
    assert months.axis.text(months.each[0].times[10]) == "1871.11"


def test_until() -> None:
    """In the file's own units, or as a date; other texts are refused with an example."""
    hours = TimeAxis("hour", "number", "hours")
    assert hours.parse(" 216 ") == 216
    for axis, text in (
        (hours, "2024-01-31"),
        (hours, "5 parsec"),
        (hours, "nan"),
        (TimeAxis("d", "date", "dates"), "soon"),
    ):
        with pytest.raises(InvalidArgument):
            axis.parse(text)
    assert TimeAxis("d", "date", "dates", "%Y-%m-%d").parse("2030") == TimeAxis("d", "date", "dates").parse(
        "2030-01-01"
    )
    german = TimeAxis("Zeit", "date", "dates", "%d.%m.%Y %H:%M")
    assert german.parse("13.04.2024 10:00") == german.parse("2024-04-13T10:00:00")


@given(st.floats(-1e12, 1e12), st.sampled_from(["", "integer"]))
def test_numbers_survive(time: float, style: str) -> None:
    """The text of a number is that number to twelve digits."""
    axis = TimeAxis("t", "number", "hours", style)
    assert axis.parse(axis.text(time)) == pytest.approx(time, rel=1e-11, abs=1e-300)


def test_an_order_of_dates_that_is_given(tmp_path: Path) -> None:
    """Decides what the dates leave open."""
    texts = [f"0{n}/02/2024" for n in range(1, 7)]
    for order, last in (("dmy", "2024-02-06"), ("mdy", "2024-06-02")):
        each = series(tmp_path, "date,x", *texts, date_order=order)
        assert each.axis.text(float(each.each[0].times[-1])) == last


def test_nanoseconds_without_digits_of_their_rounding() -> None:
    """They have more digits than a float64, so the shortest number that means the same is written."""
    axis = TimeAxis("t", "number", "nanoseconds since 1970", "integer", 1e-9)
    assert axis.text(1690000001995000000.0) == "1690000001995000000"
    assert axis.text(1690000001995000000.0 + 256) == "1690000001995000300"
    assert float(axis.text(1690000001995000000.0 + 256)) == 1690000001995000000.0 + 256
