"""The times of the rows of a table, from one column or from several: date and time of day, year and month."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np

from pynode.datasets.date_styles import EPIWEEK, seconds_of
from pynode.datasets.dates import MONTHS
from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.trajectories.axis import SECONDS, TimeAxis, compact_seconds, unit_in, words_of

DAY = 86400.0
STAMPS = (("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))
EXCEL = -25569 * DAY
"""The day 0 of spreadsheets, 1899-12-30, in seconds since 1970."""
DATE_WORDS = {"date", "datum", "datetime", "timestamp", "zeitpunkt", "zeitstempel", "day", "tag"}
CLOCK_WORDS = {"time", "hhmm", "clock", "uhrzeit", "zeit", "hour"}
QUANTITY = r"[-+]?[\d.,]+\s*([^\W\d]+)"
"""A cell that holds a number with a unit, and the unit."""
PARTS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")
RANGES = {
    "year": (1500, 2200),
    "quarter": (1, 4),
    "month": (1, 12),
    "week": (1, 53),
    "day": (1, 31),
    "day of year": (1, 366),
    "hour": (0, 24),
    "minute": (0, 60),
    "second": (0, 60),
}
"""The least and the largest number of each part of a date."""
PART_OF = {
    **{part: part for part in PARTS},
    "yr": "year",
    "jahr": "year",
    "mon": "month",
    "monat": "month",
    "mo": "month",
    "tag": "day",
    "dd": "day",
    "mm": "month",
    "yyyy": "year",
    "yy": "year",
    "hr": "hour",
    "hh": "hour",
    "stunde": "hour",
    "min": "minute",
    "qtr": "quarter",
    "quartal": "quarter",
    "dom": "day",
    "sec": "second",
    "minuten": "minute",
    "wk": "week",
    "woche": "week",
    "kw": "week",
    "isoweek": "week",
    "iso_week": "week",
    "doy": "day of year",
    "yday": "day of year",
    "jday": "day of year",
    "dayofyear": "day of year",
    "day_of_year": "day of year",
}
"""Columns that are parts of a date, by their names in lower case."""
QUARTER = re.compile(r"q(?:uarter|uartal)?\W?([1-4])|([1-4])\W{0,2}q(?:uarter|uartal)?", re.IGNORECASE)
"""A quarter of a year in words: Q1, 1. Quartal."""


@dataclass(frozen=True)
class Times:
    """Time of each row `(rows,)`, NaN where it is missing, the columns it is from, and what to say about it."""

    values: Array
    axis: TimeAxis
    columns: tuple[Column, ...]
    notices: tuple[str, ...] = ()


def times_of(frame: Frame, columns: Sequence[Column]) -> Times:
    """The times in one column, or in several that belong together; raises `DataError` where there are none."""
    columns = [as_part(column) for column in columns] if len(columns) > 1 else columns
    for column in columns:
        if column.trouble:
            raise DataError(column.trouble)
        if column.kind == "text":
            row = next((n for n, cell in enumerate(column.cells or ()) if cell), 0)
            raise DataError(f"{frame.place(row)}, {column.label}: {_no_time((column.cells or ('',))[row])}")
    if len(columns) > 1:
        return _joined(frame, columns)
    return _single(columns[0])


def _no_time(cell: str) -> str:
    """Why a cell is no time, and what to write."""
    if match := re.fullmatch(QUANTITY, cell):
        known = "a unit that other cells don't have" if unit_in(match[1]) else "no unit of time"
        return f"'{cell}' has {known} ('{match[1]}'); write numbers in one unit, and the unit in the column's name"
    return f"'{cell[:40]}' is neither a number nor a date; write times as numbers, or as dates such as 2024-01-31T12:00"


def as_part(column: Column) -> Column:
    """A column called month or quarter with words such as Feb or Q2 as one of numbers; any other as it is."""
    names = [cell.lower() for cell in column.cells or ()]
    part = PART_OF.get(column.name.lower())
    if column.kind != "text" or part not in ("month", "quarter") or not any(names):
        return column
    if part == "quarter":
        known = {name: int(m[1] or m[2]) for name in set(names) if (m := QUARTER.fullmatch(name))}
    else:
        known = MONTHS
    if not all(name in known for name in names if name):
        return column
    values = np.array([float(known[name]) if name else math.nan for name in names])
    return Column(column.name, column.number, "number", values)


def row_numbers(frame: Frame) -> Times:
    """Rows at equal distances, where no column holds times."""
    axis = TimeAxis("row", "number", "rows", "integer")
    notice = "no column holds times: the rows are taken as equally spaced, and the time is their number (from 0)"
    return Times(np.arange(len(frame), dtype=np.float64), axis, (), (notice,))


def _single(column: Column) -> Times:
    values, name = column.values, column.key
    if column.kind == "date":
        if column.style == "clock":
            return Times(values, TimeAxis(name, "date", "hours and minutes", "clock", 1.0), (column,))
        zoned = column.style.endswith("Z") or column.style[-6:-5] in ("+", "-")
        timed = bool((values[np.isfinite(values)] % DAY != 0).any())
        said = () if zoned or not timed else ("times have no zone and are read as UTC",)
        return Times(values, TimeAxis(name, "date", "dates", column.style, 1.0), (column,), said)
    present = values[np.isfinite(values)]
    whole = bool((present == np.round(present)).all()) and present.size > 0
    style = "integer" if whole else ""
    if whole and (dates := _dates_as_numbers(values, column)) is not None:
        return dates
    if (stamp := _stamps(present)) is not None:
        unit, factor = stamp
        told = f"{unit} since 1970"
        return Times(values, TimeAxis(name, "number", told, style, 1 / factor), (column,))
    if (months := _year_and_month(values, column)) is not None:
        return months
    unit = unit_in(column.name, column.unit) or _years(present)
    words = set(words_of(column.name))
    if present.size and present.min() > 15000 and present.max() < 80000 and words & DATE_WORDS and unit in ("", "days"):
        axis = TimeAxis(name, "number", "days since 1899-12-30", style, DAY, EXCEL)
        return Times(values, axis, (column,), (f"{column.label} is read as dates of a spreadsheet, in days",))
    if present.size and present.min() > 1500 and present.max() < 2200 and (unit == "years" or words & DATE_WORDS):
        length = 365.25 * DAY
        return Times(values, TimeAxis(name, "number", "years", style, length, -1970 * length), (column,))
    return Times(values, TimeAxis(name, "number", unit or f"units of {column.name or 'time'}", style), (column,))


def _stamps(present: Array) -> tuple[str, float] | None:
    """The unit of numbers that count from 1970, by their size: between 1978 and 2100; None where they don't."""
    if not present.size:
        return None
    for unit, factor in STAMPS:
        if 2.5e8 * factor <= present.min() and present.max() <= 4.2e9 * factor:
            return unit, factor
    return None


