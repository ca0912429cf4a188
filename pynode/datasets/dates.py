"""Dates and times of day in the cells of a column: how they are written, and seconds since 1970-01-01 UTC."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

import numpy as np

from pynode.datasets.date_order import ORDERS, Order, chosen_order
from pynode.datasets.splits import Array

DAY = 86400.0
EPOCH = date(1970, 1, 1).toordinal()
HOURS: dict[str, float] = {
    **dict.fromkeys(("z", "utc", "gmt", "wet"), 0),
    **dict.fromkeys(("cet", "mez", "bst", "west"), 1),
    **dict.fromkeys(("cest", "mesz", "eet"), 2),
    "est": -5,
    "edt": -4,
    "cst": -6,
    "cdt": -5,
    "mst": -7,
    "mdt": -6,
    "pst": -8,
    "pdt": -7,
}
"""Hours ahead of UTC by the names of zones."""
MONTHS = {
    name: number
    for number, names in enumerate(
        [
            "jan januar january",
            "feb februar february",
            "mar mär mrz märz maerz march",
            "apr april",
            "may mai",
            "jun juni june",
            "jul juli july",
            "aug august",
            "sep sept september",
            "oct okt oktober october",
            "nov november",
            "dec dez dezember december",
        ],
        1,
    )
    for name in names.split()
}

_ZONE = r"(?:\s*(?P<zone>" + "|".join(sorted(HOURS, key=len, reverse=True)) + r"|(?:utc|gmt)?[+-]\d\d(?::?\d\d)?))?"
_MINUTES = r"(?::(?P<minute>\d\d)(?::(?P<second>\d\d(?:[.,]\d*)?))?)"
_HALF = r"(?:\s*(?P<half>[ap])\.?m\.?)?(?:\s*uhr)?"
_DAYS = r"(?:(?P<days>\d{1,5})\s*(?:days?|d|tage?)(?:,\s*|\s+))?"
_CLOCK = _DAYS + r"(?P<hour>\d{1,3})" + _MINUTES + _HALF
_TIME = r"(?:(?P<gap>t|,?\s+|_|-(?=\d\d:))(?P<hour>\d{1,2})" + _MINUTES + "?" + _HALF + _ZONE + ")?"
_NAME = r"(?P<name>[a-zäé]{3,9})\.?"
_WEEKDAY = r"(?:(?:mon?|tue?s?|wed?(?:nes)?|thu?r?s?|fri?|sat?(?:ur)?|sun?|di|mi|do|fr|sa|so)(?:day)?\.?,?\s+)?"
FAMILIES: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in {
        "year first": r"(?P<year>\d{4})(?P<sep>[-/.])(?P<month>\d{1,2})(?P=sep)(?P<day>\d{1,2})" + _TIME,
        "numbers": r"(?P<a>\d{1,2})(?P<sep>[-/.])\s?(?P<b>\d{1,2})(?P=sep)\s?(?P<c>\d{4}|\d\d)" + _TIME,
        "compact": r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?:(?P<gap>t|_|-|\s?)(?P<hour>\d\d):?(?P<minute>\d\d)"
        r"(?::?(?P<second>\d\d(?:\.\d*)?))?" + _ZONE + ")?",
        "month": r"(?P<year>\d{4})[-/m](?P<month>\d{1,2})|(?P<month2>\d{1,2})[-/.](?P<year2>\d{4})",
        "quarter": r"(?P<year>\d{4})[-/ .]?q(?P<quarter>[1-4])|q(?P<quarter2>[1-4])[-/ .]?(?P<year2>\d{4})"
        r"|(?P<quarter3>[1-4])[-.]?\s?q[-/ .]?(?P<year3>\d{4})",
        "week": r"(?P<year>\d{4})[-/ ]?\s?(?:w|kw|week)\s?(?P<week>\d\d?)(?:-(?P<weekday>[1-7]))?"
        r"|(?:w|kw|week)\s?(?P<week2>\d\d?)[-/ ]\s?(?P<year2>\d{4})",
        "named day": _WEEKDAY + r"(?P<day>\d{1,2})\.?[- /]?\s?" + _NAME + r",?[- /]?(?P<year>\d{4}|\d\d)" + _TIME,
        "day named": _WEEKDAY + _NAME + r"[-\s]?(?P<day>\d{1,2})(?:,?\s|-)(?P<year>\d{4})" + _TIME,
        "named month": _NAME + r"[- /']?\s?(?P<year>\d{4}|\d\d)|(?P<year2>\d{4})[- /]?(?P<name2>[a-zäé]{3,9})\.?",
        "clock": _CLOCK,
    }.items()
}
"""Ways to write a date, or a time of day; the first that fits the cells of a column is taken."""
Numbers: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Dates:
    """A column of dates: `values` `(cells,)`, seconds since 1970-01-01 UTC, NaN where a cell is missing or wrong.

    Of the family "clock" they are seconds since midnight.  `wrong` are the cells that are no dates, `problem` says why
    the column can't be read at all, "" where it can.  `has_time`: whether any cell has a time of day; `zoned` whether
    all of these have a zone.  `order` is that of day, month and year where numbers alone leave it open, and None else.
    """

    values: Array
    family: str
    style: str
    wrong: tuple[int, ...] = ()
    problem: str = ""
    notice: str = ""
    has_time: bool = False
    zoned: bool = False
    order: Order | None = None


def read_dates(cells: Sequence[str], is_missing: Callable[[str], bool], given: Order | None = None) -> Dates | None:
    """The dates in `cells`; None where fewer than half of the cells that are not missing look like dates.

    `given` is the order of day, month and year in dates such as 03/04/2024; without one, the column decides it.
    """
    texts = [cell.strip() for cell in cells]
    present = [n for n, text in enumerate(texts) if text and not is_missing(text)]
    family = _family([texts[n] for n in present])
    if family is None:
        return None
    matches = {n: match for n in present if (match := FAMILIES[family].fullmatch(texts[n]))}
    wrong = [n for n in present if n not in matches]
    order, notice, problem = given or "dmy", "", ""
    if family == "numbers" and given is None:
        order, notice, problem = _order(matches)
    values = np.full(len(texts), math.nan)
    if not problem:
        for n, match in matches.items():
            seconds = _seconds(match, family, order)
            values[n] = math.nan if seconds is None else seconds
            if seconds is None:
                wrong.append(n)
    timed = [match for match in matches.values() if match.groupdict().get("hour")]
    with_zone = [bool(match.groupdict().get("zone")) for match in timed]
    zoned = bool(timed) and all(with_zone)
    if any(with_zone) and not zoned and not problem:
        problem = _zones_differ(timed[with_zone.index(True)][0], timed[with_zone.index(False)][0])
    style = _style(family, order, list(matches.values()), timed)
    decided = order if family == "numbers" and (given is not None or notice) else None
    return Dates(values, family, style, tuple(sorted(wrong)), problem, notice, bool(timed), zoned, decided)


def _family(texts: list[str]) -> str | None:
    """The way in which most cells are written; None where it is no date."""
    if not texts:
        return None
    sample = texts if len(texts) <= 400 else [*texts[:200], *texts[-200:]]
    counts = {name: sum(_fits(name, pattern, text) for text in sample) for name, pattern in FAMILIES.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] >= max(1, len(sample) / 2) else None


def is_dated(cell: str) -> bool:
    """Whether a cell looks like a date, months by name included, or like a time of day."""
    text = cell.strip()
    return any(_fits(name, pattern, text) for name, pattern in FAMILIES.items())


def _fits(family: str, pattern: re.Pattern[str], text: str) -> bool:
    match = pattern.fullmatch(text)
    if match is None:
        return False
    names = [match[name] for name in ("name", "name2") if match.groupdict().get(name)]
    if family == "compact" and not 1 <= int(match["month"]) <= 12:
        return False
    return all(name.lower() in MONTHS for name in names)


def _order(matches: dict[int, re.Match[str]]) -> tuple[Order, str, str]:
    """Order of day, month and year over the whole column, what to say about it, and why there is none."""
    numbers = [(int(m["a"]), int(m["b"]), int(m["c"])) for m in matches.values()]
    first = next(iter(matches.values()))

    def seconds(order: Order) -> list[float | None]:
        return [_seconds(match, "numbers", order) for match in matches.values()]

    return chosen_order(numbers, len(first["c"]) == 4, first["sep"], first[0], seconds)


def _zones_differ(zoned: str, bare: str) -> str:
    return f"{zoned!r} has an offset from UTC, or a zone, and {bare!r} has none: write all times with one, or none"


def _seconds(match: re.Match[str], family: str, order: Order) -> float | None:
    """Seconds since 1970 of a cell; None where there is no such day or time."""
    parts = match.groupdict()
    clock = _clock(parts)
    if family == "clock":
        return clock
    day = _day(parts, family, order)
    if day is None or clock is None or clock > DAY:
        return None
    return (day - EPOCH) * DAY + clock - _offset(parts.get("zone")) * 3600


def _day(parts: dict[str, str | None], family: str, order: Order) -> int | None:
    """Ordinal number of the day in a cell."""

    def part(*names: str) -> str:
        return next((value for name in names if (value := parts.get(name))), "")

    try:
        if family == "numbers":
            where = ORDERS[order]
            year, month, day = (part("abc"[n]) for n in where)
            return date(_year(year), int(month), int(day)).toordinal()
        year = part("year", "year2", "year3")
        if family == "week":
            return date.fromisocalendar(int(year), int(part("week", "week2")), int(part("weekday") or 1)).toordinal()
        if family == "quarter":
            return date(int(year), 3 * int(part("quarter", "quarter2", "quarter3")) - 2, 1).toordinal()
        named = part("name", "name2").lower()
        month_number = MONTHS.get(named, 0) if named else int(part("month", "month2"))
        return date(_year(year), month_number, int(part("day") or 1)).toordinal()
    except ValueError:
        return None


def _year(text: str) -> int:
    """A year of two digits lies between 1969 and 2068, as in POSIX."""
    return int(text) if len(text) > 2 else int(text) + (1900 if int(text) > 68 else 2000)


def _clock(parts: dict[str, str | None]) -> float | None:
    """Seconds since midnight; None where there is no such time."""
    if not parts.get("hour"):
        return 0.0
    hour, minute = int(parts["hour"] or 0), int(parts.get("minute") or 0)
    second = float((parts.get("second") or "0").replace(",", "."))
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half.lower() == "p" else 0)
    if minute > 59 or second >= 61:
        return None
    return DAY * int(parts.get("days") or 0) + 3600.0 * hour + 60.0 * minute + second


def _offset(zone: str | None) -> float:
    """Hours ahead of UTC."""
    if not zone:
        return 0.0
    name = zone.lower()
    if name in HOURS:
        return HOURS[name]
    digits = re.sub(r"utc|gmt|:", "", name)
    hours = int(digits[1:3]) + int(digits[3:5] or 0) / 60
    return -hours if digits[0] == "-" else hours


def _style(family: str, order: Order, matches: list[re.Match[str]], timed: list[re.Match[str]]) -> str:
    """How `pynode.datasets.date_styles` writes such dates."""
    if family == "clock":
        return "clock"
    seconds = any(match.groupdict().get("second") for match in timed)
    first = timed[0].groupdict() if timed else {}
    if family == "compact":
        gap = first.get("gap") or ""
        time = ("%H%M%S" if seconds else "%H%M") if timed else ""
        return "%Y%m%d" + gap.upper() + time
    plain = bool(timed) and not seconds and not first.get("half") and not first.get("zone")
    if family == "numbers" and plain and (matches[0]["sep"], order, len(matches[0]["c"])) == (".", "dmy", 4):
        return "%d.%m.%Y %H:%M"
    if not timed:
        return "%Y-%m-%d"
    gap = " " if (first.get("gap") or "").strip() != "T" else "T"
    zone = ""
    if all(match.groupdict().get("zone") for match in timed):
        last = timed[-1]["zone"]
        zone = "Z" if last.lower() == "z" else _iso_offset(_offset(last))
    return f"%Y-%m-%d{gap}%H:%M" + (":%S" if seconds else "") + zone


def _iso_offset(hours: float) -> str:
    minutes = round(abs(hours) * 60)
    return f"{'-' if hours < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
