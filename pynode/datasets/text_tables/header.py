"""Whether the first line of a text table is a header, and how many cells its lines have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from pynode.datasets.text_tables.cells import kind_of, number, plain_number
from pynode.datasets.text_tables.records import Record

WHOLE = re.compile(r"\d+")


@dataclass(frozen=True)
class Layout:
    """The number of cells in a line, the header's names (empty without a header), and what a user should know."""

    width: int
    names: tuple[str, ...]
    notice: str = ""


def layout(sample: list[Record], header: bool | None) -> Layout:
    """The layout of a table that begins with `sample`; `header` says whether it has one, None that it is not known.

    A line without any number is a header.  So are the integers 0, 1, 2, ..., which pandas writes for columns without
    names, and other increasing integers above lines of decimal fractions, such as years.
    """
    first = [cell.strip() for cell in sample[0][1]]
    body = [cells for _, cells in sample[1:]]
    if len(first) > 1 and not first[-1] and all(_ends_empty(cells, len(first)) for cells in body):
        first = first[:-1]  # a delimiter at the end of every line
    counted = _counts(first, body)
    if header is None:
        header = counted or (not any(_is_number(cell) for cell in first) and not all(map(_is_missing, first)))
        notice = f"line {sample[0][0]} is read as a header: {_shown(first)}" if header and counted else ""
    else:
        notice = ""
    names = tuple(" ".join(cell.split()) for cell in first) if header else ()
    # R's write.table gives no name to the row names
    if header and len(first) > 1 and body and all(_width(cells) == len(first) + 1 for cells in body):
        return Layout(len(first) + 1, ("", *names), notice)
    return Layout(len(first), names, notice)


def _counts(first: list[str], body: list[list[str]]) -> bool:
    """Whether a line of integers is a header: 0, 1, 2, ..., or increasing ones where all below are fractions."""
    start = 1 if len(first) > 1 and not first[0] else 0  # pandas does not name its index
    cells = first[start:]
    if len(cells) > 1 and [plain_number(cell) for cell in cells] == list(range(len(cells))):
        return True  # as floating point numbers, too
    if not all(WHOLE.fullmatch(cell) for cell in cells):
        return False
    values = [int(cell) for cell in cells]
    if values == [0]:
        return True
    below = [cell.strip() for row in body for cell in row[start:]]
    increasing = len(values) > 1 and all(a < b for a, b in pairwise(values))
    return increasing and len(body) > 1 and not any(WHOLE.fullmatch(cell.lstrip("+-")) for cell in below)


def _is_number(cell: str) -> bool:
    return number(cell, ".") is not None or number(cell, ",") is not None


def _is_missing(cell: str) -> bool:
    return kind_of(cell) == "missing"


def _ends_empty(cells: list[str], width: int) -> bool:
    return len(cells) == width - 1 or (len(cells) == width and not cells[-1].strip())


def _width(cells: list[str]) -> int:
    return len(cells) - (len(cells) > 1 and not cells[-1].strip())


def _shown(cells: list[str]) -> str:
    return ", ".join(cells[:4]) + (", ..." if len(cells) > 4 else "")