def _years(present: Array) -> str:
    """ "years" for numbers between 1600 and 2200 in steps of months or quarters, as R's time series have; else ""."""
    if not present.size or present.min() < 1600 or present.max() > 2200 or (present == np.round(present)).all():
        return ""
    return "years" if (np.abs(present * 12 - np.round(present * 12)) < 0.02).all() else ""


COMPACT = (
    (8, 1700, "%Y%m%d"),
    (10, 1900, "%Y%m%d%H"),
    (12, 1700, "%Y%m%d%H%M"),
    (14, 1700, "%Y%m%d%H%M%S"),
    (6, 1700, "%Y%m"),
    (6, 1900, EPIWEEK),
    (6, 1900, "%G%V"),
    (7, 1700, "%Y%j"),
)
"""Digits of dates such as 20040131 (or 200405, by the week, or 2004031, by the day of the year), the first year that is
believed, and their style."""
WEEKS = frozenset(("week", "yearweek", "weekyear", "yw", "yyyyww", "isoweek", "kw", "woche"))
"""What columns of years and weeks are called."""
EPIWEEKS = frozenset(("epiweek", "epi", "mmwr", "mmwrweek"))
"""The same of weeks that begin on Sundays, as epidemiologists count them."""


def _dates_as_numbers(values: Array, column: Column) -> Times | None:
    """Dates such as 20040131, 2004013112 (with the hour) and 200401; None for other whole numbers."""
    present = values[np.isfinite(values)]
    name, words = column.key, set(words_of(column.name))
    for digits, first, style in COMPACT:
        scale = 10.0 ** (digits - 4)
        if present.min() < first * scale or present.max() >= 2201 * scale:
            continue
        if style == "%Y%m" and not words & (DATE_WORDS | {"month", "period", "yyyymm"}):
            continue
        if style == EPIWEEK and not words & EPIWEEKS:
            continue
        if style == "%G%V" and not words & WEEKS:
            continue
        if style == "%Y%j" and not words & (DATE_WORDS | {"doy", "yyyyddd", "yyyyjjj", "julian", "jday"}):
            continue
        seconds = [math.nan if math.isnan(v) else compact_seconds(f"{int(v)}", style) for v in values.tolist()]
        if None not in seconds:
            told = f"{column.label} is read as dates such as {int(present[0])}"
            array = np.array(seconds, dtype=np.float64)
            return Times(array, TimeAxis(name, "date", "dates", style, 1.0), (column,), (told,))
    return None


