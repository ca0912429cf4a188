"""Numbers in the cells of a text table, and what a cell holds that is none."""

from __future__ import annotations

import math
import re
from typing import Literal, TypeAlias

Mark: TypeAlias = Literal[".", ","]
"""The decimal mark of a table."""
Kind: TypeAlias = Literal["missing", "infinite", "truth value", "date", "text"]
"""What a cell that holds no finite number holds."""

ERRORS = ("#n/a", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!")
"""What spreadsheets write where a formula has no value."""
MISSING = frozenset(
    ("na", "n/a", "<na>", "nan", "+nan", "-nan", "nat", "null", "none", "nil", "missing", ".", "-", "--", "?", *ERRORS)
)
TRUTH_VALUES = frozenset(("true", "false", "yes", "no", "t", "f", "y", "n"))
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2}([T ].*)?)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d\d)( .*)?|\d{1,2}:\d\d.*"
)
# groups of three digits, all between the same separators; a point or comma separates groups where it is not the mark
_GROUPS = r"[+-]?\d{{1,3}}([{other} '\u2019\u00a0\u202f])\d{{3}}(?:\1\d{{3}})*(?:{mark}\d*)?(?:[eE][+-]?\d+)?"
GROUPED = {".": re.compile(_GROUPS.format(other=",", mark=r"\.")), ",": re.compile(_GROUPS.format(other=".", mark=","))}
WITH_COMMA = re.compile(r"[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?")


def plain_number(cell: str) -> float | None:
    """The number in a cell as Python writes it, NaN and infinity included; None where there is none."""
    try:
        return None if "_" in cell else float(cell)  # Python would read 1_000 as 1000
    except ValueError:
        return None


def number(cell: str, mark: Mark) -> float | None:
    """The number in a cell with this decimal mark, perhaps with thousands in groups; None where there is none."""
    text = cell.strip().replace("\u2212", "-")
    if mark == ".":
        value = plain_number(text)
        if value is not None:
            return value
    elif WITH_COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    if match := GROUPED[mark].fullmatch(text):
        return float(text.replace(match[1], "").replace(",", "."))
    if mark == "," and not any(c.isdigit() for c in text):
        return plain_number(text)  # nan, inf
    return None


def kind_of(cell: str) -> Kind:
    """What a cell without a finite number holds."""
    text = cell.strip().lower()
    if not text or text in MISSING:
        return "missing"
    if text in TRUTH_VALUES:
        return "truth value"
    if DATE.fullmatch(text):
        return "date"
    value = plain_number(text)
    return "infinite" if value is not None and math.isinf(value) else "text"


def could_be_number(cell: str) -> bool:
    """Whether a cell is empty, missing or a number with one of the decimal marks."""
    return number(cell, ".") is not None or number(cell, ",") is not None or kind_of(cell) == "missing"
