"""Reads a table of numbers from a text file, .csv and its relatives: header, index, decimal mark, refused cells."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pynode.datasets.conditions import MOST_CLASSES, may_be_classes
from pynode.datasets.errors import DataError
from pynode.datasets.frame_cells import unit_of
from pynode.datasets.headers import is_missing, layout
from pynode.datasets.lines_above import lines_above, notice_of
from pynode.datasets.reading import AS_TRAINED, ColumnNames, HeldColumn, Reading, Roles, TableFile
from pynode.datasets.text_lines import (
    Kind,
    Mark,
    Record,
    TextFile,
    kind_of,
    number,
    open_text,
    plain_number,
)
from pynode.datasets.units import Below, below_header
from pynode.wording import counted, verb

WHAT: dict[Kind, str] = {
    "missing": ", the value is missing",
    "infinite": "",
    "truth value": " but a truth value",
    "date": " but a date or a time",
    "text": "",
}

ADVICE: dict[Kind, str] = {
    "date": ", or write it as a number, for instance of days",
    "truth value": ": a column of two values has no density",
}


def refusal(
    path: Path,
    line: int,
    cells: list[str],
    lines: Iterable[Record],
    columns: ColumnNames,
    roles: Roles,
    mark: Mark,
) -> DataError:
    """The error for the first bad cell of (`line`, `cells`), with the count of such cells in all `lines`."""
    kept = roles.numbers
    column = next((c for c in kept if not _is_finite(cells[c], mark)), None)
    if column is None:
        empty = next(c for c in roles.held if is_missing(cells[c]))
        remedy = "write a word for it, or leave out all such rows (missing=drop)"
        remedy += "" if roles.fixed else " or the column from the condition"
        return DataError(f"{path}, line {line}, {columns.label(empty)}: the value is missing; {remedy}")
    cell, kind = cells[column].strip(), kind_of(cells[column])
    counts: Counter[int] = Counter()
    words: dict[int, set[str]] = {c: set() for c in kept}
    first_line = n_lines = 0
    for at, record in lines:
        first_line, n_lines = first_line or at, n_lines + 1
        those = [c for c in kept if not _is_finite(record[c], mark) and kind_of(record[c]) == kind]
        counts.update(those)
        for c in those:
            if len(words[c]) <= MOST_CLASSES:
                words[c].add(record[c].strip())
    shown = "an empty cell" if not cell else f"'{cell[:40]}{'...' if len(cell) > 40 else ''}'"
    count = counts.total()
    where = f"in {len(counts)} columns" if len(counts) > 1 else "in this column"
    total = f" (one of {count:,} such cells {where})" if count > 1 else ""
    drop = f"drop={columns.keys([column])}"
    alone = counts[column] == n_lines > 1 or kind in ("date", "truth value")
    if roles.fixed:
        rows = "" if alone or kind == "text" else ", or leave out all such rows (missing=drop)"
        remedy = f"{AS_TRAINED if alone else 'remove the row or replace the value'}{rows}"
    elif kind == "text" and (unit := unit_of(cell)):
        remedy = f"write the numbers alone, without '{unit}', or leave the column out ({drop})"
    elif alone:
        same = [c for c in kept if counts[c] == n_lines > 1] or [column]
        remedy = f"leave the column out ({drop})" + ADVICE.get(kind, "")
        if len(same) > 1:
            remedy = f"leave out {columns.labels(same)}, which hold such cells alone (drop={columns.keys(same)})"
        classes = [c for c in same if may_be_classes(words[c], n_lines)]
        if kind in ("text", "truth value") and classes:
            remedy += f", or condition the density on the words (condition={columns.keys(classes)})"
    elif kind == "text":
        remedy = f"remove the row or replace the value, or leave the column out ({drop})"
    else:
        remedy = (
            f"remove the row or replace the value, or leave out all such rows (missing=drop) or the column ({drop})"
        )
    if kind == "text" and not alone and line == first_line and not any(columns.names):
        remedy += "; if this line is a header, say so (header=True)"
    label = columns.label(column)
    return DataError(f"{path}, line {line}, {label}: {shown} is not a finite number{WHAT[kind]}{total}; {remedy}")


def _is_finite(cell: str, mark: Mark) -> bool:
    value = number(cell, mark)
    return value is not None and math.isfinite(value)


def read_text(path: Path, reading: Reading) -> TableFile:
    """The numbers in the text file at `path`; raises `DataError` with line and column for cells that hold none."""
    text = open_text(path)
    sample = text.sample()
    if not sample:
        raise DataError(f"{path} has no rows of numbers: give at least one")
    above = lines_above(sample)
    notices = [notice_of(sample, above)] if above else []
    sample = sample[above:]
    shape = layout(sample, reading.header)
    columns = ColumnNames(tuple(range(1, shape.width + 1)), shape.names or ("",) * shape.width)
    roles = reading.roles(path, columns)
    below = below_header(sample, shape.width) if shape.names else Below()
    table = _Table(
        text,
        columns,
        roles,
        has_header=bool(shape.names),
        drops_rows=reading.missing == "drop",
        last_line=below.last_line,
        first_line=sample[0][0],
    )
    mark: Mark = "," if reading.decimal == "," else "."
    try:
        rows = table.rows(mark, certain=reading.decimal is not None)
    except _MarkNeeded:
        mark = _decimal_mark(table)
        rows = table.rows(mark, certain=True)
    if not len(rows):
        raise DataError(f"{path} has no rows of numbers: give at least one")
    notices += [shape.notice] if shape.notice else []
    notices += below.notices
    if text.encoding == "latin-1":
        notices.append("the text is not UTF-8 and is read as Latin-1")
    if mark == "," and reading.decimal is None:
        notices.append("numbers are read with a decimal comma")
    if table.dropped:
        n = table.dropped
        notices.append(f"{counted(n, 'row')} with missing or infinite values {verb(n, 'is', 'are')} left out")
    marks: tuple[Mark, ...] = (mark,) if reading.decimal is not None or mark == "," else (".", ",")
    held = tuple(
        HeldColumn(*columns.called(c), tuple(cells), _numbers(cells, marks))
        for c, cells in zip(roles.held, table.words, strict=True)
    )
    lines = np.frombuffer(table.line_numbers, dtype=np.int64)
    kept = columns.without((*roles.held, *roles.left_out))
    return TableFile(rows, kept, tuple(notices), held, lines, "line", columns)


def _numbers(cells: Sequence[str], marks: Iterable[Mark]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The cells as numbers by the first of the decimal `marks` by which all of them are finite; None for words."""
    for mark in marks:
        values = [number(cell, mark) for cell in cells]
        if all(value is not None and math.isfinite(value) for value in values):
            return np.array(values, dtype=np.float64)
    return None


