"""Reads a table of mixed columns from a text file."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pynode.datasets.date_order import Order
from pynode.datasets.dates import Dates
from pynode.datasets.errors import DataError
from pynode.datasets.frame_cells import Missing, column_of, numeric_share, text_column
from pynode.datasets.frame_layout import Top, top_of
from pynode.datasets.frame_marks import decimal_mark
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.reading import ColumnNames
from pynode.datasets.text_lines import Mark, Record, TextFile, could_be_number, open_text, plain_number
from pynode.names import as_argument
from pynode.wording import counted, verb

DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "spaces"}
SHOWN = 40
HEADING = 5
"""First rows, words in which may belong to the header."""
MOST_WORDS = 4
"""Words that may stand for missing values, and are offered as such."""


def read_text_frame(
    path: Path,
    header: bool | None,
    decimal: str | None,
    missing: Missing,
    words: Collection[str],
    lenient: bool,
    order: Order | None = None,
) -> Frame:
    """The table in the text file at `path`; see `read_frame`."""
    text = open_text(path)
    top = top_of(text, header)
    if top is None:
        raise DataError(f"{path} has no rows: give at least one")
    names = ColumnNames(tuple(range(1, top.width + 1)), top.names)
    as_words = set(names.find("words", words))
    table = _Table(text, top, names, missing)
    # numbers with a decimal comma and points between thousands look like others
    every = set(range(top.width)) if decimal == "," or text.delimiter == ";" else set()
    table.read(as_words | every)
    mark: Mark = "."
    if decimal is not None:
        mark = "," if decimal == "," else "."
    else:
        numeric = [
            c for c in sorted(table.cells) if c not in as_words and numeric_share(table.cells[c], missing) >= 0.5
        ]
        mark = decimal_mark(path, table.lines, {c: table.cells[c] for c in numeric}, text.delimiter)
        if mark == ",":
            table.read(set(range(top.width)))
    if not table.lines:
        raise DataError(f"{path} has a header, but no rows: give at least one")
    columns, notices = [], []
    for c in range(top.width):
        name, unit = top.names[c], top.units[c]
        if c in table.numbers:
            columns.append(Column(name, c + 1, "number", np.array(table.numbers[c], dtype=np.float64), None, unit))
        elif c in as_words:
            columns.append(text_column(name, c + 1, table.cells[c], missing, unit))
        else:
            column, wrong, dates = column_of(name, c + 1, table.cells[c], missing, mark, unit, order)
            trouble = _trouble(path, table, column, wrong, dates)
            if trouble and not lenient:
                raise DataError(trouble)
            if dates is not None and dates.notice:
                notices.append(f"{column.label}: {dates.notice}")
            columns.append(column.with_trouble(trouble))
    return Frame(
        path, tuple(columns), np.array(table.lines, dtype=np.int64), _notices(text, top, mark, decimal, table, notices)
    )


def _notices(
    text: TextFile, top: Top, mark: Mark, decimal: str | None, table: _Table, more: Sequence[str]
) -> tuple[str, ...]:
    notices = list(top.notices)
    if text.delimiter != "," and top.width > 1:
        notices.append(f"cells are separated by {DELIMITERS.get(text.delimiter, text.delimiter)}")
    if mark == "," and decimal is None:
        notices.append("numbers are read with a decimal comma")
    if text.encoding == "latin-1":
        notices.append("the text is not UTF-8 and is read as Latin-1")
    if table.repeated:
        n = len(table.repeated)
        where = ", ".join(map(str, table.repeated[:4]))
        notices.append(f"{counted(n, 'line')} (line {where}) {verb(n, 'repeats', 'repeat')} the header, left out")
    return (*notices, *more)


def _trouble(path: Path, table: _Table, column: Column, wrong: list[int], dates: Dates | None) -> str:
    """What is said of a column that can't be read; "" of one that can."""
    if dates is not None and dates.problem:
        return f"{path}, {column.label}: {dates.problem}"
    if not wrong:
        return ""
    cell = table.cells[column.number - 1][wrong[0]].strip()
    shown = f"'{cell[:SHOWN]}{'...' if len(cell) > SHOWN else ''}'"
    n = len(wrong)
    total = f" (one of {n:,} such cells)" if n > 1 else ""
    place = f"{path}, line {table.lines[wrong[0]]}, {column.label}"
    what = "date" if column.kind == "date" else "number"
    remedy = "correct the cell, or empty it if the value is missing"
    if cell[:1] in "<>≤≥":
        remedy = "write a number in its place, or empty the cell"
    last = list(range(len(table.lines) - n, len(table.lines)))
    if wrong == last:
        remedy += (
            f", or remove the {'line if it is a total or a note' if n == 1 else 'lines if they are totals or notes'}"
        )
    words = list(dict.fromkeys(table.cells[column.number - 1][k].strip() for k in wrong))
    if len(words) <= MOST_WORDS and what == "number" and (wrong != last or n == 1) and words[0][:1] not in "<>≤≥":
        told = " and ".join(f"'{word[:SHOWN]}'" for word in words)
        stand, value = ("stands", "a missing value") if len(words) == 1 else ("stand", "missing values")
        listed = as_argument(words)
        missing = f"; if {told} {stand} for {value} everywhere, say so (missing_values={listed})"
        remedy += _if_heading(table.lines, wrong) + ("" if wrong == list(range(n)) else missing)
    return f"{place}: {shown} is not a {what}{total}; {remedy}"


