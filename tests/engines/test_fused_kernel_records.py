"""Records that kernels read and write by their addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pynode.engines.fused import unavailable

if unavailable():
    pytest.skip(str(unavailable()), allow_module_level=True)

import numba

from pynode.engines.fused.records import Floats, Ints, Numbers, Record, Stored, reader
from pynode.engines.fused.simd import exists


@dataclass(eq=False)
class Part(Record):
    """A record that another one holds."""

    number: int
    factor: float


@dataclass(eq=False)
class Whole(Record):
    """One field of each kind."""

    count: int
    is_on: bool
    time: float
    places: Ints
    weights: Floats
    rows: Numbers
    nothing: Numbers
    part: Part
    parts: list[Part]


whole_at = reader(Whole)


@numba.njit
def read(like: Any, address: int, out: Any) -> None:
    """Every field into one of the numbers `out`."""
    whole = whole_at(like, address)
    out[0] = whole.count
    out[1] = 1.0 if whole.is_on else 0.0
    out[2] = whole.time
    out[3] = whole.places[1]
    out[4] = whole.weights[2]
    out[5] = whole.rows[1]
    out[6] = 1.0 if exists(whole.nothing) else 0.0
    out[7] = whole.part.number * whole.part.factor
    out[8] = 1.0 if exists(whole.rows) else 0.0
    for i in range(whole.count):
        out[9 + i] = whole.parts[i].number + whole.parts[i].factor


@numba.njit
def write(like: Any, address: int) -> None:
    """New values for all numbers."""
    whole = whole_at(like, address)
    whole.count += 4
    whole.is_on = not whole.is_on
    whole.time = -0.5
    whole.part.number = 9
    whole.parts[1].factor = 2.5


def whole(rows: Any, *, is_on: bool = True) -> Whole:
    """With numbers that differ in all fields."""
    parts = [Part(i, i / 8) for i in (1, 2, 3)]
    places, weights = np.array([5, 6]), np.array([0.1, 0.2, 0.3])
    return Whole(3, is_on, 1.25, places, weights, Numbers(rows.ctypes.data), Numbers(0), Part(7, 0.5), parts)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("is_on", [True, False])
def test_every_field_is_read(dtype: Any, is_on: bool) -> None:
    """Numbers of the solve's type are read as such."""
    rows = np.array([10, 20, 30], dtype=dtype)
    record, out = whole(rows, is_on=is_on), np.zeros(12)
    read(rows, record.address, out)
    assert out.tolist() == [3, is_on, 1.25, 6, 0.3, 20, 0, 3.5, 1, 1.125, 2.25, 3.375]


def test_what_a_kernel_writes_is_read_in_python() -> None:
    rows = np.zeros(3)
    record = whole(rows)
    write(rows, record.address)
    now = Whole.read(record.stored)
    assert (now.count, now.is_on, now.time) == (7, False, -0.5)
    assert (record.count, record.is_on, record.time) == (3, True, 1.25)
    assert Part.read(record.part.stored).number == 9
    out = np.zeros(12)
    record.stored.array["count"] = 2
    read(rows, record.address, out)
    assert out[10] == 2 + 2.5


def test_records_that_are_pointed_to_stay_alive() -> None:
    """Nobody else holds them."""
    stored = Stored(
        [Whole(1, True, 0.0, np.array([1, 2]), np.ones(3), Numbers(0), Numbers(0), Part(4, 2.0), [Part(1, 1.0)])]
    )
    filler = [np.full(3, -1.0) for _ in range(100)]
    out, rows = np.zeros(12), np.zeros(2)
    stored.array["count"], stored.array["rows"] = 0, rows.ctypes.data
    read(rows, stored.address, out)
    assert out[:8].tolist() == [0, 1, 0, 2, 1, 0, 0, 8]
    assert len(filler) == 100


def test_a_field_that_is_none_is_told() -> None:
    @numba.njit
    def misspelt(like: Any, address: int) -> int:
        return whole_at(like, address).cuont

    rows = np.zeros(1)
    with pytest.raises(numba.TypingError, match="cuont"):
        misspelt(rows, whole(rows).address)
