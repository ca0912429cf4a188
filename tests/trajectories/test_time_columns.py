"""Forecasts have the file's own columns of names and times, where it has several of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.trajectories.read import read_series
from pynode.trajectories.table import Rows, ValueColumn, as_csv

DAY = 86_400.0


def lines(header: str, rows: list[str]) -> str:
    return "\n".join([header, *(f"{row},{np.sin(k):.3f}" for k, row in enumerate(rows))])


DAYS = {h: f"2024-{'01-31' if h < 24 else '02-01'}" for h in range(14, 38)}
FILES = {
    "date and time of day": lines("date,clock,x", [f"{day},{h % 24:02d}:30" for h, day in DAYS.items()]),
    "date and hour": lines("date,hour,x", [f"{day},{h % 24}" for h, day in DAYS.items()]),
    "parts": lines("year,month,day,hour,x", [f"{day.replace('-', ',')},{h % 24:02d}" for h, day in DAYS.items()]),
    "year and month": lines("year,month,x", [f"{2020 + k // 12},{k % 12 + 1}" for k in range(24)]),
    "year and quarter": lines("year,quarter,x", [f"{2020 + k // 4},{k % 4 + 1}" for k in range(24)]),
    "elapsed": lines("day,clock,x", [f"{h // 24},{h % 24:02d}:00" for h in DAYS]),
    "names of months": lines("year,month,x", [f"{2020 + k // 3},{('Jan', 'Feb', 'Mar')[k % 3]}" for k in range(24)]),
}


def written(path: Path, times: list[float], **options: Any) -> list[list[str]]:
    """What a forecast of the file at these times, in seconds after its last row, is written as."""
    series = read_series(path, values=("x",), **options)
    rows = [
        Rows(own.name, own.times[-1] + np.array(times), np.ones((len(times), 1)), own.identity) for own in series.each
    ]
    content = as_csv(rows, [ValueColumn("x")], series.axis, id_columns=series.id_columns)
    return list(csv.reader(content.decode().splitlines()))


@pytest.mark.parametrize(
    ("name", "time", "ahead", "expected"),
    [
        (
            "date and time of day",
            "date,clock",
            [3600.0, 12 * 3600.0],
            ["date,clock", "2024-02-01,14:30", "2024-02-02,01:30"],
        ),
        ("date and time of day", "date,clock", [3615.0], ["date,clock", "2024-02-01,14:30:15"]),
        ("date and hour", "date,hour", [3600.0, 12 * 3600.0], ["date,hour", "2024-02-01,14", "2024-02-02,1"]),
        ("date and hour", "date,hour", [1800.0, 3600.0], ["date", "2024-02-01T13:30", "2024-02-01T14:00"]),
        ("parts", "year,month,day,hour", [3600.0], ["year,month,day,hour", "2024,2,1,14"]),
        ("year and month", "year,month", [31 * DAY], ["year,month", "2022,1"]),
        ("year and month", "year,month", [3 * DAY], ["date", "2021-12-04"]),
        ("year and quarter", "year,quarter", [92 * DAY], ["year,quarter", "2026,1"]),
        ("elapsed", "day,clock", [3600.0], ["day", "38:00"]),
        ("names of months", "year,month", [31 * DAY], ["date", "2027-04-01"]),
    ],
)
def test_times(tmp_path: Path, name: str, time: str, ahead: list[float], expected: list[str]) -> None:
    (path := tmp_path / "t.csv").write_text(FILES[name])
    table = written(path, ahead, time=time)
    assert [",".join(row[:-1]) for row in table] == expected


@pytest.mark.parametrize("name", FILES)
def test_guessed_columns_are_written_too(tmp_path: Path, name: str) -> None:
    """And what the file has is what would be written of its own times."""
    (path := tmp_path / "t.csv").write_text(FILES[name])
    series = read_series(path, values=("x",))
    own = series.each[0]
    table = as_csv([Rows("", own.times, own.values)], [ValueColumn("x")], series.axis, id_columns=())
    wanted = [[cell.lstrip("0") or "0" for cell in line.split(",")[:-1]] for line in FILES[name].splitlines()]
    told = [[cell.lstrip("0") or "0" for cell in line.split(",")[:-1]] for line in table.decode().splitlines()]
    assert (told == wanted) is (name not in ("elapsed", "names of months"))


def test_names_in_several_columns(tmp_path: Path) -> None:
    """A slash in a name joins no two trajectories."""
    names = [("a/b", "c"), ("a", "b/c"), ("007", "x, y")]
    text = "\n".join(f'{site},"{plot}",{t},{t * t}' for site, plot in names for t in range(5))
    (path := tmp_path / "t.csv").write_text(f"site,plot,t,x\n{text}\n")
    table = written(path, [1.0], id="site,plot", time="t")
    assert table == [["site", "plot", "t", "x"], *([site, plot, "5", "1"] for site, plot in names)]


@pytest.mark.parametrize(
    "names", ["5,10,20,50", "400.5,500.5,600.5,700.5", "1500,1550,1600,1650", "2500,2501,2502,2503"]
)
def test_columns_named_by_depths_or_wavelengths_are_values(tmp_path: Path, names: str) -> None:
    """Such a table without a column of times has its rows as times."""
    path = tmp_path / "t.csv"
    rows = np.random.default_rng(0).normal(size=(12, 4)).round(3).tolist()
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]))
    series = read_series(path, header=True)
    assert series.values == tuple(names.split(","))
    assert series.time_columns == ()
    np.testing.assert_array_equal(series.each[0].values, rows)
