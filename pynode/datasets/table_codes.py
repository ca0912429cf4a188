"""Numbers such as -999 in a table of rows that stand for missing values: said, or left out with other missing ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pynode.datasets.reading import HeldColumn, Reading, TableFile
from pynode.datasets.sentinels import KNOWN, sentinels
from pynode.datasets.splits import Array
from pynode.wording import counted, verb


def without_codes(table: TableFile, reading: Reading) -> TableFile:
    """The table with what is to be said of numbers that look like codes of missing values.

    With `missing="drop"` their rows are left out; otherwise they stay, since such a number may be a value.
    """
    codes = {c: found for c in range(table.rows.shape[1]) if (found := _codes_in(table.rows[:, c]))}
    if not codes:
        return table
    marked = np.zeros(len(table.rows), dtype=bool)
    told = []
    for c, found in codes.items():
        where = np.isin(table.rows[:, c], found)
        marked |= where
        names = " and ".join(f"{code:.12g}" for code in found)
        cells = counted(int(where.sum()), "cell")
        place = table.place(int(where.argmax()))
        lies, it = verb(len(found), "lies", "lie"), verb(len(found), "it is", "they are")
        told.append(
            f"{table.columns.label(c)}: {names} in {cells} (first in {place}) {lies} far outside the rest; {it}"
        )
    if reading.missing == "drop" and not marked.all():
        n = int(marked.sum())
        said = [f"{text} taken as missing" for text in told]
        return _kept(table, ~marked, (*said, f"{counted(n, 'row')} with such codes {verb(n, 'is', 'are')} left out"))
    said = [
        f"{text} read as a number, but may stand for a missing value: leave such rows out (missing=drop)"
        for text in told
    ]
    return replace(table, notices=(*table.notices, *said))


def _codes_in(values: Array) -> list[float]:
    """The codes in a column; its least or its largest number is one if any is."""
    return sentinels(values) if {float(values.min()), float(values.max())} & set(KNOWN) else []


def _kept(table: TableFile, kept: Array, said: tuple[str, ...]) -> TableFile:
    lines = np.arange(1, len(kept) + 1, dtype=np.int64) if table.lines is None else table.lines
    held = tuple(_held(column, kept) for column in table.held)
    rows = np.ascontiguousarray(table.rows[kept])
    return replace(table, rows=rows, lines=lines[kept], held=held, notices=(*table.notices, *said))


def _held(column: HeldColumn, kept: Array) -> HeldColumn:
    cells = tuple(cell for cell, keep in zip(column.cells, kept.tolist(), strict=True) if keep)
    return replace(column, cells=cells, values=None if column.values is None else column.values[kept])
