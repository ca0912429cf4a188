"""The five benchmarks from tiny tables, against values worked out here; `test_import.py` reads them from files."""

from __future__ import annotations

import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets import public
from pynode.datasets.errors import DataError, DataMissing, PackageMissing
from pynode.datasets.raw import load_array
from pynode.datasets.raw_files import prepare
from pynode.datasets.splits import Splits

SHUFFLED = [0, 17, 15, 1, 8, 5, 11, 3, 18, 16, 13, 2, 9, 19, 4, 12, 7, 10, 14, 6]
"""20 rows shuffled by RandomState(42)."""


def rows_of(splits: Splits) -> Any:
    """All rows in raw units: training, validation, test."""
    return np.vstack([splits.unstandardised(part) for part in (splits.train, splits.validation, splits.test)])


def sizes(splits: Splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.validation), len(splits.test)


def test_power() -> None:
    raw = np.zeros((20, 8))
    raw[:, 1] = raw[:, 3] = 1e9  # to be dropped
    raw[:, 7] = np.arange(20)
    splits = public.power(raw)
    assert splits.name == "power"
    assert sizes(splits) == (17, 1, 2)
    assert splits.train.dtype == np.float32
    rows = rows_of(splits)
    np.testing.assert_allclose(rows[:, 5], SHUFFLED, atol=1e-5)
    generator = np.random.RandomState(42)
    generator.shuffle(np.arange(20))
    np.testing.assert_allclose(rows[:, 1], 0.01 * generator.rand(20), atol=1e-8)  # voltage comes first
    np.testing.assert_allclose(rows[:, 0], 0.001 * generator.rand(20), atol=1e-9)
    np.testing.assert_allclose(rows[:, 2:5], generator.rand(20, 3), atol=1e-6)
    seen = np.array(SHUFFLED[:18], dtype=float)
    assert splits.mean is not None
    assert splits.std is not None
    assert splits.mean[5] == pytest.approx(seen.mean(), rel=1e-14)
    assert splits.std[5] == pytest.approx(np.sqrt(((seen - seen.mean()) ** 2).sum() / 18), rel=1e-14)
    assert splits.test[1, 5] == pytest.approx((6 - splits.mean[5]) / splits.std[5], rel=1e-6)
    assert splits.log_density_offset == pytest.approx(-np.log(splits.std).sum(), rel=1e-14)


def test_miniboone() -> None:
    raw = np.column_stack([np.arange(30.0), np.arange(30.0) ** 2])
    splits = public.miniboone(raw)
    assert sizes(splits) == (25, 2, 3)
    np.testing.assert_allclose(rows_of(splits), raw, atol=1e-4)
    assert splits.mean is not None
    assert splits.std is not None
    assert splits.mean[0] == 13.0  # of 0..26: training and validation
    assert splits.std[0] == pytest.approx(np.sqrt((27**2 - 1) / 12), rel=1e-14)  # by n


@pytest.mark.parametrize(("name", "columns"), [("power", 8), ("miniboone", 43)])
def test_damaged_arrays(tmp_path: Path, name: str, columns: int) -> None:
    preprocess, path = partial(prepare, name), tmp_path / "data.npy"
    with pytest.raises(DataMissing, match=r"data\.npy is missing"):
        preprocess(tmp_path)
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="can't be read as an array of numbers"):
        preprocess(tmp_path)
    np.save(path, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(
        DataError, match="holds Python objects, such as text or mixed columns; save the columns"
    ) as told:
        preprocess(tmp_path)
    assert "allow_pickle" not in str(told.value)
    np.save(path, np.zeros(5))
    with pytest.raises(DataError, match=r"shape \(5,\)"):
        preprocess(tmp_path)
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(5), b=np.zeros(5))
    with pytest.raises(DataError, match=r"data\.npy holds several arrays \(a, b\): save the one that is meant alone"):
        preprocess(tmp_path)
    np.save(path, np.random.default_rng(0).normal(size=(9, columns)))
    with pytest.raises(DataError, match=r"data\.npy, rows = 9: too few .*; give a file with 11 or more$"):
        preprocess(tmp_path)
    np.save(path, np.random.default_rng(0).normal(size=(11, columns)))
    assert sizes(preprocess(tmp_path).splits) == (9, 1, 1)
    constant = np.random.default_rng(0).normal(size=(20, columns))
    constant[:, 7] = 0.1
    np.save(path, constant)
    with pytest.raises(
        DataError, match=rf"data\.npy: column {6 if name == 'power' else 8} of {name} = 0\.1 in every row"
    ):
        preprocess(tmp_path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "columns"), [("power", 8), ("miniboone", 43)])
