"""Changes of clocks in local times: what a file may not have noticed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pynode.trajectories.read import read_series

SPRING = {
    "Europe/Berlin": datetime(2024, 3, 30, tzinfo=timezone.utc),
    "Europe/London": datetime(2024, 3, 30, tzinfo=timezone.utc),
    "America/New_York": datetime(2024, 3, 9, tzinfo=timezone.utc),
    "Australia/Sydney": datetime(2024, 10, 5, tzinfo=timezone.utc),
}


def notices(tmp_path: Path, start: datetime, minutes: int, zone: str | None, style: str = "%Y-%m-%d %H:%M") -> str:
    """What is said of three days of local times, `minutes` apart."""
    moments = [start + timedelta(minutes=minutes * n) for n in range(72 * 60 // minutes)]
    local = [moment.astimezone(ZoneInfo(zone)) if zone else moment for moment in moments]
    path = tmp_path / "table.csv"
    path.write_text("time,x\n" + "".join(f"{t.strftime(style)},{n % 7}\n" for n, t in enumerate(local)))
    return "; ".join(read_series(path).notices)


@pytest.mark.parametrize("minutes", [10, 30, 60])
@pytest.mark.parametrize("zone", SPRING)
def test_an_hour_is_left_out_in_spring(tmp_path: Path, zone: str, minutes: int) -> None:
    assert "where clocks may have been put forward: local times" in notices(tmp_path, SPRING[zone], minutes, zone)


def test_where_no_hour_is_left_out(tmp_path: Path) -> None:
    """Times in UTC, with offsets, or on other days; a gap of another length."""
    spring = SPRING["Europe/Berlin"]
    assert "put forward" not in notices(tmp_path, spring, 60, None)
    assert "put forward" not in notices(tmp_path, spring, 60, "Europe/Berlin", "%Y-%m-%dT%H:%M%z")
    assert "put forward" not in notices(tmp_path, datetime(2024, 5, 3, tzinfo=timezone.utc), 60, "Europe/Berlin")
    path = tmp_path / "table.csv"
    hours = [f"2024-03-31 {h:02d}:00,{h % 3}\n" for h in range(24) if h not in (2, 3)]
    path.write_text("time,x\n" + "".join(hours))
    assert "put forward" not in "; ".join(read_series(path).notices)
