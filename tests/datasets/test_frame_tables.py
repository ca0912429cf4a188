"""Tables of numbers from Parquet and .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets.errors import DataError
from pynode.datasets.reading import Reading
from pynode.datasets.tables import load_table, read_table
from pynode.errors import InvalidArgument

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def saved(path: Path, **columns: Any) -> Path:
    pandas.DataFrame(columns).to_parquet(path)
    return path


def test_parquet_whatever_its_ending(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.dat", a=[1.5, 2.5], b=[1, 2], kind=["oak", "yew"])
    table = read_table(path, Reading(condition=("kind",)))
    np.testing.assert_array_equal(table.rows, [[1.5, 1], [2.5, 2]])
    assert table.columns.names == ("a", "b")
    assert table.held[0].cells == ("oak", "yew")
    assert table.place(1) == "row 2"


def test_npz_of_columns_and_of_one_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", a=np.array([1.5, 2.5]), b=np.array([1, 2]))
    table = read_table(tmp_path / "t.npz")
    assert table.columns.names == ("a", "b")
    np.testing.assert_array_equal(table.rows, [[1.5, 1], [2.5, 2]])
    np.savez(tmp_path / "one.npz", np.array([[1.5, 2.5, 0], [1, 2, 3]]))
    np.testing.assert_array_equal(load_table(tmp_path / "one.npz"), [[1.5, 2.5, 0], [1, 2, 3]])


def test_columns_of_words_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.parquet", a=[1.5, 2.5], kind=["oak", "yew"], site=["A", "B"])
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert "columns 2 ('kind'), 3 ('site') hold text, not numbers: leave them out (drop=kind,site)" in str(caught.value)
    assert "condition the density on the words (condition=kind,site)" in str(caught.value)
    np.testing.assert_array_equal(load_table(path, drop=("kind", "3")), [[1.5], [2.5]])


def test_missing_values(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.parquet", a=[1.5, None, 3.5], kind=["oak", "yew", None])
    with pytest.raises(DataError, match=r"row 2, column 1 \('a'\): the value is missing .*missing=drop"):
        read_table(path, Reading(condition=("kind",)))
    table = read_table(path, Reading(condition=("kind",), missing="drop"))
    np.testing.assert_array_equal(table.rows, [[1.5]])
    assert table.held[0].cells == ("oak",)
    with pytest.raises(InvalidArgument, match="an option of text files"):
        load_table(path, decimal=",")


def test_dates_are_no_condition(tmp_path: Path) -> None:
    days = pandas.date_range("2024-01-01", periods=3)
    path = saved(tmp_path / "t.parquet", a=[1.5, 2.5, 4.0], day=days)
    with pytest.raises(DataError, match=r"column 2 \('day'\) holds dates or times, which are no condition: write"):
        read_table(path, Reading(condition=("day",)))
    np.testing.assert_array_equal(load_table(path, drop=("day",)), [[1.5], [2.5], [4.0]])
