"""New trajectories in the order of a trained model's columns, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pynode.errors import InvalidArgument
from pynode.trajectories.alike import aligned
from pynode.trajectories.data import Input, Trajectories, Trajectory
from tests.trajectories.axes import DAYS, NUMBERS

TIMES = np.array([0.0, 1.0])
DOSE, HEAT = Input(TIMES, TIMES), Input(TIMES, -TIMES)
KNOWN = Trajectories(
    (Trajectory("old", TIMES, np.zeros((2, 2)), (DOSE, HEAT), np.array([1.0, 0.0]), np.arange(2)),),
    NUMBERS,
    ("a", "b"),
    ("dose", "heat"),
    ("jumps", "steps"),
    ("kind oak", "kind elm"),
    id_columns=("tree",),
    constants={"setpoint": 37.0},
)
NEW = Trajectories(
    (Trajectory("new", TIMES, np.array([[1.0, 3.0], [2.0, 4.0]]), (HEAT, DOSE), np.array([1.0]), np.arange(2)),),
    NUMBERS,
    ("b", "a"),
    ("heat", "dose"),
    ("steps", "jumps"),
    ("kind elm",),
    id_columns=("tree",),
    path=Path("new.csv"),
    constants={"setpoint": 37.0},
)


def test_columns_are_put_in_order() -> None:
    (own,) = aligned(KNOWN, NEW)
    np.testing.assert_array_equal(own.values, [[3.0, 1.0], [4.0, 2.0]])
    assert own.inputs == (DOSE, HEAT)
    np.testing.assert_array_equal(own.covariates, [0.0, 1.0])


def test_a_column_that_does_not_change_in_the_new_file_is_a_column() -> None:
    flat = replace(NEW.each[0], values=np.array([[3.0], [4.0]]))
    (own,) = aligned(KNOWN, replace(NEW, each=(flat,), values=("a",), constants={"b": 5.0, "setpoint": 37.0}))
    np.testing.assert_array_equal(own.values, [[3.0, 5.0], [4.0, 5.0]])


def test_a_number_that_the_model_has_as_a_class_is_that_class() -> None:
    known = replace(KNOWN, covariates=("Diet=1", "Diet=2"))
    own = replace(NEW.each[0], covariates=np.array([2.0]))
    (new,) = aligned(known, replace(NEW, each=(own,), covariates=("Diet",)))
    np.testing.assert_array_equal(new.covariates, [0.0, 1.0])
    own = replace(own, covariates=np.array([3.0]))
    with pytest.raises(InvalidArgument, match="Diet=3 is unknown to the model; it knows Diet=1, Diet=2"):
        aligned(known, replace(NEW, each=(own,), covariates=("Diet",)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"axis": DAYS}, "its times are days, those of the model units of hours"),
        ({"constants": {"setpoint": 38.0}}, "setpoint is 38 there, and 37 in all that the model has seen"),
        ({"values": ("b", "c")}, "no column a; it needs a, b"),
        ({"inputs": ("heat", "d")}, "no input dose"),
        ({"covariates": ("kind yew",)}, "kind yew is unknown to the model; it knows kind oak, kind elm"),
    ],
)
def test_what_differs_is_said(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        aligned(KNOWN, replace(NEW, **change))  # type: ignore[arg-type]
