"""Dates as text: written as a file writes them, and read where a user gives one."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

from pynode.datasets.dates import DAY, read_dates

EPOCH = datetime(1970, 1, 1)
EPIWEEK = "epiweek"
"""The style of years and weeks such as 201453 where weeks begin on Sundays, as those of the CDC (MMWR)."""


def seconds_of(text: str) -> float | None:
    """Seconds since 1970-01-01 UTC of one date (ISO 8601, or day.month.year); None where `text` is none."""
    dates = read_dates([text], lambda _: False)
    if dates is None or dates.problem or dates.wrong:
        return None
    return float(dates.values[0])


def written(seconds: float, style: str) -> str:
    """A time as a file of this style writes it; with more of the time of day than the file has, where it is needed."""
    if not math.isfinite(seconds):
        return ""
    if style == "clock":
        return _clock(seconds)
    pattern, zone = _split_zone(style or "%Y-%m-%d")
    moment = EPOCH + timedelta(seconds=round((seconds + _minutes(zone) * 60) * 1e6) / 1e6)
    if pattern in ("%Y%m", "%Y.%m") and moment.day == 1 and moment.hour == 0:
        return moment.strftime(pattern)
    if pattern == "%G%V" and moment.weekday() == 0 and seconds % DAY == 0:
        return moment.strftime(pattern)
    if pattern == EPIWEEK and moment.weekday() == 6 and seconds % DAY == 0:
        year = (moment + timedelta(days=3)).year  # that of its Wednesday
        return f"{year:04d}{(moment - _first_epiweek(year)).days // 7 + 1:02d}"
    if pattern == "%Y%j" and seconds % DAY == 0:
        return moment.strftime(pattern)
    iso = pattern.startswith("%Y-")
    if not _exact(moment, pattern):
        if not iso:
            pattern = "%Y-%m-%dT%H:%M"
        pattern = pattern[: len("%Y-%m-%d")] + (pattern[len("%Y-%m-%d")] if "%H" in pattern else "T")
        pattern += "%H:%M:%S" if moment.second or moment.microsecond else "%H:%M"
        if moment.microsecond:
            pattern += f".{moment.microsecond:06d}".rstrip("0")
    return _strftime(moment, pattern) + zone


def epiweek_seconds(year: int, week: int) -> float | None:
    """Seconds since 1970 of the Sunday that a week of the CDC begins on; None where the year has no such week."""
    first, after = _first_epiweek(year), _first_epiweek(year + 1)
    begins = first + timedelta(weeks=week - 1)
    return (begins - EPOCH).total_seconds() if first <= begins < after else None


def _first_epiweek(year: int) -> datetime:
    """The Sunday of the first week that has four days or more in a year: that of January 4."""
    fourth = datetime(year, 1, 4)
    return fourth - timedelta(days=fourth.isoweekday() % 7)


def _strftime(moment: datetime, pattern: str) -> str:
    # strftime writes years before 1000 without leading zeros on some systems
    return moment.strftime(pattern.replace("%Y", f"{moment.year:04d}"))


def _exact(moment: datetime, pattern: str) -> bool:
    """Whether the pattern writes the day and all of the time of day."""
    if "%d" not in pattern:
        return False
    if moment.microsecond:
        return False
    if moment.second and "%S" not in pattern:
        return False
    if moment.minute and "%M" not in pattern:
        return False
    return "%H" in pattern or not moment.hour


def _split_zone(style: str) -> tuple[str, str]:
    if style.endswith("Z"):
        return style[:-1], "Z"
    if len(style) > 6 and style[-3] == ":" and style[-6] in "+-":
        return style[:-6], style[-6:]
    return style, ""


def _minutes(zone: str) -> int:
    if zone in ("", "Z"):
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes


def _clock(seconds: float) -> str:
    """Hours (above 24 where a day is over), minutes and, where they are not 0, seconds."""
    whole = round(seconds * 1e6)
    minutes, micro = divmod(abs(whole), 60_000_000)
    text = f"{'-' if whole < 0 else ''}{minutes // 60:02d}:{minutes % 60:02d}"
    if not micro:
        return text
    return f"{text}:{micro // 1_000_000:02d}" + (f".{micro % 1_000_000:06d}".rstrip("0") if micro % 1_000_000 else "")


def utc(seconds: float) -> datetime:
    """The moment, with its zone."""
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)


__all__ = ["DAY", "seconds_of", "utc", "written"]
