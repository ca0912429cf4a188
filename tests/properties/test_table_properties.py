"""A user's tables: any bytes are a table of finite numbers, or are refused in words."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pynode.datasets.errors import DataError
from pynode.datasets.tables import load_table, split_and_standardise
from pynode.errors import UsageError
from tests.properties.profiles import tried
from tests.properties.strategies import damaged


def _npy(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


NPY = [
    _npy(np.arange(12.0).reshape(4, 3)),
    _npy(np.arange(6, dtype=np.int32).reshape(3, 2)),
    _npy(np.array(1.0)),
    _npy(np.array([["a", "b"]])),
    _npy(np.zeros((0, 3))),
    _npy(np.ones((2, 2), dtype=np.complex128)),
    _npy(np.zeros(2, dtype=[("a", "f8")])),
]
CSV = b"a,b,c\n1.5,2,3\n4,5e-3,6\n"
cells = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(
        ["", " ", "nan", "inf", "1_000", "1e999", "0x1", "a", '"', '"1"', "\u0664", "1,5", "\x00", "1e", "+", "\ufeff1"]
    ),
    st.text(max_size=4),
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def check(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.write_bytes(content)
    try:
        rows = load_table(path)
    except DataError:
        return
    assert rows.ndim == 2
    assert rows.dtype == np.float64
    assert min(rows.shape) > 0
    assert np.isfinite(rows).all()


@given(st.sampled_from(range(len(NPY))), st.data())
@tried(150)
def test_damaged_npy(folder: Path, which: int, data: st.DataObject) -> None:
    check(folder, "t.npy", data.draw(damaged(NPY[which])))


@given(st.text(max_size=80))
@example("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 1000000000)}")
@example("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}")
@example("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2)}")
@example("(" * 80)
@tried(60)
def test_any_npy_header(folder: Path, header: str) -> None:
    raw = header.encode()
    check(folder, "t.npy", b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + bytes(64))


@given(damaged(CSV))
@tried(100)
def test_damaged_csv(folder: Path, content: bytes) -> None:
    check(folder, "t.csv", content)


@given(
    st.lists(st.lists(cells, min_size=1, max_size=4), max_size=5),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
@tried(150)
def test_csv_of_odd_cells(folder: Path, rows: list[list[str]], delimiter: str, end: str) -> None:
    check(folder, "t.csv", end.join(delimiter.join(row) for row in rows).encode("utf-8", "surrogatepass"))


@example([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 6e-149], *[[0.0, 0.0]] * 9], (0.5, 0.5), 5)  # beyond float32
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), max_size=40),
    st.sampled_from([(0.1, 0.1), (0.5, 0.5), (0.9, 0.9), (0.0, 0.1), (float("nan"), 0.1), (2, 3)]),
    st.integers(0, 5),
)
@tried(60)
def test_splits_hold_each_row_once(rows: list[list[float]], fractions: tuple[float, float], seed: int) -> None:
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 2)
    try:
        splits = split_and_standardise(table, seed=seed, fractions=fractions)
    except UsageError:
        return
    together = np.concatenate([splits.train, splits.validation, splits.test])
    assert together.shape == table.shape
    assert np.isfinite(together).all()
    assert splits.mean is not None
    assert splits.std is not None
    back = together * splits.std + splits.mean
    scale = np.abs(table).max()
    assert np.allclose(np.sort(back, 0), np.sort(table, 0), rtol=1e-6, atol=1e-6 * scale)
