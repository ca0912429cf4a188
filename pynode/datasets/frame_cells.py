"""What the cells of one column are: numbers, dates or words."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pynode.datasets.date_order import Order
from pynode.datasets.dates import Dates, read_dates
from pynode.datasets.frame_table import Column
from pynode.datasets.text_lines import Mark, kind_of, number

SUFFIX = re.compile(r"(?P<number>[+-]?[\d.,' \u00a0\u202f]*\d(?:[eE][+-]?\d+)?)\s*(?P<unit>[^\d\s.,;:+'-][^\d\s,;]*)")
PREFIX = re.compile(r"(?P<unit>[$€£¥])\s*(?P<number>[+-]?[\d.,' ]*\d)")
_UNITS = (
    "% ° °c °f c f k s sec min h hr d ms us µs hz khz mhz hpa pa kpa mbar bar mmhg g kg mg µg ug ng l ml µl dl m cm mm "
    "km km/h m/s mph kn w kw mw kwh wh v mv a ma ppm ppb $ € £ ¥ mg/l mg/dl mmol/l g/l m³/h m3/h l/s l/min bpm db rpm"
)
UNITS = frozenset(_UNITS.split())
"""Units that are taken off where every number of a column has the same one."""

NONE = frozenset(("none", "nil"))


@dataclass(frozen=True)
class Missing:
    """Cells and numbers that a user calls missing, besides the usual ones."""

    words: frozenset[str] = frozenset()
    numbers: frozenset[float] = frozenset()

    @classmethod
    def of(cls, texts: Collection[str]) -> Missing:
        """From an option's texts."""
        numbers = {value for text in texts if (value := number(str(text), ".")) is not None}
        return cls(frozenset(str(text).strip().lower() for text in texts), frozenset(numbers))

    def is_missing(self, cell: str) -> bool:
        """Whether a cell holds no value."""
        text = cell.strip()
        return not text or text.lower() in self.words or kind_of(text) == "missing"


def numeric_share(cells: Sequence[str], missing: Missing) -> float:
    """Share of numbers, with either decimal mark, among the cells that are not missing; 1 where all are."""
    present = [cell for cell in cells if not missing.is_missing(cell)]
    numbers = sum(number(cell, ".") is not None or number(cell, ",") is not None for cell in present)
    return numbers / len(present) if present else 1.0


def text_column(name: str, at: int, cells: Sequence[str], missing: Missing, unit: str = "") -> Column:
    """A column of words, "" where one is missing; "none" is a word."""
    absent = [missing.is_missing(cell) and cell.strip().lower() not in NONE - missing.words for cell in cells]
    words = tuple("" if gone else " ".join(cell.split()) for cell, gone in zip(cells, absent, strict=True))
    return Column(name, at, "text", np.full(len(cells), math.nan), words, unit)


def column_of(
    name: str,
    at: int,
    cells: Sequence[str],
    missing: Missing,
    mark: Mark,
    unit: str = "",
    order: Order | None = None,
) -> tuple[Column, list[int], Dates | None]:
    """The column of these cells, the cells that don't fit to the rest of it, and how its dates are read.

    A column is of numbers, or of dates, if at least half of its cells are; otherwise of text.
    """
    texts = [cell.strip() for cell in cells]
    empty = [missing.is_missing(text) for text in texts]
    numbers = [math.nan if gone else _number(text, mark) for text, gone in zip(texts, empty, strict=True)]
    for n, value in enumerate(numbers):
        if value in missing.numbers:
            numbers[n], empty[n] = math.nan, True
    wrong = [n for n, (value, gone) in enumerate(zip(numbers, empty, strict=True)) if math.isnan(value) and not gone]
    present = len(texts) - sum(empty)
    if not wrong:
        return Column(name, at, "number", np.array(numbers, dtype=np.float64), None, unit), [], None
    stripped = _without_units(texts, empty)
    if stripped is not None:
        bare, taken = stripped
        values = [math.nan if gone else _number(text, mark) for text, gone in zip(bare, empty, strict=True)]
        if all(gone or not math.isnan(value) for value, gone in zip(values, empty, strict=True)):
            return Column(name, at, "number", np.array(values, dtype=np.float64), None, unit or taken), [], None
    dates = read_dates(texts, missing.is_missing, order)
    if dates is not None and 2 * len(dates.wrong) <= present and len(dates.wrong) < len(wrong):
        weeks = dates.family == "week"
        column = Column(name, at, "date", dates.values, None, unit, dates.style, order=dates.order, weeks=weeks)
        return column, list(dates.wrong), dates
    if len(wrong) <= 0.5 * present:
        return Column(name, at, "number", np.array(numbers, dtype=np.float64), None, unit), wrong, None
    return text_column(name, at, cells, missing, unit), [], None


def _number(text: str, mark: Mark) -> float:
    value = number(text, mark)
    return math.nan if value is None else value


def unit_of(cell: str) -> str:
    """The unit in a cell that holds a number and a unit that is known; "" for any other cell."""
    match = SUFFIX.fullmatch(cell.strip()) or PREFIX.fullmatch(cell.strip())
    return match["unit"] if match is not None and match["unit"].lower() in UNITS else ""


def _without_units(texts: Sequence[str], empty: Sequence[bool]) -> tuple[list[str], str] | None:
    """The cells without the unit that all of them have; None where they have none, or different ones."""
    bare, units = [], set()
    for text, gone in zip(texts, empty, strict=True):
        match = None if gone else SUFFIX.fullmatch(text) or PREFIX.fullmatch(text)
        if not gone and match is None:
            return None
        bare.append(match["number"].strip() if match else "")
        if match:
            units.add(match["unit"].lower())
    if len(units) != 1 or not units <= UNITS:
        return None
    return bare, units.pop()