def _year_and_month(values: Array, column: Column) -> Times | None:
    """Years and months such as 2004.07, where .1 is October; None for other numbers."""
    present = values[np.isfinite(values)]
    if present.size < 12 or present.min() < 1500 or present.max() > 2200:
        return None
    months = (present % 1) * 100
    if (np.abs(months - np.round(months)) > 1e-6).any() or set(np.round(months).tolist()) != set(range(1, 13)):
        return None
    seconds = [
        math.nan if math.isnan(v) else seconds_of(f"{int(v)}-{round(v % 1 * 100):02d}-01") for v in values.tolist()
    ]
    told = f"{column.label} is read as year and month ({present[0]:.2f})"
    axis = TimeAxis(column.key, "date", "dates", "%Y.%m", 1.0)
    return Times(np.array(seconds, dtype=np.float64), axis, (column,), (told,))


def hours_and_minutes(column: Column, *, beside_days: bool = False) -> Array | None:
    """Seconds since midnight of numbers such as 930 for half past nine; None for other numbers.

    They are taken for such where this spaces them more evenly than the numbers themselves, or, `beside_days`, where
    they are no hours or minutes alone.
    """
    values = column.values
    present = values[np.isfinite(values)]
    if column.kind != "number" or present.size < 10 or not set(words_of(column.name)) & CLOCK_WORDS:
        return None
    if (present != np.round(present)).any() or present.min() < 0 or present.max() > 2400 or (present % 100 > 59).any():
        return None
    seconds = np.asarray((values // 100) * 3600 + (values % 100) * 60)
    if beside_days and present.max() >= 100:
        return seconds
    return seconds if _unevenness(seconds) < 0.5 * _unevenness(values) else None


def _unevenness(values: Array) -> float:
    steps = [b - a for a, b in pairwise(values[np.isfinite(values)].tolist()) if b > a]
    return max(steps) / min(steps) if steps else 1.0


def _joined(frame: Frame, columns: Sequence[Column]) -> Times:
    """The times that several columns give together."""
    dates = [c for c in columns if c.kind == "date" and c.style != "clock"]
    clocks = [c for c in columns if c.kind == "date" and c.style == "clock"]
    numbers = [c for c in columns if c.kind == "number"]
    told = " and ".join(repr(c.key) for c in columns)
    name = columns[0].key
    notices = [f"the time is taken from the columns {told} together"]
    if len(dates) == 1 and len(clocks) + len(numbers) <= 2:
        seconds = dates[0].values.copy()
        for clock in clocks:
            seconds = seconds + clock.values
        for number in numbers:
            seconds = seconds + _part_seconds(frame, number)
        notices.append("times have no zone and are read as UTC")
        return Times(seconds, TimeAxis(name, "date", "dates", "%Y-%m-%dT%H:%M", 1.0), tuple(columns), tuple(notices))
    parts = {PART_OF.get(c.name.lower(), ""): c for c in numbers}
    if DAYS & set(parts) and "" in parts and hours_and_minutes(parts[""], beside_days=True) is not None:
        numbers.remove(packed_clock := parts.pop(""))
        clocks.append(replace(packed_clock, kind="date", style="clock", values=_part_seconds(frame, packed_clock)))
    packed = [c for c in numbers if hours_and_minutes(c) is not None]
    if len(numbers) == 2 and not dates and not clocks and len(packed) == 1:
        days = next(c for c in numbers if c is not packed[0]).values
        seconds = (days - np.nanmin(days)) * DAY + hours_and_minutes(packed[0])
        return Times(seconds, TimeAxis(name, "date", "hours and minutes", "clock", 1.0), tuple(columns), tuple(notices))
    if (
        "" in parts
        or len(parts) < len(numbers)
        or dates
        or len(clocks) > 1
        or not (DAYS & set(parts) or {"hour", "minute"} <= set(parts) or {"minute", "second"} <= set(parts))
    ):
        raise DataError(
            f"{frame.path}: the columns {told} give no time together; name one column of dates, one of dates and one "
            "of times of day, or columns called year, month, day, hour, minute"
        )
    if set(parts) == {"month", "day"} and not clocks:
        days = _days(np.full(len(frame), 1971.0), parts, frame) - _day_number(1971)
        notices.append("no column has the year: the time is the day of the year")
        return Times(days + 1, TimeAxis("day", "number", "days", "integer"), tuple(columns), tuple(notices))
    if "year" not in parts:
        return _elapsed(frame, parts, clocks, columns, notices)
    seconds = _days(parts["year"].values, parts, frame) * DAY
    for part in ("hour", "minute", "second"):
        if part in parts:
            seconds = seconds + parts[part].values * SECONDS_OF[part]
    for clock in clocks:
        seconds = seconds + clock.values
    timed = bool(clocks) or bool({"hour", "minute", "second"} & set(parts))
    style = "%Y-%m-%dT%H:%M" if timed else "%Y-%m-%d"
    if all(column.name.lower() != "date" for column in frame.columns):
        name = "date"
    return Times(seconds, TimeAxis(name, "date", "dates", style, 1.0), tuple(columns), tuple(notices))


SECONDS_OF = {part: float(SECONDS[f"{part}s"] or 0) for part in ("day", "hour", "minute", "second")}
DAYS = {"year", "month", "day", "day of year"}
"""Parts that a time of day may stand beside."""


def _elapsed(
    frame: Frame, parts: dict[str, Column], clocks: list[Column], columns: Sequence[Column], notices: list[str]
) -> Times:
    """Days (from the first on), hours and minutes without a year."""
    if {"month", "quarter", "week"} & set(parts):
        raise DataError(f"{frame.path}: the time has no year; add a column called year")
    if "day of year" in parts:
        parts = {"day": parts["day of year"], **{part: c for part, c in parts.items() if part != "day of year"}}
    seconds = np.zeros(len(frame))
    for unit, counter in parts.items():
        seconds = seconds + (counter.values - (np.nanmin(counter.values) if unit == "day" else 0)) * SECONDS_OF[unit]
    for clock in clocks:
        seconds = seconds + clock.values
    axis = TimeAxis(columns[0].key, "date", "hours and minutes", "clock", 1.0)
    return Times(seconds, axis, tuple(columns), tuple(notices))


def _part_seconds(frame: Frame, column: Column) -> Array:
    """Seconds since midnight of a column of hours, of minutes, or of numbers such as 930."""
    if (seconds := hours_and_minutes(column, beside_days=True)) is not None:
        return seconds
    part = PART_OF.get(column.name.lower(), "")
    if part not in ("hour", "minute", "second"):
        raise DataError(
            f"{frame.path}: {column.label} is no time of day; give times such as 12:30, or call it hour or minute"
        )
    return np.asarray(column.values * SECONDS_OF[part])


def _days(years: Array, parts: dict[str, Column], frame: Frame) -> Array:
    """Days since 1970 of year, month (or quarter) and day, of year and day of the year, or of year and ISO week."""
    if "day of year" in parts or "week" in parts:
        return _days_of_year(years, parts, frame)
    months = parts["month"].values if "month" in parts else np.ones(len(frame))
    if "quarter" in parts:
        months = 3 * parts["quarter"].values - 2
    days = parts["day"].values if "day" in parts else np.ones(len(frame))
    result = np.full(len(frame), math.nan)
    for row in range(len(frame)):
        if np.isfinite((years[row], months[row], days[row])).all():
            seconds = seconds_of(f"{int(years[row]):04d}-{int(months[row]):02d}-{int(days[row]):02d}")
            if seconds is None:
                told = f"{years[row]:g}-{months[row]:g}-{days[row]:g}"
                raise DataError(f"{frame.place(row)}: {told} is no date (year-month-day); correct the row")
            result[row] = seconds / DAY
    return result


def _days_of_year(years: Array, parts: dict[str, Column], frame: Frame) -> Array:
    """Days since 1970 of year and day of the year, or of year and ISO week: its Monday."""
    part = "day of year" if "day of year" in parts else "week"
    counts = parts[part].values
    result = np.full(len(frame), math.nan)
    for row in range(len(frame)):
        if not np.isfinite((years[row], counts[row])).all():
            continue
        year, count = int(years[row]), int(counts[row])
        try:
            day = date.fromisocalendar(year, count, 1) if part == "week" else day_of_year(year, count)
        except ValueError as error:
            raise DataError(f"{frame.place(row)}: {year} has no {part} {count}; correct the row") from error
        result[row] = (day - date(1970, 1, 1)).days
    return result


def day_of_year(year: int, day: int) -> date:
    """The day `day`, from 1 on, of a year; raises `ValueError` for one that the year lacks."""
    result = date(year, 1, 1) + timedelta(days=day - 1)
    if day < 1 or result.year != year:
        raise ValueError(day)
    return result


def _day_number(year: int) -> float:
    return float(seconds_of(f"{year}-01-01") or 0) / DAY
