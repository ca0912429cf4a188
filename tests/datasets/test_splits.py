"""Parts of a table by numbers: where damage is, how many rows a share is, how columns are scaled."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pynode.datasets.errors import DataError
from pynode.datasets.splits import Splits, cut, cut_off, first_damage

ROWS = np.arange(40.0).reshape(20, 2)


def test_where_the_first_damage_is_and_how_much_there_is() -> None:
    assert first_damage(ROWS) is None
    one, two, many = ROWS.copy(), ROWS.copy(), ROWS.copy()
    one[4, 1] = math.nan
    assert first_damage(one) == "row 5, column 2: nan is not a finite number"
    two[[7, 9], 0] = math.inf
    assert first_damage(two) == "row 8, column 1: inf is not a finite number (one of 2 such values in this column)"
    many[3, 1], many[2:4, 0] = -math.inf, math.nan
    assert first_damage(many) == "row 3, column 1: nan is not a finite number (one of 3 such values in 2 columns)"


def test_the_last_share_is_rounded_down_to_whole_rows() -> None:
    first, last = cut_off(ROWS, 0.19)
    assert (len(first), len(last)) == (17, 3)
    assert np.array_equal(np.vstack((first, last)), ROWS)
    assert [len(part) for part in cut(ROWS)] == [17, 1, 2]
    assert [len(part) for part in cut(ROWS, test=0.25, validation=0.2)] == [12, 3, 5]
    assert np.array_equal(cut(ROWS)[2], ROWS[18:])
    for share in (0.04, 1.0):
        with pytest.raises(DataError, match="rows = 20: too few to cut off the last"):
            cut_off(ROWS, share)
    assert [len(part) for part in cut_off(ROWS, 0.05)] == [19, 1]


@pytest.mark.parametrize(("unit", "origin"), [(0.1, 4.3), (1.0, 1700000001.0), (0.05, -0.35)])
def test_samples_of_stepped_columns_are_numbers_of_the_file(unit: float, origin: float) -> None:
    """4.6 as a file has it, not 4.6000000000000005."""
    splits = Splits(
        "t",
        *(ROWS[:, :1],) * 3,
        mean=np.array([origin + 3]),
        std=np.array([2.0]),
        units=np.array([unit]),
        origins=np.array([origin]),
    )
    steps = np.arange(50) + 0.5
    rows = splits.unstandardised(splits.standardised((origin + steps * unit)[:, None]))
    assert [float(f"{value:.2f}") for value in rows[:, 0]] == rows[:, 0].tolist()
    assert np.array_equal(np.round((rows[:, 0] - origin) / unit), np.arange(50))
