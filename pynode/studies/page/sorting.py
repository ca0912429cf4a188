"""By what the columns of a table are sorted: numbers as numbers, all else as text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pynode.studies.base import Table

_NUMBER = re.compile(r"[<>≤≥≈~]?\s*([-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?)(?=$|[\s%×°(;]|,\s)")

UNITS = {
    **dict(zip(("bytes", "kB", "MB", "GB"), (1.0, 1e3, 1e6, 1e9), strict=True)),
    **dict(zip(("KiB", "MiB", "GiB"), (2.0**10, 2.0**20, 2.0**30), strict=True)),
    **dict(zip(("µs", "ms", "s", "min", "h"), (1e-6, 1e-3, 1.0, 60.0, 3600.0), strict=True)),
}
"""Units that change within a column."""

_MISSING = re.compile(r"\s*(?:no|not|never|none)\b")


def number_in(cell: str) -> float | None:
    """The number that a cell begins with, such as 12.3 of "12.3 % (10.1 to 13.2)"; None where it begins with none.

    A unit of bytes or of time after it counts: 2 MiB are more than 300 KiB.
    """
    match = _NUMBER.match(cell.strip())
    if match is None:
        return None
    after = cell.strip()[match.end() :].split()
    return float(match[1].replace(",", "").replace("−", "-")) * (UNITS.get(after[0], 1.0) if after else 1.0)


def numbers_of(cells: Sequence[str]) -> list[float | None] | None:
    """The numbers of a column, None for what is missing in it; None where the column is text.

    A cell without a digit ("–", "not recorded") is missing, and so is one that begins with "no" ("no opt-disc (1 of
    3)"); any other one that does not begin with a number makes the column text.
    """
    numbers = [number_in(cell) for cell in cells]
    if all(number is None for number in numbers):
        return None
    words = [cell for cell, number in zip(cells, numbers, strict=True) if number is None]
    return None if any(re.search(r"\d", word) and not _MISSING.match(word) for word in words) else numbers


def sort_keys(table: Table) -> list[list[float | None] | None]:
    """For each column of `table` its numbers, or None where it is sorted as text."""
    return [numbers_of([row[k] for row in table.rows]) for k in range(len(table.columns))]
