"""Lines above the header of a text table that belong to no table: titles, the settings of a logger."""

from __future__ import annotations

import re
from collections import Counter

from pynode.datasets.headers import shown
from pynode.datasets.text_lines import Record, could_be_number
from pynode.datasets.units import is_date, is_unit, may_be_unit
from pynode.wording import counted, verb

COMMENT = re.compile(r"\s*(?:(?:%|//|!|\*|;|--)+(?:\s|$)|REM\s)")
"""What comments of other programs begin with; those of # are never read.  Marks before a word may belong to a name."""


def lines_above(sample: list[Record]) -> int:
    """How many of the first lines belong to no table: they have at most half as many cells as the others, or another
    number of them and stand above a header that has as many as the rows."""
    widths = Counter(len(cells) for _, cells in sample)
    usual = max(widths.items(), key=lambda item: (item[1], item[0]))[0]
    marked = next((n for n, (_, cells) in enumerate(sample) if not COMMENT.match(cells[0])), 0)
    if (
        marked
        and len(sample[marked][1]) == usual
        and _are_names(sample[marked][1])
        and not any(map(is_unit, sample[marked][1]))
        and not all(map(may_be_unit, sample[marked][1]))
    ):
        return marked
    full = next(n for n, (_, cells) in enumerate(sample) if len(cells) == usual)
    if full and _are_names(sample[full][1]):
        return full
    if not full and _is_above_names(sample, usual):
        return 1
    first = next(n for n, (_, cells) in enumerate(sample) if len(cells) > usual / 2)
    return first if usual > 2 else 0


def notice_of(sample: list[Record], above: int) -> str:
    """What to say about so many lines above the table; a line alone, which may hold names, is quoted."""
    line, cells = sample[above - 1]
    text = shown(cells) if above == 1 else ""
    told = f"{counted(above, 'line')} above the table {verb(above, 'is', 'are')} left out (to line {line})"
    return f"{told}: {text}" if text else told


def _are_names(cells: list[str]) -> bool:
    """Whether all cells are words, but for the first, which may be empty as that of an index is."""
    return not any(could_be_number(cell) or is_date(cell) for cell in cells[cells[0].strip() == "" :])


def _is_above_names(sample: list[Record], width: int) -> bool:
    """Whether a first line as wide as the table says what a logger is: a number in it, and a word above numbers.

    Names stand in the second line, all of them and each once.
    """
    if len(sample) < 4 or len(sample[0][1]) != width or len(sample[1][1]) != width:
        return False
    first, names = ([cell.strip() for cell in cells] for _, cells in sample[:2])
    if not all(names) or len(set(names)) < width or any(map(could_be_number, names)) or any(map(is_date, names)):
        return False
    words = [n for n, cell in enumerate(first) if not could_be_number(cell) and not is_date(cell)]
    if len(words) == width or any(map(is_unit, names)):
        return False
    last = [cells for _, cells in sample[len(sample) // 2 + 1 :] if len(cells) == width]
    return any(all(could_be_number(cells[n]) or is_date(cells[n]) for cells in last) for n in words)
