"""The times of a file: how they are written, in which unit, and the way from text to numbers and back."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pynode.datasets.date_styles import EPIWEEK, epiweek_seconds, seconds_of, written
from pynode.errors import InvalidArgument

SECONDS: dict[str, float | None] = {
    "nanoseconds": 1e-9,
    "microseconds": 1e-6,
    "milliseconds": 1e-3,
    "seconds": 1.0,
    "minutes": 60.0,
    "hours": 3600.0,
    "days": 86400.0,
    "weeks": 7 * 86400.0,
    "months": None,
    "quarters": None,
    "years": None,
}
"""Units of time and their lengths in seconds; None where these differ."""
_WORDS = {
    "nanoseconds": "ns nsec nanosecond nanoseconds",
    "microseconds": "us µs μs usec microsecond microseconds micros",
    "milliseconds": "ms msec millisecond milliseconds millis",
    "seconds": "s sec secs second seconds sekunde sekunden",
    "minutes": "min mins minute minutes minuten",
    "hours": "h hr hrs hour hours std stunde stunden",
    "days": "d day days dy tag tage",
    "weeks": "w wk wks week weeks woche wochen",
    "months": "mo month months monat monate",
    "quarters": "quarter quarters quartal quartale",
    "years": "y yr yrs year years jahr jahre",
}
UNIT_OF = {word: unit for unit, words in _WORDS.items() for word in words.split()}
"""Words and signs of units of time."""


@dataclass(frozen=True)
class TimePart:
    """What one of several columns says of a time: its date, its time of day ("clock"), or a number of it ("hour")."""

    column: str
    kind: str
    style: str = ""


@dataclass(frozen=True)
class TimeAxis:
    """Times of a file: how they are written, their unit, and their way to and from numbers.

    `unit` is in words: "milliseconds since 1970", "days", "units of hour".  Numbers of the kind "date" are seconds
    since 1970 UTC (of the style "clock": since midnight of the first day).  `style` says how the file writes dates, or
    numbers ("integer").  `seconds` is the length of a unit, and `origin` the number 0 in seconds since 1970 UTC, where
    numbers stand for dates; None where they don't.  `parts` are the columns, where several give the time together and
    can be written again.
    """

    column: str
    kind: Literal["number", "date"]
    unit: str
    style: str = ""
    seconds: float | None = None
    origin: float = 0.0
    parts: tuple[TimePart, ...] = ()

    def parse(self, text: str) -> float:
        """The number of a time: in the file's own units, or a date; raises `InvalidArgument`."""
        text = text.strip()
        if self.kind == "number":
            number = _finite(text)
            if number is not None:
                return number
            moment = seconds_of(text)
            if moment is not None and self.seconds is not None:
                return (moment - self.origin) / self.seconds
            taken = "a number" + ("" if self.seconds is None else ", or a date (2024-01-31T12:00)")
            raise InvalidArgument("time", repr(text), f"no time in {self.unit}", f"give {taken}")
        number = _finite(text)
        if number is not None and (self.style.startswith("%Y%m") or self.style in ("%Y.%m", "%Y%j", "%G%V", EPIWEEK)):
            moment = compact_seconds(text, self.style)
        elif number is not None and self.style != "clock" and re.fullmatch(r"[12]\d{3}", text):
            moment = seconds_of(f"{text}-01-01")
        else:
            moment = number if number is not None and self.style != "clock" else seconds_of(text)
        if moment is None:
            example = "25:30" if self.style == "clock" else "2024-01-31, or 2024-01-31T12:00"
            raise InvalidArgument("time", repr(text), "no date", f"write {example}")
        return moment

    def text(self, time: float) -> str:
        """A time as the file writes it: dates in its style (or ISO 8601), whole stamps without a decimal point."""
        if self.kind == "date":
            return written(time, self.style)
        if self.style == "integer" and self.seconds is not None and self.seconds < 1:
            return str(round(Decimal(repr(float(time)))))  # shortest, as nanoseconds have more digits than a float
        if math.isfinite(time) and time == round(time) and (self.style == "integer" or abs(time) >= 1e15):
            return str(int(time))
        # 12 digits hide the rounding of sums; stamps of seconds need more
        return f"{time:.12g}" if abs(time) < 1e8 else f"{time:.16g}"


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def compact_seconds(text: str, style: str) -> float | None:
    """Seconds since 1970 of 20040131, 2004013112, 200401 (month, week), 2004.01 or 2004031; None for other numbers."""
    if style in ("%Y%m", "%Y.%m"):
        match = re.fullmatch(r"(\d{4})\.?(\d\d?)", text)
        if match is None:
            return None
        month = match[2] if style == "%Y%m" else f"{match[2]:0<2}"
        return seconds_of(f"{match[1]}-{month}-01")
    if style == "%G%V":
        return seconds_of(f"{text[:4]}-W{text[4:]}") if re.fullmatch(r"\d{6}", text) else None
    if style == EPIWEEK:
        return epiweek_seconds(int(text[:4]), int(text[4:])) if re.fullmatch(r"\d{6}", text) else None
    if style == "%Y%j":
        first = seconds_of(f"{text[:4]}-01-01")
        days = int(text[4:]) if re.fullmatch(r"\d{7}", text) else 0
        return None if first is None or not 1 <= days <= 366 else first + 86400.0 * (days - 1)
    day = seconds_of(f"{text[:4]}-{text[4:6]}-{text[6:8]}")
    clock = text[8:] + "0" * (14 - len(text))
    if day is None or len(text) != 4 + 2 * style.count("%") - 2:
        return None
    hour, minute, second = int(clock[:2]), int(clock[2:4]), int(clock[4:6])
    if hour > 24 or minute > 59 or second > 60:
        return None
    return day + 3600.0 * hour + 60.0 * minute + second


def words_of(name: str) -> list[str]:
    """The words of a column's name, in lower case: "elapsedTime_h" and "Time (h)" end in "h"."""
    spaced = re.sub(r"(?<=[a-zäöü])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^\wµ]+|_|(?<=[a-zA-Z])(?=\d)", spaced.lower()) if word]


def unit_in(name: str, unit: str = "") -> str:
    """The unit of time that a name, or a line of units, holds; "" where there is none."""
    for text in (unit, name):
        words = words_of(text)
        # "hour of day" counts hours, "days since birth" days
        end = next((n for n, word in enumerate(words) if word in ("of", "since", "after", "from", "per")), len(words))
        for word in reversed(words[:end]):
            if word in UNIT_OF:
                return UNIT_OF[word]
    return ""
