"""Parts of a table by numbers: where damage is, how many rows a share is, how columns are scaled."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pynode.datasets.errors import DataError
from pynode.datasets.splits import cut, cut_off, first_damage

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
