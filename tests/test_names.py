"""Names of columns, trajectories and cells: one alone is not taken apart into its letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynode
from pynode.datasets.frame import read_frame
from pynode.datasets.reading import Reading
from pynode.datasets.tables import load_table, split_and_standardise
from pynode.errors import InvalidArgument
from pynode.names import names_of
from pynode.problems.density.user_tables import FileOptions
from pynode.problems.series.user_series import SeriesOptions

SERIES = "site,plot,time,level,force,age,turn\n" + "\n".join(
    f"{site},{plot},{t},{t * t + ord(site)},{t % 3},{ord(site)},{(50 * t) % 360}"
    for site in "ab"
    for plot in "xy"
    for t in range(8)
)


def test_names_of() -> None:
    assert names_of("values", "level") == ("level",)
    assert names_of("values", ["level", "3"]) == ("level", "3")
    assert names_of("leave_out", (3, "b"), numbers=True) == ("3", "b")
    assert names_of("missing_values", -9.5, numbers=True) == ("-9.5",)
    assert names_of("leave_out", (np.int64(3), np.float32(0.5), 3.0, 1e20, 10**400), numbers=True) == (
        *("3", "0.5", "3"),
        "100000000000000000000",
        f"1{'0' * 400}",
    )
    assert names_of("leave_out", np.array([3.0, 4.5]), numbers=True) == ("3", "4.5")
    assert names_of("missing_values", np.int64(-9), numbers=True) == ("-9",)
    assert names_of("missing_values", (float("nan"), float("inf")), numbers=True) == ("nan", "inf")
    no_names: tuple[Any, ...] = (b"ab", (b"ab",), bytearray(b"ab"), True, np.bool_(True), [None], {"level": 1})
    for wrong in no_names:
        with pytest.raises(InvalidArgument, match=r"^leave_out = .*; give texts or numbers, e\.g\. \('A7', 3\)$"):
            names_of("leave_out", wrong, numbers=True)
    for wrong in (3, (3,), None, {"level": 1}, (True,), b"ab", (np.int64(3),)):
        with pytest.raises(InvalidArgument, match=r"^values = .*give names or numbers of columns as text"):
            names_of("values", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ({"values": "level"}, {"values": ("level",)}),
        ({"inputs": "force"}, {"inputs": ["force"]}),
        ({"covariates": "age"}, {"covariates": ("age",)}),
        ({"covariates": "none"}, {"covariates": ("none",)}),
        ({"circular": "level:90"}, {"circular": ("level:90",)}),
        ({"leave_out": "a/x"}, {"leave_out": ("a/x",)}),
        ({"missing_values": "9"}, {"missing_values": (9,)}),
        ({"id": "site,plot"}, {"id": ("site", "plot")}),
        ({"time": "time"}, {"time": ("time",)}),
    ],
    ids=str,
)
def test_read_series(tmp_path: Path, one: dict[str, Any], several: dict[str, Any]) -> None:
    (path := tmp_path / "s.csv").write_text(SERIES)
    usual: dict[str, Any] = {"time": "time", "id": "site,plot", "values": ("level",)}
    first, second = (pynode.read_series(path, **{**usual, **given}) for given in (one, several))
    assert (first.values, first.inputs, first.covariates) == (second.values, second.inputs, second.covariates)
    assert [each.name for each in first.each] == [each.name for each in second.each]
    assert first.notices == second.notices
    for given in (one, several):
        (name,) = given
        wanted = ",".join(given[name]) if name in ("id", "time") and not isinstance(given[name], str) else given[name]
        options = getattr(SeriesOptions(**given), name)
        assert options == (wanted if name in ("id", "time") else names_of(name, wanted, numbers=True))


def test_tables(tmp_path: Path) -> None:
    (path := tmp_path / "t.csv").write_text("ab,cd,a\n" + "\n".join(f"{k},{k * k % 7},{k % 3}.5" for k in range(30)))
    assert load_table(path, drop="ab").shape == (30, 2)
    assert read_frame(path, words="ab", missing_values="0").columns[0].kind == "text"
    one: Any = "ab"
    assert Reading(condition=one, classes=one) == Reading(condition=("ab",), classes=("ab",))
    assert FileOptions(drop=one, dequantise=one) == FileOptions(drop=("ab",), dequantise=("ab",))
    rows = np.stack([np.random.default_rng(0).normal(size=400), np.arange(400) % 7], axis=1)
    splits = split_and_standardise(rows, dequantise="2")
    assert splits.units is not None
    assert splits.units.tolist() == [0, 1]
