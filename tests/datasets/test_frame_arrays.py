"""Tables in files of arrays: Parquet, .npy and .npz, whatever they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets.errors import DataError, PackageMissing
from pynode.datasets.frame import read_frame
from pynode.errors import InvalidArgument

ROWS = np.array([[0.0, 1.5], [1.0, 2.5], [3.0, np.nan]])


def test_an_array(tmp_path: Path) -> None:
    """Columns without names; rows are counted from 1."""
    np.save(tmp_path / "table.npy", ROWS)
    (tmp_path / "table.npy").rename(tmp_path / "table.csv")
    table = read_frame(tmp_path / "table.csv")
    assert [(c.name, c.number, c.kind) for c in table.columns] == [("", 1, "number"), ("", 2, "number")]
    np.testing.assert_array_equal(np.stack([c.values for c in table.columns], axis=1), ROWS)
    assert table.lines.tolist() == [1, 2, 3]


def test_a_structured_array(tmp_path: Path) -> None:
    """Its fields are columns, of dates and of words too."""
    kinds: Any = [("when", "M8[s]"), ("who", "U4"), ("x", "f4"), ("n", "i8"), ("on", "?")]
    rows = [(np.datetime64("2024-01-31T12:00"), "A", 1.5, 7, True), (np.datetime64("NaT"), "B", np.nan, 8, False)]
    np.save(tmp_path / "t.npy", np.array(rows, dtype=kinds))
    when, who, x, n, on = read_frame(tmp_path / "t.npy").columns
    assert when.kind == "date"
    np.testing.assert_array_equal(when.values, [1706702400.0, np.nan])
    assert who.cells == ("A", "B")
    np.testing.assert_array_equal(x.values, [1.5, np.nan])
    assert n.values.tolist() == [7, 8]
    assert on.values.tolist() == [1, 0]


def test_archives(tmp_path: Path) -> None:
    """One table, or an array for each column; one of several columns has numbers in its names."""
    np.savez(tmp_path / "one.npz", table=ROWS)
    np.savez(tmp_path / "several.npz", t=ROWS[:, 0], y=ROWS)
    assert [c.name for c in read_frame(tmp_path / "one.npz").columns] == ["", ""]
    several = read_frame(tmp_path / "several.npz")
    assert [c.name for c in several.columns] == ["t", "y1", "y2"]
    np.testing.assert_array_equal(several.columns[2].values, ROWS[:, 1])


def test_stacks_of_trajectories(tmp_path: Path) -> None:
    """Of three dimensions: trajectories one below the other, with the times of an array beside it."""
    stack = np.arange(24.0).reshape(2, 3, 4)
    np.save(tmp_path / "y.npy", stack)
    np.savez(tmp_path / "y.npz", ts=np.array([0.0, 0.5, 2.0]), y=stack)
    plain = read_frame(tmp_path / "y.npy")
    assert [c.name for c in plain.columns] == ["trajectory", "step", "y1", "y2", "y3", "y4"]
    assert plain.columns[0].values.tolist() == [1, 1, 1, 2, 2, 2]
    assert plain.columns[5].values.tolist() == [3, 7, 11, 15, 19, 23]
    timed = read_frame(tmp_path / "y.npz")
    assert {c.name: c.values.tolist() for c in timed.columns}["ts"] == [0, 0.5, 2, 0, 0.5, 2]


def test_arrays_that_are_no_table(tmp_path: Path) -> None:
    """Three dimensions, other lengths, objects and complex numbers are refused with a remedy."""
    np.save(tmp_path / "four.npy", np.zeros((2, 3, 4, 5)))
    np.savez(tmp_path / "lengths.npz", a=np.zeros(2), b=np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([1, "a"], dtype=object))
    np.save(tmp_path / "complex.npy", np.zeros((2, 2), dtype=complex))
    for name, said in (
        ("four.npy", r"shape \(2, 3, 4, 5\): give a table \(rows, columns\), or \(trajectories, times, columns\)"),
        ("lengths.npz", r"different lengths \(a \(2,\), b \(3,\)\)"),
        ("objects.npy", "holds Python objects"),
        ("complex.npy", "complex128: give numbers, dates or words"),
    ):
        with pytest.raises(DataError, match=said):
            read_frame(tmp_path / name)


def test_options_of_texts(tmp_path: Path) -> None:
    """Have no meaning for arrays."""
    np.save(tmp_path / "t.npy", ROWS)
    with pytest.raises(InvalidArgument, match="decimal = ',': an option of text files"):
        read_frame(tmp_path / "t.npy", decimal=",")


def test_other_files(tmp_path: Path) -> None:
    """A workbook, a compressed file and a directory are refused with what to do."""
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04" + bytes(60))
    (tmp_path / "t.csv.gz").write_bytes(b"\x1f\x8b" + bytes(60))
    for name, said in (
        ("t.xlsx", r"save a sheet of a spreadsheet \(\.xlsx\) as \.csv"),
        ("t.csv.gz", "gunzip"),
        (".", "is a folder, not a file"),
    ):
        with pytest.raises(DataError, match=said):
            read_frame(tmp_path / name)


def test_parquet(tmp_path: Path) -> None:
    """Numbers, dates with and without zone, words and missing cells; columns of lists are left out with a word."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    stamps = np.array(["2024-01-31T12:00", "NaT"], dtype="M8[us]")
    columns = {
        "when": arrow.array(stamps),
        "zoned": arrow.array(stamps, type=arrow.timestamp("us", tz="Europe/Berlin")),
        "day": arrow.array([19753, None], type=arrow.date32()),
        "x": arrow.array([1.5, None]),
        "n": arrow.array([7, None], type=arrow.int64()),
        "word": arrow.array(["oak", None]).dictionary_encode(),
        "flag": arrow.array([True, None]),
        "list": arrow.array([[1], [2, 3]]),
    }
    parquet.write_table(arrow.table(columns), tmp_path / "t")
    table = read_frame(tmp_path / "t")
    named = {c.name: c for c in table.columns}
    assert named["when"].values[0] == named["zoned"].values[0] == 1706702400.0
    assert (named["when"].style, named["zoned"].style) == ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ")
    assert (named["day"].kind, named["day"].values[0]) == ("date", 19753 * 86400.0)
    np.testing.assert_array_equal(named["x"].values, [1.5, np.nan])
    np.testing.assert_array_equal(named["n"].values, [7, np.nan])
    np.testing.assert_array_equal(named["flag"].values, [1, np.nan])
    assert named["word"].cells == ("oak", "")
    assert "list" not in named
    assert any("column 'list' is left out" in notice for notice in table.notices)


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    """Is said to be one."""
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(DataError, match="can't be read as a Parquet file"):
        read_frame(tmp_path / "t.parquet")


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the command that installs it."""
    import sys

    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(PackageMissing, match="pip install pyarrow"):
        read_frame(tmp_path / "t.parquet")