def test_values_that_are_not_finite(tmp_path: Path, name: str, columns: int, value: float) -> None:
    """The file and the first bad row are named, as they are in the file, before anything is computed."""
    path = tmp_path / "data.npy"
    rows = np.random.default_rng(0).normal(size=(20, columns))
    rows[13, 7] = rows[17, 7] = value
    np.save(path, rows)
    with pytest.raises(
        DataError, match=rf"data\.npy, row 14, column 8: {value} is not a finite number \(one of 2 such"
    ):
        prepare(name, tmp_path)
    rows[[13, 17], 7] = 0
    rows[3, 2] = 1e200  # finite, but its square is not
    np.save(path, rows)
    with pytest.raises(DataError, match=rf"data\.npy: column [23] of {name} holds .*too large"):
        prepare(name, tmp_path)
    if name == "power":  # a column that is dropped may hold anything
        rows[3, 2], rows[:, 1] = 0, value
        np.save(path, rows)
        assert sizes(prepare(name, tmp_path).splits) == (17, 1, 2)


@pytest.mark.parametrize("packed", [False, True])
def test_a_npz_file_of_one_array_is_read(tmp_path: Path, packed: bool) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 43))
    np.save(tmp_path / "rows.npy", rows)
    path = tmp_path / "rows.npz"
    (np.savez_compressed if packed else np.savez)(path, table=rows)
    alone = prepare("miniboone", tmp_path / "rows.npy").splits
    np.testing.assert_array_equal(rows_of(prepare("miniboone", path).splits), rows_of(alone))
    assert not load_array(path, mapped=True).flags.writeable
    np.savez(path, table=np.array([["a", 1]], dtype=object))
    with pytest.raises(DataError, match=r"rows\.npz .* it holds Python objects"):
        prepare("miniboone", path)
    np.savez(path)
    with pytest.raises(DataError, match=r"rows\.npz holds no array|rows\.npz is a zip archive"):
        prepare("miniboone", path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("table.npy", b"no array")
    with pytest.raises(DataError, match=r"rows\.npz (holds no array|can't be read|is a zip archive)"):
        prepare("miniboone", path)
    np.savez(path, table=rows)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"rows\.npz "):
        prepare("miniboone", path)
    with pytest.raises(DataError, match=r"rows\.npz can't be read as an array of numbers"):
        load_array(path)


def test_power_has_eight_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.zeros((20, 6)))
    with pytest.raises(DataError, match=r"6 columns instead of 8, so it is not of power: give UCI's"):
        prepare("power", tmp_path)
    with pytest.raises(DataError, match="made of 8 columns, these rows have 6"):
        public.power(np.zeros((20, 6)))


def gas_columns() -> dict[str, Any]:
    a, b, noise = np.random.default_rng(1).normal(size=(3, 40))
    return {
        "Time": np.arange(40.0),
        "Meth": a,
        "Eth": b,
        "A": a,  # near B and D: dropped
        "B": 2 * a + 0.01 * noise,  # near D: dropped then
        "C": -a,  # as near as can be, but of the other sign
        "D": a + 0.02 * noise,
        "E": b,
    }


def test_gas() -> None:
    columns = gas_columns()
    splits = public.gas(list(columns), np.column_stack(list(columns.values())))
    assert sizes(splits) == (33, 3, 4)
    left = np.column_stack([columns[name] for name in "CDE"])
    np.testing.assert_allclose(rows_of(splits), left, atol=1e-6)  # in the order of time
    assert splits.mean is not None
    assert splits.std is not None
    np.testing.assert_allclose(splits.mean, left.mean(axis=0), atol=1e-15)  # of all rows
    np.testing.assert_allclose(splits.std, np.sqrt(left.var(axis=0) * 40 / 39), rtol=1e-14)


