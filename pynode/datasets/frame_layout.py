"""What stands above the rows of a text table: lines before it, the header, a line of units."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise

from pynode.datasets.headers import has_years, layout
from pynode.datasets.lines_above import lines_above, notice_of
from pynode.datasets.text_lines import MISSING, SAMPLE, Record, TextFile, could_be_number, number
from pynode.datasets.units import Below, below_header, is_date


@dataclass(frozen=True)
class Top:
    """The first `lines` of a table that are no rows, the number of its columns, and their names and units.

    `header` are the cells of the header as they stand in the file, which may be repeated further down.
    """

    width: int
    names: tuple[str, ...]
    units: tuple[str, ...]
    last_line: int
    header: tuple[str, ...]
    notices: tuple[str, ...]


def top_of(text: TextFile, header: bool | None) -> Top | None:
    """What stands above the rows of `text`; None where the file has none.  `header` says whether there is one."""
    sample = text.sample()
    if not sample:
        return None
    skipped = lines_above(sample)
    rows = sample[skipped:]
    notices = []
    if skipped:
        notices.append(notice_of(sample, skipped))
    first_line, first = rows[0][0], [cell.strip() for cell in rows[0][1]]
    commented = _comment_header(text, first_line, len(first)) if header is None else ()
    guessed = _is_header(first, rows[1:]) and not commented if header is None else header
    shape = layout(rows, guessed)
    if header is None and not guessed and not commented and _counts_columns(first, rows):
        shape = layout(rows, None)  # numbers as names
        notices.append(shape.notice)
    names = shape.names
    cells, last_line = tuple(first) if shape.names else (), rows[0][0] if shape.names else 0
    if not names and len(commented) == shape.width:
        names = commented
        notices.append(f"the comment above line {first_line} names the columns: {', '.join(names[:6])}")
    below = below_header(rows, shape.width) if names else Below()
    last_line = max(last_line, below.last_line)
    notices += below.notices
    if skipped and not shape.names:
        last_line = sample[skipped - 1][0]
    return Top(
        shape.width, names or ("",) * shape.width, below.units or ("",) * shape.width, last_line, cells, (*notices,)
    )


def _counts_columns(first: list[str], rows: list[Record]) -> bool:
    """Whether numbers in the first line are names, as pandas writes them: not where a column goes on from them."""
    if not all(could_be_number(cell) for cell in first if cell) or not layout(rows, None).names:
        return False
    if len(first) < 3 and any("." in cell for cell in first):
        return False
    if not first[0] and _count([cells[0] for _, cells in rows[1:]]):
        return True  # above an index
    for n, cell in enumerate(first):
        value = number(cell, ".")
        below = [number(cells[n], ".") for _, cells in rows[1:] if n < len(cells)]
        known = [v for v in [value, *below] if v is not None]
        if len(known) == len(below) + 1 > 2 and all(a < b for a, b in pairwise(known)):
            return False
    return True


def _count(cells: list[str]) -> bool:
    """Whether these are 0, 1, 2, ..., or 1, 2, 3, ...."""
    numbers = [number(cell, ".") for cell in cells]
    return len(numbers) > 1 and numbers in ([*range(len(numbers))], [*range(1, len(numbers) + 1)])


def _is_header(first: list[str], body: list[Record]) -> bool:
    """Whether a first line is a header: no cell of it is a number or a date, or one that stands for a missing value."""
    words = [cell for cell in first if cell]
    if not words:
        return False
    if any(number(cell, ".") is not None or number(cell, ",") is not None for cell in words):
        return has_years(first, [cells for _, cells in body])
    if any(is_date(cell) for cell in words):
        # years and quarters may name columns of numbers
        below = [cells[n] for _, cells in body for n, cell in enumerate(first) if is_date(cell) and n < len(cells)]
        return bool(below) and not any(is_date(cell) for cell in below)
    return not any(cell.lower() in MISSING - {".", "-", "--", "?"} for cell in words) or _names_numbers(first, body)


def _names_numbers(first: list[str], body: list[Record]) -> bool:
    """Whether a word stands above numbers alone."""
    for n, cell in enumerate(first):
        below = [cells[n] for _, cells in body if n < len(cells) and cells[n].strip()]
        if cell and cell.lower() not in MISSING and below and all(could_be_number(c) for c in below):
            return True
    return False


def _comment_header(text: TextFile, first_line: int, width: int) -> tuple[str, ...]:
    """The names in a comment just above the rows, as NumPy writes it; empty where there are none."""
    with text.path.open(encoding=text.encoding, newline="") as file:
        above = [line.strip() for line in islice(file, min(first_line - 1, 10 * SAMPLE))]
    line = above[-1] if above else ""
    if not line.startswith("#"):
        return ()
    line = line.lstrip("# \t")
    names = line.split() if text.delimiter == " " else [name.strip().strip('"') for name in line.split(text.delimiter)]
    plain = len(names) == width > 1 and all(names) and not any(could_be_number(name) for name in names)
    return tuple(names) if plain else ()
