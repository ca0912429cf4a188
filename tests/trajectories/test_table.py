"""The table of a forecast."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.errors import RunFailure
from pynode.trajectories.table import Rows, ValueColumn, as_csv
from tests.trajectories.axes import NUMBERS, WHOLE


def test_id_first_then_time_then_values() -> None:
    rows = [
        Rows("P1", np.array([1.5]), np.array([[1 / 3, 37.123456789012]]), ("P1",)),
        Rows("P, 2", np.array([2.0]), np.ones((1, 2)), ("P, 2",)),
    ]
    columns = [ValueColumn("mg"), ValueColumn("set, point", constant=True)]
    text = as_csv(rows, columns, NUMBERS, id_columns=["patient"])
    assert text.decode() == ('patient,hours,mg,"set, point"\nP1,1.5,0.333333333,37.123456789012\n"P, 2",2,1,1\n')


def test_times_are_the_files_own() -> None:
    rows = [Rows("", np.array([1732786800250.0]), np.array([[1e-9]]))]
    text = as_csv(rows, [ValueColumn("tilt")], WHOLE, id_columns=[])
    assert text == b"when,tilt\n1732786800250,1e-09\n"


@pytest.mark.parametrize(("value", "cell"), [(-10.0, "350"), (360.0, "0"), (359.9999999999, "0"), (725.0, "5")])
def test_angles_stay_on_their_circle(value: float, cell: str) -> None:
    rows = [Rows("", np.array([0.0]), np.array([[value]]))]
    text = as_csv(rows, [ValueColumn("heading", period=360.0)], NUMBERS, id_columns=[])
    assert text.decode().splitlines()[1] == f"0,{cell}"


@pytest.mark.parametrize(
    ("value", "cell"), [(-10.0, "-10"), (190.0, "-170"), (180.0, "-180"), (179.9999999999, "-180")]
)
def test_angles_of_a_file_with_negative_ones(value: float, cell: str) -> None:
    rows = [Rows("", np.array([0.0]), np.array([[value]]))]
    columns = [ValueColumn("heading", period=360.0, begins=-180.0)]
    assert as_csv(rows, columns, NUMBERS, id_columns=[]).decode().splitlines()[1] == f"0,{cell}"


def test_small_changes_of_large_values_are_written() -> None:
    """Nine digits of 1e9 would be whole numbers, whatever the column's spread."""
    rows = [Rows("", np.array([0.0]), np.array([[1013250000.1234567, 101325.0123456]]))]
    columns = [ValueColumn("clock", spread=0.01), ValueColumn("pa", spread=2.0)]
    assert as_csv(rows, columns, NUMBERS, id_columns=[]).decode().splitlines()[1] == "0,1013250000.1234567,101325.01235"


def test_nothing_that_is_not_finite_is_written() -> None:
    rows = [Rows("P1", np.array([1.0, 2.0]), np.array([[0.0], [np.nan]]), ("P1",))]
    with pytest.raises(RunFailure, match="the forecast of mg of P1 is not finite from 2 on"):
        as_csv(rows, [ValueColumn("mg")], NUMBERS, id_columns=["id"])


def test_digits_of_values_far_beyond_their_spread() -> None:
    """Without overflow; and there is no minus zero."""
    column = ValueColumn("x", spread=1e-300)
    text = as_csv([Rows("a", np.array([0.0, 1.0]), np.array([[1e300], [-0.0]]))], [column], NUMBERS, id_columns=())
    assert text.decode().split() == ["hours,x", "0,1.0000000000000001e+300", "1,0"]