def test_distinct_columns_drops_the_first_of_each_pair() -> None:
    """A chain: the middle is near both ends, which are not near each other."""
    x, y = np.linalg.qr(np.random.default_rng(2).normal(size=(200, 2)))[0].T
    angle = np.arccos(0.985)
    at = [np.cos(k * angle) * x + np.sin(k * angle) * y for k in range(3)]
    centred = np.column_stack(at)
    centred = np.vstack([centred, -centred])  # so that the correlation is the cosine
    assert public.distinct_columns(centred) == [2]  # 0 is near 1, then 1 is near 2
    assert public.distinct_columns(centred[:, [1, 0, 2]]) == [1, 2]  # without the middle none is near
    assert public.distinct_columns(centred[:, :1]) == [0]


def test_gas_without_its_columns() -> None:
    columns = gas_columns()
    del columns["Eth"]
    with pytest.raises(DataError, match=r"no column 'Eth' \(columns: Time, Meth, A"):
        public.gas(list(columns), np.column_stack(list(columns.values())))


def hepmass_tables() -> tuple[Any, Any]:
    """Signal rows, of which f1 repeats its smallest value 6 times, f2 its largest 15 times, f3 its smallest 5 times."""
    rng = np.random.default_rng(3)
    train, test = rng.normal(size=(20, 4)), rng.normal(size=(7, 4))
    train[:6, 1] = -9
    train[:15, 2] = 9
    train[10:15, 3] = -9
    return train, test


def labelled(signal: Any, *more: float) -> Any:
    """The rows with label 1 in front, `more` columns behind, and as many rows of background among them."""
    table = np.column_stack([np.ones(len(signal)), signal, *(np.full(len(signal), value) for value in more)])
    background = np.full_like(table, 7)
    background[:, 0] = 0
    return np.stack([background, table], axis=1).reshape(-1, table.shape[1])


def test_hepmass() -> None:
    train, test = hepmass_tables()
    splits = public.hepmass(labelled(train), labelled(test, 1000.0))
    assert sizes(splits) == (18, 2, 7)
    kept = [0, 2, 3]
    np.testing.assert_allclose(rows_of(splits), np.vstack([train, test])[:, kept], atol=1e-5)
    assert splits.mean is not None
    assert splits.std is not None
    np.testing.assert_allclose(splits.mean, train[:, kept].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(splits.std, np.sqrt(train[:, kept].var(axis=0) * 20 / 19), rtol=1e-12)


def test_hepmass_without_a_signal() -> None:
    train, test = map(labelled, hepmass_tables())
    with pytest.raises(DataError, match="no training rows with label 1"):
        public.hepmass(train[train[:, 0] == 0], test)
    with pytest.raises(DataError, match="no test rows with label 1"):
        public.hepmass(train, test[test[:, 0] == 0])


def write_bsds(path: Path, **parts: Any) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, rows in parts.items():
            file[name] = rows


def test_bsds300(tmp_path: Path) -> None:
    rows = np.random.default_rng(4).normal(size=(9, 63)).astype(np.float32)
    write_bsds(tmp_path / "BSDS300.hdf5", train=rows[:4], validation=rows[4:6], test=rows[6:])
    splits = prepare("bsds300", tmp_path).splits
    assert sizes(splits) == (4, 2, 3)
    assert splits.mean is None
    assert splits.log_density_offset == 0
    np.testing.assert_array_equal(rows_of(splits), rows)


def test_bsds300_with_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "BSDS300.hdf5"
    write_bsds(path, train=np.zeros((4, 63)), test=np.zeros((4, 63)))
    with pytest.raises(DataError, match="validation"):
        prepare("bsds300", tmp_path)
    write_bsds(path, train=np.zeros((4, 63)), validation=np.zeros((4, 62)), test=np.zeros((4, 63)))
    with pytest.raises(DataError, match=r"\(4, 62\)"):
        prepare("bsds300", tmp_path)
    path.write_bytes(b"not HDF5")
    with pytest.raises(DataError, match=r"is a text file, not the file of bsds300: give BSDS300\.hdf5"):
        prepare("bsds300", tmp_path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(DataError, match="can't be read as HDF5"):
        prepare("bsds300", tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(PackageMissing, match="pip install h5py"):
        prepare("bsds300", tmp_path)
