"""The header of a text table: whether the first line is one, also of numbers, and the names in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pynode.datasets.date_styles import seconds_of
from pynode.datasets.text_lines import Record, could_be_number, kind_of, number, plain_number

WHOLE = re.compile(r"\d+")
COMMENT = re.compile(r"(?:%|//|!|\*) (?=\w)")
"""Before the names of a header that is a comment of another program: % time."""

YEARS = (1500, 2200)
"""Whole numbers between these that follow each other are years, where names stand."""


@dataclass(frozen=True)
class Layout:
    """The number of cells in a line, the header's names (empty without a header), and what a user should know."""

    width: int
    names: tuple[str, ...]
    notice: str = ""


def layout(sample: list[Record], header: bool | None) -> Layout:
    """The layout of a table that begins with `sample`; `header` says whether it has one, None that it is not known.

    A line without any number is a header.  So are the integers 0, 1, 2, ..., which pandas writes for columns without
    names, and other increasing integers above lines of decimal fractions if they count from 1 or most of them stand far
    outside the numbers below; beside words only years.
    """
    first = [cell.strip() for cell in sample[0][1]]
    body = [cells for _, cells in sample[1:]]
    if len(first) > 1 and not first[-1] and all(_ends_empty(cells, len(first)) for cells in body):
        first = first[:-1]  # a delimiter at the end of every line
    counted = _counts(first, body)
    if header is None:
        words = not any(_is_number(cell) for cell in first) and not all(map(is_missing, first))
        numbered = counted or has_years(first, body)
        header = words or numbered
        notice = (
            f"line {sample[0][0]} is read as a header: {shown(first)} (header=False if it is a row)" if numbered else ""
        )
    else:
        notice = ""
    names = tuple(_name(cell) for cell in first) if header else ()
    # R's write.table gives no name to the row names
    if header and len(first) > 1 and body and all(_width(cells) == len(first) + 1 for cells in body):
        return Layout(len(first) + 1, ("", *names), notice)
    return Layout(len(first), names, notice)


def _name(cell: str) -> str:
    """A name in the header, without quotes that the reading of cells has left: 'speed'."""
    name = COMMENT.sub("", " ".join(cell.split()))
    quoted = len(name) > 2 and name[0] == name[-1] and name[0] in "'\""
    return name[1:-1] if quoted else name


def _counts(first: list[str], body: list[list[str]]) -> bool:
    """Whether a line of integers is a header: 0, 1, 2, ..., or increasing ones where all below are other fractions."""
    start = 1 if len(first) > 1 and not first[0] else 0  # pandas does not name its index
    cells = first[start:]
    if len(cells) > 1 and [plain_number(cell) for cell in cells] == list(range(len(cells))):
        return True  # as floating point numbers, too
    if not all(WHOLE.fullmatch(cell) for cell in cells):
        return False
    values = [int(cell) for cell in cells]
    below = [cell.strip() for row in body for cell in row[start:]]
    if values == [0]:
        # a column alone whose first value is 0 holds more whole numbers
        return start == 1 or not any(WHOLE.fullmatch(cell.lstrip("+-")) for cell in below)
    increasing = len(values) > 1 and all(a < b for a, b in pairwise(values))
    if not increasing or len(body) < 2 or any(WHOLE.fullmatch(cell.lstrip("+-")) for cell in below):
        return False
    far = sum(is_far(value, body, n) for n, value in enumerate(values, start))
    if values == list(range(1, len(values) + 1)):
        return len(values) > 2 or far > 0
    return 2 * far > len(values)  # a first state may be far from later ones in some of its columns


def is_far(value: float, body: list[list[str]], column: int) -> bool:
    """Whether a number stands far outside those of its column, so that it is hardly one of them."""
    cells = [cells[column] for cells in body if column < len(cells)]
    read = [found if (found := number(cell, ".")) is not None else number(cell, ",") for cell in cells]
    below = [found for found in read if found is not None]
    if not below:
        return False
    low, high = min(below), max(below)
    reach = max(high - low, 0.5 * max(abs(low), abs(high)))
    return not low - reach <= value <= high + reach


def has_years(first: list[str], body: list[list[str]]) -> bool:
    """Whether the numbers in a first line of words are years, or dates as 20240101, above fractions."""
    years = [n for n, cell in enumerate(first) if cell.isdigit()]
    others = [cell for n, cell in enumerate(first) if cell and n not in years]
    if len(years) < 3 or not others or any(could_be_number(cell) for cell in others):
        return False
    below = [cells[n].strip() for cells in body for n in years if n < len(cells) and cells[n].strip()]
    fractions = sum(not cell.isdigit() for cell in below)
    are_dates = all(seconds_of(first[n]) is not None for n in years)
    return (are_dates or are_years([int(first[n]) for n in years])) and fractions > 0.5 * len(below)


def are_years(numbers: Sequence[float]) -> bool:
    """Whether numbers are consecutive years of our time."""
    low, high = YEARS
    return low <= numbers[0] <= high and list(numbers) == [numbers[0] + n for n in range(len(numbers))]


def _is_number(cell: str) -> bool:
    return number(cell, ".") is not None or number(cell, ",") is not None


def is_missing(cell: str) -> bool:
    """Whether a cell holds no value."""
    return kind_of(cell) == "missing"


def _ends_empty(cells: list[str], width: int) -> bool:
    return len(cells) == width - 1 or (len(cells) == width and not cells[-1].strip())


def _width(cells: list[str]) -> int:
    return len(cells) - (len(cells) > 1 and not cells[-1].strip())


def shown(cells: list[str]) -> str:
    """The first cells of a line, for a notice about it."""
    return ", ".join(cells[:4]) + (", ..." if len(cells) > 4 else "")
