"""A user's own table: what is read, and what a user is told where it can't be."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets.errors import DataError
from pynode.datasets.tables import load_table, split_and_standardise
from pynode.errors import InvalidArgument


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "1,2.5\n-3,4e2\n",
        "1,2.5\n-3,4e2",
        "1;2.5\r\n-3;4e2\r\n",
        "1\t2.5\n-3\t4e2\n",
        "a,b\n1,2.5\n-3,4e2\n",
        'a;"b; of c"\n1;2.5\n\n-3; 4e2 \n\n',
        "\ufeffa,b\n1,2.5\n-3,4e2\n",
        "\n\na,b\n1, 2.5\n-3, 4e2\n",
        '"1","2.5"\n"-3","4e2"\n',
    ],
)
def test_csv(tmp_path: Path, content: str) -> None:
    rows = load_table(written(tmp_path / "t.csv", content))
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, [[1, 2.5], [-3, 400]])


def test_csv_of_one_column(tmp_path: Path) -> None:
    np.testing.assert_array_equal(load_table(written(tmp_path / "t.csv", "x\n1\n2\n")), [[1], [2]])


def test_csv_keeps_each_bit(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(2000, 3))
    content = "\n".join(",".join(map(repr, row)) for row in rows.tolist())
    np.testing.assert_array_equal(load_table(written(tmp_path / "t.CSV", content)), rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,x\n", r"line 3, column 2 \('b'\): 'x' is not a finite number"),
        ("a,b\n1,2%\n3,4%\n", r"'2%' is not a finite number .*; write the numbers alone, without '%', or leave"),
        ("1,2\n3,x\n", r"line 2, column 2: 'x' is not"),
        ("1,x\n3,4\n", r"line 1, column 2: 'x' is not"),
        ("a,b\n\n1,2\nnan,4\n", r"line 4, column 1 \('a'\): 'nan' is not"),
        ("nan,nan\n1,2\n", r"line 1, column 1: 'nan' is not"),
        ("1,2\n3,-Inf\n", r"line 2, column 2: '-Inf' is not"),
        ("1,2\n3,\n", r"line 2, column 2: an empty cell is not"),
        ("1,2\n3,1_000\n", r"line 2, column 2: '1_000' is not"),
        ("1;2\n3;4,x\n", r"line 2, column 2: '4,x' is not"),
        ("1,2\n3,4,5\n", r"line 2 has 3 cells instead of 2"),
        ("a,b\n1\n", r"line 2 has 1 cell instead of 2"),
        ("", "has no rows of numbers"),
        ("\n\n", "has no rows of numbers"),
        ("a,b\n", "has no rows of numbers"),
        (b"\xff\xfe1\x00,\x002", "can't be read as a .csv text"),
    ],
)
def test_csv_errors(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = written(tmp_path / "t.csv", content)
    with pytest.raises(DataError, match=message) as caught:
        load_table(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i2", ">f8", "u1"])
def test_npy(tmp_path: Path, dtype: str) -> None:
    values = np.arange(6).reshape(3, 2)
    np.save(tmp_path / "t.npy", values.astype(dtype))
    rows = load_table(tmp_path / "t.npy")
    assert rows.dtype == np.float64
    assert isinstance(rows, np.memmap) == (dtype == "f8")
    np.testing.assert_array_equal(rows, values)


@pytest.mark.parametrize("name", ["t.dat", "t", "t.csv", "t.npz"])
def test_npy_by_its_content(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).normal(size=(5, 2))
    np.save(tmp_path / "t.npy", values)
    path = (tmp_path / "t.npy").rename(tmp_path / name)
    np.testing.assert_array_equal(load_table(path), values)


def with_value(value: float) -> Any:
    rows = np.zeros((70_000, 2))
    rows[69_999, 1] = value
    return rows


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (with_value(np.nan), "row 70000, column 2: nan is not a finite number"),
        (with_value(-np.inf), "row 70000, column 2: -inf is not"),
        (np.zeros(4), r"has shape \(4,\) and type float64"),
        (np.zeros((2, 2, 2)), r"has shape \(2, 2, 2\)"),
        (np.array([["a"]]), "type <U1"),
        (np.zeros((2, 2), dtype=complex), "type complex128"),
        (np.zeros((0, 3)), r"is empty, with shape \(0, 3\)"),
        (np.array([[None]]), "can't be read as an array of numbers"),
    ],
    ids=["nan", "inf", "1-D", "3-D", "text", "complex", "empty", "objects"],
)
def test_npy_errors(tmp_path: Path, values: Any, message: str) -> None:
    np.save(tmp_path / "t.npy", values, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        load_table(tmp_path / "t.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"a,b\n1,2\n", "it does not begin as a .npy file does; .*or name a text .csv"),
        (b"\x80\x04\x95", "it does not begin as a .npy file does"),
        (b"\x93NUMPY\x01\x00", "can't be read as an array of numbers"),
    ],
    ids=["empty", "text", "pickle", "cut short"],
)
def test_no_npy(tmp_path: Path, content: bytes, message: str) -> None:
    """Nobody is advised to unpickle it."""
    with pytest.raises(DataError, match=message) as caught:
        load_table(written(tmp_path / "t.npy", content))
    assert "allow_pickle" not in str(caught.value)


def test_objects_in_npy(tmp_path: Path) -> None:
    for values in ([["a", 1]], [[1, None], [2.5, 3]], [[[1], [2, 3]]]):
        np.save(tmp_path / "t.npy", np.array(values, dtype=object), allow_pickle=True)
        with pytest.raises(DataError, match="it holds Python objects, such as text or mixed columns") as caught:
            load_table(tmp_path / "t.npy")
        assert "allow_pickle" not in str(caught.value)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a file"):
        load_table(tmp_path / "t.csv")
    np.testing.assert_array_equal(load_table(written(tmp_path / "t.xlsx", "1,2\n")), [[1, 2]])  # its content counts
    (tmp_path / "t.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(DataError, match=r"t\.hdf5 is an HDF5 file, not a table: save the data set .*numpy\.save"):
        load_table(tmp_path / "t.hdf5")
    with zipfile.ZipFile(tmp_path / "sheet.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match=r"is an Excel workbook \(\.xlsx\), not a table: save the sheet as \.csv"):
        load_table(tmp_path / "sheet.xlsx")


def test_split_and_standardise() -> None:
    raw = np.random.default_rng(1).normal(loc=5, scale=3, size=(100, 2))
    splits = split_and_standardise(raw, seed=7)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [81, 9, 10]
    assert splits.train.dtype == np.float32
    order = np.random.default_rng(7).permutation(100)
    back = [splits.unstandardised(part) for part in (splits.train, splits.validation, splits.test)]
    np.testing.assert_allclose(np.vstack(back), raw[order], atol=1e-5)
    np.testing.assert_allclose(splits.train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(splits.train.std(axis=0), 1, atol=1e-6)
    assert splits.mean is not None
    assert splits.std is not None
    np.testing.assert_allclose(splits.mean, raw[order[:81]].mean(axis=0), rtol=1e-14)
    # a normal density in raw units is that of the stored row plus the offset
    z = (raw[0] - splits.mean) / splits.std
    stored = -0.5 * (z**2).sum() - np.log(2 * np.pi)
    direct = sum(-0.5 * z[i] ** 2 - 0.5 * np.log(2 * np.pi * splits.std[i] ** 2) for i in range(2))
    assert stored + splits.log_density_offset == pytest.approx(direct, rel=1e-13)


def test_seed_and_fractions() -> None:
    raw = np.random.default_rng(1).normal(size=(100, 2))
    first, again, other = (split_and_standardise(raw, seed=s).test for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    splits = split_and_standardise(raw, fractions=(0.2, 0.25))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [60, 20, 20]


def test_the_table_is_not_changed() -> None:
    raw = np.random.default_rng(1).normal(size=(100, 2))
    before = raw.copy()
    split_and_standardise(raw)
    np.testing.assert_array_equal(raw, before)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9])
def test_constant_column(value: float) -> None:
    raw = np.random.default_rng(1).normal(size=(101, 3))
    raw[:, 1] = value
    with pytest.raises(DataError, match=r"column 2 of table = .* in every training row: .* leave it out \(drop=2\)"):
        split_and_standardise(raw)


def test_a_small_spread_is_not_constant() -> None:
    raw = np.random.default_rng(1).normal(size=(100, 1)) * 1e-6 + 1000
    assert np.abs(split_and_standardise(raw).train).max() > 1


@pytest.mark.parametrize("rows", [0, 1, 9, 11])
def test_too_few_rows(rows: int) -> None:
    with pytest.raises(DataError, match=r"has \d+ rows?, too few"):
        split_and_standardise(np.random.default_rng(1).normal(size=(rows, 2)), fractions=(0.1, 0.09))


@pytest.mark.parametrize("fractions", [(0.0, 0.1), (0.1, 1.0), (-0.1, 0.1)])
def test_bad_fractions(fractions: tuple[float, float]) -> None:
    with pytest.raises(InvalidArgument, match="fractions"):
        split_and_standardise(np.zeros((100, 2)), fractions=fractions)


def test_bad_rows() -> None:
    with pytest.raises(DataError, match=r"shape \(100,\)"):
        split_and_standardise(np.zeros(100))
    with pytest.raises(DataError, match="NaN or infinite"):
        split_and_standardise(np.full((100, 2), np.nan))