class _MarkNeeded(Exception):
    """A cell is a number only with a decimal comma, or with thousands in groups."""


@dataclass
class _Table:
    """The lines below the header, and which of their cells are read."""

    text: TextFile
    columns: ColumnNames
    roles: Roles
    has_header: bool
    drops_rows: bool
    last_line: int = 0
    """Of those below the header that are no rows."""
    first_line: int = 1
    """Of the table, below the lines above it."""
    dropped: int = field(default=0, init=False)
    line_numbers: array[int] = field(default_factory=lambda: array("q"), init=False)
    """Of the rows that were read last."""
    words: list[list[str]] = field(default_factory=list, init=False)
    """The cells of the columns that are held apart, of the same rows."""

    @property
    def kept(self) -> tuple[int, ...]:
        """Places of the columns of numbers."""
        return self.roles.numbers

    def rows(self, mark: Mark, *, certain: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
        """All rows `(rows, kept columns)`; raises `_MarkNeeded` where the decimal mark matters but is not `certain`."""
        values, self.dropped, self.line_numbers = array("d"), 0, array("q")
        self.words = [[] for _ in self.roles.held]
        for line, cells in self.lines():
            row = [self._value(cells[column], mark, certain) for column in self.kept]
            words = [cells[column].strip() for column in self.roles.held]
            if all(map(math.isfinite, row)) and not any(map(is_missing, words)):
                values.extend(row)
                self.line_numbers.append(line)
                for column, word in zip(self.words, words, strict=True):
                    column.append(word)
            elif self.drops_rows and all(_may_be_absent(cells[c], mark) for c in self.kept):
                self.dropped += 1
            else:
                raise refusal(self.text.path, line, cells, self.lines(), self.columns, self.roles, mark)
        return np.frombuffer(values, dtype=np.float64).reshape(-1, len(self.kept))

    def lines(self) -> Iterator[Record]:
        """Number and cells of each line below the header; raises `DataError` for a line of another length."""
        width, is_header = len(self.columns.numbers), self.has_header
        for line, cells in self.text.records():
            if line < self.first_line:
                continue
            if is_header:
                is_header = False
            elif line <= self.last_line:
                continue
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
        elif len(cells) == 1 and width > 1:
            remedy = f"remove it if it is a note, or {remedy}"
        held = counted(len(cells), "cell")
        return DataError(f"{self.text.path}, line {line} has {held} instead of {width}: {remedy}")


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
