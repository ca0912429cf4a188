"""Lines of units, and of other words, between the header of a text table and its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pynode.datasets.dates import FAMILIES, is_dated
from pynode.datasets.frame_cells import UNITS
from pynode.datasets.text_lines import MISSING, Record, could_be_number, number

MOST = 3
"""Lines between a header and the rows: a long name, a unit, what a logger has made of its readings."""

_WORDS = (
    "milliseconds seconds minutes hours days weeks months years celsius kelvin fahrenheit percent degrees millimetres "
    "millimeters centimetres centimeters metres meters kilometres kilometers grams kilograms litres liters volts "
    "amperes watts pascals newtons joules hertz secs mins hrs yrs degc degf"
)
UNIT_WORDS = frozenset((*_WORDS.split(), "deg c", "deg f"))
"""Units in words, which may be names of columns too: hours."""

DIGIT = re.compile(r"\d")
WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Below:
    """The lines below a header that are no rows, up to `last_line` of the file: the units of the columns, or none."""

    units: tuple[str, ...] = ()
    last_line: int = 0
    notices: tuple[str, ...] = ()


def below_header(rows: list[Record], width: int) -> Below:
    """The lines that follow the header, which is the first of `rows`, and are no rows of the table."""
    for count in range(min(MOST, len(rows) - 2), 0, -1):
        body = [cells for _, cells in rows[count + 1 :]]
        lines = [(line, units_in(cells, body, width)) for line, cells in rows[1 : count + 1]]
        if not all(words for _, words in lines):
            continue
        if count > 1 and not any(may_be_unit(cell) for _, cells in rows[1 : count + 1] for cell in cells):
            continue  # as well rows with wrong cells
        at = max(range(count), key=lambda n: (sum(map(may_be_unit, rows[n + 1][1])), -n))
        notices = tuple(
            f"line {line} {what} and is left out ({', '.join(filter(None, words))})"
            for n, (line, words) in enumerate(lines)
            for what in ("holds units" if n == at else "is no row",)
        )
        return Below(lines[at][1], lines[-1][0], notices)
    return Below()


def is_unit(cell: str) -> bool:
    """Whether a cell looks like a unit rather than a name: kg, [h], mg/l."""
    text = cell.strip()
    if text.lower() in MISSING:
        return False  # n/a
    return text.lower() in UNITS or text[:1] in ("(", "[") or "/" in text


def may_be_unit(cell: str) -> bool:
    """Whether a cell looks like a unit, or is the word for one: hours."""
    return is_unit(cell) or cell.strip().lower() in UNIT_WORDS


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
        numeric = bool(below) and sum(could_be_number(c) or is_dated(c) for c in below) >= 0.9 * len(below)
        if (unit != "1" and (number(unit, ".") is not None or number(unit, ",") is not None)) or is_dated(unit):
            return ()
        if not numeric and unit and _shape(unit) in map(_shape, below):
            return ()
        if unit == "1" and (len(body) < 2 or _is_count(below, any(map(may_be_unit, units)))):
            return ()  # as well a first row with a wrong cell
        seen = seen or (numeric and unit not in ("", "1") and unit.lower() not in MISSING)
    return tuple(unit.strip("[]()") for unit in units) if seen else ()


def _shape(word: str) -> str:
    """A word in which all digits are alike: those that count rows, as s00 and s01, are."""
    return DIGIT.sub("0", word)


def _is_count(below: list[str], has_units: bool) -> bool:
    """Whether a 1 above these cells is hardly the unit of a ratio, but one of them: a flag, or a number of a row."""
    return "1" in below or "0" in below or (not has_units and all(map(WHOLE.fullmatch, below)))
