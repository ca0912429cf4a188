"""The decimal mark of a text table, on which all of its numbers agree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pynode.datasets.errors import DataError
from pynode.datasets.text_lines import Mark, kind_of, number

POINTS = re.compile(r"[+-]?\d{1,3}\.\d{3}")
"""A number with a decimal point and three places, or one above 1,000 with a point between the thousands."""


def decimal_mark(path: Path, lines: Sequence[int], cells: Mapping[int, Sequence[str]], delimiter: str) -> Mark:
    """The decimal mark of the numbers in these columns.

    Raises `DataError` where they use both, or leave open which it is.
    """
    only: dict[Mark, tuple[int, str]] = {}
    unclear: tuple[int, str] | None = None
    for column in cells.values():
        for row, cell in enumerate(column):
            text = cell.strip()
            if not text or text.isdigit():
                continue
            by_point, by_comma = number(text, "."), number(text, ",")
            if by_point is not None and by_comma is None:
                only.setdefault(".", (lines[row], text))
            elif by_comma is not None and by_point is None:
                only.setdefault(",", (lines[row], text))
            elif by_point != by_comma and kind_of(text) == "text":
                if text.lstrip("+-").startswith("0,"):
                    only.setdefault(",", (lines[row], text))
                elif text.lstrip("+-").startswith("0."):
                    only.setdefault(".", (lines[row], text))
                elif unclear is None:
                    unclear = lines[row], text
    if len(only) == 2:
        (line, cell), (other_line, other) = only["."], only[","]
        raise DataError(
            f"{path} mixes decimal points (line {line}: '{cell}') with decimal commas (line {other_line}: '{other}'): "
            "use one of them"
        )
    if only:
        return next(iter(only))
    if unclear is None or delimiter == ",":
        return "."  # a number with a comma among commas is in quotes, and has thousands
    line, cell = unclear
    if "." in cell and not any(_has_thousands(column) for column in cells.values()):
        return "."
    raise DataError(
        f"{path}, line {line}: '{cell}' can be {number(cell, ','):g} or {number(cell, '.'):g}; "
        "say which mark is the decimal one (decimal=. or decimal=,)"
    )


def _has_thousands(column: Sequence[str]) -> bool:
    """Whether numbers such as 1.250 stand among such as 950: with decimal points they would jump by thousands."""
    texts = [text for cell in column if (text := cell.strip()) and kind_of(text) == "text"]
    points = [text for text in texts if POINTS.fullmatch(text)]
    whole = [text for text in texts if text.lstrip("+-").isdigit()]
    large = [text for text in whole if len(text.lstrip("+-")) == 3]
    return len(points) > 1 and bool(large) and len(points) + len(whole) == len(texts)
