"""Reads a table of numbers from a text file: `.csv` and its relatives."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pynode.datasets.column_names import ColumnNames
from pynode.datasets.errors import DataError
from pynode.datasets.reading import Reading, TableFile
from pynode.datasets.text_tables.cells import Mark, kind_of, number, plain_number
from pynode.datasets.text_tables.header import layout
from pynode.datasets.text_tables.records import Record, TextFile, open_text
from pynode.datasets.text_tables.refusal import refusal


def read_text(path: Path, reading: Reading) -> TableFile:
    """The numbers in the text file at `path`; raises `DataError` with line and column for cells that hold none."""
    text = open_text(path)
    sample = text.sample()
    if not sample:
        raise DataError(f"{path} has no rows of numbers: give at least one")
    shape = layout(sample, reading.header)
    columns = ColumnNames(tuple(range(1, shape.width + 1)), shape.names or ("",) * shape.width)
    left_out = set(columns.find("drop", reading.drop)) | ({0} if reading.index == "drop" else set())
    kept = [column for column in range(shape.width) if column not in left_out]
    if not kept:
        raise DataError(f"{path}: all columns are left out; keep at least one")
    table = _Table(text, columns, kept, has_header=bool(shape.names), drops_rows=reading.missing == "drop")
    mark: Mark = "," if reading.decimal == "," else "."
    try:
        rows = table.rows(mark, certain=reading.decimal is not None)
    except _MarkNeeded:
        mark = _decimal_mark(table)
        rows = table.rows(mark, certain=True)
    if not len(rows):
        raise DataError(f"{path} has no rows of numbers: give at least one")
    notices = [shape.notice] if shape.notice else []
    if text.encoding == "latin-1":
        notices.append("the text is not UTF-8 and is read as Latin-1")
    if mark == "," and reading.decimal is None:
        notices.append("numbers are read with a decimal comma")
    if table.dropped:
        notices.append(f"{table.dropped:,} rows with missing or infinite values are left out")
    return TableFile(rows, columns.without(left_out), tuple(notices))


class _MarkNeeded(Exception):
    """A cell is a number only with a decimal comma, or with thousands in groups."""


@dataclass
class _Table:
    """The lines below the header, and which of their cells are read."""

    text: TextFile
    columns: ColumnNames
    kept: list[int]
    has_header: bool
    drops_rows: bool
    dropped: int = field(default=0, init=False)

    def rows(self, mark: Mark, *, certain: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
        """All rows `(rows, kept columns)`; raises `_MarkNeeded` where the decimal mark matters but is not `certain`."""
        values, self.dropped = array("d"), 0
        for line, cells in self.lines():
            row = [self._value(cells[column], mark, certain) for column in self.kept]
            if all(map(math.isfinite, row)):
                values.extend(row)
            elif self.drops_rows and all(_may_be_absent(cells[c], mark) for c in self.kept):
                self.dropped += 1
            else:
                raise refusal(self.text.path, line, cells, self.lines(), self.columns, self.kept, mark)
        return np.frombuffer(values, dtype=np.float64).reshape(-1, len(self.kept))

    def lines(self) -> Iterator[Record]:
        """Number and cells of each line below the header; raises `DataError` for a line of another length."""
        width, is_header = len(self.columns.numbers), self.has_header
        for line, cells in self.text.records():
            if is_header:
                is_header = False
            elif len(cells) == width or (len(cells) == width + 1 and not cells[-1].strip()):
                yield line, cells
            else:
                raise self._ragged(line, cells)

    def _value(self, cell: str, mark: Mark, certain: bool) -> float:
        """The number in a cell, NaN where there is none."""
        if mark == ".":
            value = plain_number(cell)
            if value is not None:
                return value
            if not certain and (number(cell, ".") is not None or number(cell, ",") is not None):
                raise _MarkNeeded
        value = number(cell, mark)
        return math.nan if value is None else value

    def _ragged(self, line: int, cells: list[str]) -> DataError:
        width = len(self.columns.numbers)
        remedy = "give each line as many as the first has"
        if any("\n" in cell or "\r" in cell for cell in cells):
            remedy = "a quoted cell in it spans several lines: close the quote"
        elif len(cells) > width and self.text.delimiter == ",":
            remedy += "; if commas are decimal marks or separate thousands, put other delimiters between the cells"
        return DataError(f"{self.text.path}, line {line} has {len(cells)} cells instead of {width}: {remedy}")


def _decimal_mark(table: _Table) -> Mark:
    """The decimal mark that all cells agree on; raises `DataError` where they don't, or leave it open."""
    only: dict[Mark, tuple[int, str]] = {}
    unclear: tuple[int, str] | None = None
    for line, cells in table.lines():
        for column in table.kept:
            cell = cells[column].strip()
            by_point, by_comma = number(cell, "."), number(cell, ",")
            if by_point is not None and by_comma is None:
                only.setdefault(".", (line, cell))
            elif by_comma is not None and by_point is None:
                only.setdefault(",", (line, cell))
            elif by_point != by_comma and kind_of(cell) == "text" and unclear is None:
                unclear = line, cell
    path = table.text.path
    if len(only) == 2:
        (line, cell), (other_line, other) = only["."], only[","]
        raise DataError(
            f"{path} mixes decimal points (line {line}: '{cell}') with decimal commas (line {other_line}: '{other}'): "
            "use one of them"
        )
    if only:
        return next(iter(only))
    if unclear is None:
        return "."
    raise DataError(
        f"{path}, line {unclear[0]}: '{unclear[1]}' can be {number(unclear[1], ','):g} or {number(unclear[1], '.'):g}; "
        "say which mark is the decimal one (decimal=. or decimal=,)"
    )


def _may_be_absent(cell: str, mark: Mark) -> bool:
    """Whether a cell is a number, or a place where one is missing: neither text nor a date."""
    return number(cell, mark) is not None or kind_of(cell) in ("missing", "infinite")
