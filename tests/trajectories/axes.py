"""Time axes for tests: numbers, whole numbers, and dates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pynode.trajectories.axis import TimeAxis

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Numbers(TimeAxis):
    """Numbers as they are."""

    def parse(self, text: str) -> float:
        return float(text)

    def text(self, time: float) -> str:
        return str(round(time)) if self.style == "integer" else f"{time:.12g}"


@dataclass(frozen=True)
class Days(TimeAxis):
    """Dates without hours."""

    def parse(self, text: str) -> float:
        return (datetime.fromisoformat(text).replace(tzinfo=timezone.utc) - EPOCH).total_seconds()

    def text(self, time: float) -> str:
        return f"{EPOCH + timedelta(seconds=time):%Y-%m-%d}"


NUMBERS = Numbers("hours", "number", "units of hours")
WHOLE = Numbers("when", "number", "milliseconds since 1970", "integer", 1e-3)
DAYS = Days("date", "date", "days", "", 1.0)