def _if_heading(lines: Sequence[int], wrong: Sequence[int]) -> str:
    """What is said of words in the first rows alone, which may belong to the header; "" of others."""
    if wrong[-1] >= HEADING:
        return ""
    if len(wrong) == 1:
        return f"; if line {lines[wrong[0]]} is a header or holds units, remove it"
    told = ", ".join(str(lines[row]) for row in wrong[:-1])
    return f"; if lines {told} and {lines[wrong[-1]]} are headers or hold units, remove them"


@dataclass
class _Table:
    """The rows of a text table, column by column: as numbers where all cells of a column are plain ones, else cells."""

    text: TextFile
    top: Top
    names: ColumnNames
    missing: Missing
    numbers: dict[int, array[float]] = field(default_factory=dict)
    cells: dict[int, list[str]] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)

    def read(self, as_cells: set[int]) -> None:
        """Reads all rows; the columns `as_cells`, and those with other cells than plain numbers, are kept as cells."""
        others = self._pass(as_cells)
        if others:
            self._pass(as_cells | others)

    def _pass(self, as_cells: set[int]) -> set[int]:
        self.cells = {c: [] for c in sorted(as_cells)}
        self.numbers = {c: array("d") for c in range(self.top.width) if c not in as_cells}
        self.lines, self.repeated = [], []
        others: set[int] = set()
        for line, cells in self._rows():
            self.lines.append(line)
            for c, kept in self.cells.items():
                kept.append(cells[c])
            for c, numbers in self.numbers.items():
                if c not in others:
                    value = self._plain(cells[c])
                    if value is None:
                        others.add(c)
                    else:
                        numbers.append(value)
        return others

    def _plain(self, cell: str) -> float | None:
        """The number in a cell, NaN where it is missing; None for any other cell."""
        value = plain_number(cell)
        if value is None:
            return math.nan if self.missing.is_missing(cell) else None
        return math.nan if value in self.missing.numbers else value

    def _rows(self) -> Iterator[Record]:
        width, header = self.top.width, self.top.header
        repeats = not all(map(could_be_number, header))  # numbers may be a row further down
        for line, cells in self.text.records():
            if line <= self.top.last_line:
                continue
            if len(cells) == width + 1 and not cells[-1].strip():
                cells = cells[:-1]
            if len(cells) != width:
                raise self._ragged(line, cells)
            if repeats and tuple(cell.strip() for cell in cells) == header:
                self.repeated.append(line)
            else:
                yield line, cells

    def _ragged(self, line: int, cells: list[str]) -> DataError:
        width = self.top.width
        remedy = "give each line as many as the first has"
        if any("\n" in cell or "\r" in cell for cell in cells):
            remedy = "a quoted cell in it spans several lines: close the quote"
        elif len(cells) > width and self.text.delimiter == ",":
            remedy += "; if commas are decimal marks or separate thousands, put other delimiters between the cells"
        elif len(cells) == 1 and width > 1:
            remedy = f"remove it if it is a note, or {remedy}"
        held = counted(len(cells), "cell")
        return DataError(f"{self.text.path}, line {line} has {held} instead of {width}: {remedy}")
