"""By what columns are sorted: which are numbers, and which numbers."""

from __future__ import annotations

import pytest

from pynode.studies.base import Table
from pynode.studies.page.sorting import number_in, numbers_of, sort_keys


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("12", 12.0),
        ("1,234", 1234.0),
        ("551,606", 551606.0),
        ("-7.5", -7.5),
        ("−7.5", -7.5),
        ("4.4e-05", 4.4e-05),
        ("12.3 % (10.1 to 13.2)", 12.3),
        ("3 of 4", 3.0),
        ("2 steps", 2.0),
        ("1.05×", 1.05),
        ("1.40, not idle", 1.4),
        ("< 0.01", 0.01),
        ("5 (fused)", 5.0),
        ("300 KiB", 300 * 1024.0),
        ("2 MiB", 2.0 * 1024**2),
        ("90 s", 90.0),
        ("2 min", 120.0),
        ("8gaussians", None),
        ("2026-11-29T06:10:53+00:00", None),
        ("1.2.3", None),
        ("3.11.7", None),
        ("1,2", None),
        ("rtol 1e-03", None),
        ("–", None),
        ("", None),
    ],
)
def test_the_number_that_a_cell_begins_with(cell: str, number: float | None) -> None:
    assert number_in(cell) == number


def test_columns_of_numbers() -> None:
    assert numbers_of(["10", "9", "–", "not recorded"]) == [10.0, 9.0, None, None]
    assert numbers_of(["2.2 (2 to 3)", "no opt-disc (1 of 3)"]) == [2.2, None]


def test_columns_of_text() -> None:
    assert numbers_of(["4 steps", "rtol 1e-05"]) is None
    assert numbers_of(["spiral", "8gaussians"]) is None
    assert numbers_of(["–", "–"]) is None
    assert numbers_of([]) is None


def test_keys_of_a_table() -> None:
    table = Table("", ["run", "loss"], [["b", "1e-3"], ["a", "–"]])
    assert sort_keys(table) == [None, [1e-3, None]]
