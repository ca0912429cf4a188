"""A file read as an earlier one was: nothing of it is guessed anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets.errors import DataError
from pynode.errors import InvalidArgument
from pynode.trajectories.alike import aligned
from pynode.trajectories.data import Trajectories
from pynode.trajectories.read import read_series

COLUMNS: dict[str, Any] = {"time": "t", "values": ("x", "wind"), "inputs": ("u",)}


def written(path: Path, rows: int, *, step: int = 1, code: str = "-999") -> Path:
    """A value with a code for missing ones, an angle that turns, and an input of a few levels."""
    lines = ["t,x,wind,u"]
    for k in range(rows):
        x = code if k % 10 == 4 else f"{20 + np.sin(0.3 * k):.3f}"
        lines.append(f"{k},{x},{(37 * k) % 360},{k // step % 4}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def old(tmp_path: Path) -> Trajectories:
    series = read_series(
        written(tmp_path / "old.csv", 100), circular=("wind:360",), input_kind="interpolated", **COLUMNS
    )
    assert series.codes == {"x": (-999.0,)}
    assert series.periods == {"wind": 360.0}
    return series


def test_kinds_angles_and_codes_are_those_of_the_earlier_file(old: Trajectories, tmp_path: Path) -> None:
    path = written(tmp_path / "new.csv", 5, step=2)
    path.write_text(path.read_text().replace("-999", "-999.0"))
    new = read_series(path, like=old, **COLUMNS)
    assert new.input_kinds == old.input_kinds == ("interpolated",)
    assert new.periods == old.periods
    assert np.isnan(new.each[0].values[4, 0])
    assert len(aligned(old, new)) == 1


def test_a_code_that_was_a_value_is_refused(old: Trajectories, tmp_path: Path) -> None:
    path = written(tmp_path / "new.csv", 60, code="-9999")
    with pytest.raises(DataError, match=r"new.csv, column 'x': -9999 looks like a missing value, which it is not"):
        read_series(path, like=old, **COLUMNS)


def test_other_kinds_are_refused(old: Trajectories) -> None:
    with pytest.raises(InvalidArgument, match="its input u is steps, that of the model interpolated"):
        aligned(old, replace(old, input_kinds=("steps",)))
    with pytest.raises(InvalidArgument, match="its wind is no angle, that of the model an angle of period 360"):
        aligned(old, replace(old, periods={}))


TIMES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "none, where rows are counted": ("x,y\n", "{x},{y}\n", ()),
    "year and month": ("year,month,x,y\n", "{year},{month},{x},{y}\n", ("year", "month")),
    "day and time of day": ("day,clock,x,y\n", "{day:02d}.01.2024,{hour:02d}:00,{x},{y}\n", ("day", "clock")),
    "an index without a name": (",x,y\n", "{twice},{x},{y}\n", ("1",)),
    "a name with a comma": ('"t, s",x,y\n', "{twice},{x},{y}\n", ("t, s",)),
    "a name that occurs twice": ("t,t,x,y\n", "{twice},word,{x},{y}\n", ("1",)),
    "values of one name": ("t,x,x\n", "{twice},{x},{y}\n", ("t",)),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_are_from_the_same_columns(tmp_path: Path, name: str) -> None:
    head, row, columns = TIMES[name]

    def read(rows: range, like: Trajectories | None = None) -> Trajectories:
        path = tmp_path / "table.csv"
        path.write_text(
            head
            + "".join(
                row.format(
                    x=[3, 1, 4, 1.5][k % 4], y=k / 2 if k < 3 else 0, twice=2 * k,
                    year=2000 + k // 12, month=k % 12 + 1, day=k // 24 + 1, hour=k % 24,
                )
                for k in rows
            )
        )  # fmt: skip
        values = () if like is None else like.values
        return read_series(path, values=values or None, like=like)

    old = read(range(60))
    new = read(range(3), old)
    assert old.time_columns == new.time_columns == columns
    assert new.each[0].times.tolist() == old.each[0].times[:3].tolist()
    assert len(aligned(old, new)) == 1


def test_dates_are_in_the_same_order(tmp_path: Path) -> None:
    """Few rows leave open what the day is; rows that can't be in the order of the earlier file are refused."""
    path = tmp_path / "table.csv"

    def read(*dates: str, like: Trajectories | None = None) -> Trajectories:
        path.write_text("date,x\n" + "".join(f"{date},{n % 3}\n" for n, date in enumerate(dates)))
        return read_series(path, like=like)

    for old, new, second, other in (
        (("11/02/2024", "12/02/2024", "13/02/2024"), ("03/04/2024", "05/04/2024"), "2024-04-05", "01/13/2024"),
        (("02/11/2024", "02/12/2024", "02/13/2024"), ("03/04/2024", "05/04/2024"), "2024-05-04", "13/01/2024"),
    ):
        trained = read(*old)
        again = read(*new, like=trained)
        assert again.axis.text(again.each[0].times[1]) == second
        with pytest.raises(DataError, match=f"'{other}' is neither a number nor a date"):
            read(other, like=trained)
    assert read("01/01/2024", "02/02/2024").date_order is None
