"""Which rows are held out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.errors import InvalidArgument
from pynode.trajectories.data import Trajectories
from pynode.trajectories.parts import Split, parts_of
from tests.trajectories.made import decays, series, swing, trajectory


def test_the_last_rows_are_held_out_but_not_of_short_trajectories() -> None:
    parts = parts_of(decays(), None, None, None)
    assert [int((~mask).sum()) for mask in parts.training] == [2, 2, 2, 1, 1, 0]
    assert "20 %" in parts.sentence
    assert not parts_of(decays(), None, 0, None).anything_held_out
    assert int((~parts_of(swing(), "time", 24, None).training[0]).sum()) == 24


def test_whole_trajectories_are_given_by_their_first_rows() -> None:
    parts = parts_of(decays(), None, "p1, p3", None)
    assert parts.kind == "trajectory"
    assert [bool(mask.any()) for mask in parts.training] == [True, False, True, False, True, True]
    assert parts.known[1].tolist() == [True, True, *[False] * 5]
    assert int(parts_of(decays(), "trajectory", None, 3).known[5].sum()) == 2


@pytest.mark.parametrize(
    ("split", "held_out", "given", "named"),
    [
        (None, "p9", None, "p9"),
        ("time", "p1", None, "p1"),
        (None, None, 2, "given"),
        ("trajectory", ("p0", "p1", "p2", "p3", "p4", "p5"), None, "nothing is left"),
        (None, 1.5, None, "held_out"),
        (None, -1.0, None, "held_out"),
    ],
)
def test_what_makes_no_sense_is_refused(split: object, held_out: object, given: object, named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        parts_of(decays(), split, held_out, given)  # type: ignore[arg-type]


def numbered() -> Trajectories:
    """Twelve trajectories that are called 1 to 12."""
    times = np.arange(6.0)
    return series(*(trajectory(str(k + 1), times, np.cos(times + k)) for k in range(12)))


@pytest.mark.parametrize(
    ("split", "held_out", "kind", "out"),
    [
        (None, "id:3", "trajectory", ["3"]),
        ("trajectory", "id:3,id:12", "trajectory", ["3", "12"]),
        (None, ("3",), "trajectory", ["3"]),
        ("trajectory", "number:2", "trajectory", ["11", "12"]),
        (None, "number:3", "time", []),
        ("time", "3", "time", []),
        (None, "0", "time", None),
    ],
)
def test_names_that_are_numbers(split: Split | None, held_out: object, kind: str, out: list[str] | None) -> None:
    of = numbered()
    parts = parts_of(of, split, held_out, None)  # type: ignore[arg-type]
    assert parts.kind == kind
    whole = [each.name for each, mask in zip(of.each, parts.training, strict=True) if not mask.any()]
    assert whole == (out or [])
    if kind == "time":
        assert [int((~mask).sum()) for mask in parts.training] == [0 if out is None else 3] * 12


@pytest.mark.parametrize("split", [None, "trajectory"])
def test_a_number_that_is_a_name_is_refused(split: Split | None) -> None:
    with pytest.raises(InvalidArgument, match="id:3 for the trajectory, or number:3"):
        parts_of(numbered(), split, "3", None)


def test_one_trajectory_can_not_be_split_by_trajectory() -> None:
    with pytest.raises(InvalidArgument, match="one trajectory only"):
        parts_of(swing(), "trajectory", None, None)


def test_every_row_is_somewhere() -> None:
    for parts in (parts_of(decays(), None, 0.5, None), parts_of(decays(), "trajectory", 2, 1)):
        assert all(len(mask) == len(each.times) for mask, each in zip(parts.training, decays().each, strict=True))
        assert all(np.asarray(mask).any() for mask in parts.known)
