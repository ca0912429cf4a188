"""A line of units between the header of a text table and its rows."""

from __future__ import annotations

from pynode.datasets.dates import FAMILIES
from pynode.datasets.text_lines import MISSING, could_be_number, number


def is_date(cell: str) -> bool:
    """Whether a cell looks like a date or a time of day (months by name left aside, which may be words)."""
    text = cell.strip()
    return any(pattern.fullmatch(text) for name, pattern in FAMILIES.items() if "name" not in name)


def units_in(line: list[str], body: list[list[str]], width: int) -> tuple[str, ...]:
    """The units in the line below a header; empty where it holds none: words stand above numbers, and no number.

    `body` are the cells of the lines below it, `width` is the number of columns.
    """
    if len(line) == width + 1 and not line[-1].strip():
        line = line[:-1]  # a delimiter at the end of every line
    if len(line) != width:
        return ()
    units = [cell.strip() for cell in line]
    seen = False
    for n, unit in enumerate(units):
        below = [cells[n].strip() for cells in body if n < len(cells) and cells[n].strip()]
        numeric = bool(below) and sum(could_be_number(c) or is_date(c) for c in below) >= 0.9 * len(below)
        if (unit != "1" and (number(unit, ".") is not None or number(unit, ",") is not None)) or is_date(unit):
            return ()
        if not numeric and unit and unit in below:
            return ()
        if unit == "1" and len(body) < 2:
            return ()  # as well a first row with a wrong cell
        seen = seen or (numeric and unit not in ("", "1") and unit.lower() not in MISSING)
    return tuple(unit.strip("[]()") for unit in units) if seen else ()
