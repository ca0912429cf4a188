"""Counts in sentences."""

from __future__ import annotations

import pytest

from pynode.studies.base import accuracy
from pynode.wording import counted, verb


@pytest.mark.parametrize(("number", "said"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1000, "1,000 steps")])
def test_one_is_no_plural(number: int, said: str) -> None:
    assert counted(number, "step") == said


def test_other_plurals() -> None:
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
    assert [verb(n, "is", "are") for n in (1, 2)] == ["is", "are"]


def test_accuracies_of_tables() -> None:
    assert [accuracy(n, adaptive=False) for n in (1.0, 4.0)] == ["1 step", "4 steps"]
    assert accuracy(1e-3, adaptive=True) == "rtol 1e-03"
