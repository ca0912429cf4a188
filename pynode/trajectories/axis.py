"""The times of a file: how they are written, in which unit, and the way from text to numbers and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TimeAxis:
    """Times of a file: how they are written, their unit, and their way to and from numbers.

    `unit` is in words: "milliseconds since 1970", "days", "units of hour".  `style` says how the file writes dates, or
    numbers ("integer").  `seconds` is the length of a unit, and `origin` the number 0 in seconds since 1970 UTC, where
    numbers stand for dates; None where they don't.
    """

    column: str
    kind: Literal["number", "date"]
    unit: str
    style: str = ""
    seconds: float | None = None
    origin: float = 0.0

    def parse(self, text: str) -> float:
        """The number of a time: the file's own units, or an ISO date; raises `InvalidArgument`."""
        raise NotImplementedError

    def text(self, time: float) -> str:
        """A time as the file writes it."""
        raise NotImplementedError
