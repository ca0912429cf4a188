"""A table of mixed columns: numbers, dates and words, each column of one kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from pynode.datasets.date_order import Order
from pynode.datasets.reading import ColumnNames
from pynode.datasets.splits import Array

ColumnKind: TypeAlias = Literal["number", "date", "text"]


@dataclass(frozen=True)
class Column:
    """One column of a table, with its name ("" where there is none) and its number in the file, from 1.

    `values` `(rows,)`, float64, are NaN where a cell is missing: the numbers, or for dates seconds since 1970-01-01
    UTC; all NaN for text.  A column without any cell is a "number".  `cells` are the words of a column of text, ""
    where one is missing.  `unit` is what a line of units below the header says.  `style` says how dates are written, as
    `pynode.datasets.dates` has it, and `order` in which order day, month and year stand, where that was open.
    `trouble` is the message about cells that don't fit to the rest of the column, whose values are NaN; only a lenient
    reading leaves any.  `weeks` says that dates are such as W1-2019, which may be names as well.
    """

    name: str
    number: int
    kind: ColumnKind
    values: Array
    cells: tuple[str, ...] | None = None
    unit: str = ""
    style: str = ""
    trouble: str = ""
    order: Order | None = None
    weeks: bool = False

    def with_trouble(self, trouble: str) -> Column:
        """The column with this message about its cells."""
        return replace(self, trouble=trouble) if trouble else self

    @property
    def label(self) -> str:
        """As messages call it: "column 3 ('speed')"."""
        return f"column {self.number}" + (f" ('{self.name}')" if self.name else "")

    @property
    def key(self) -> str:
        """Its name, or its number where it has no name."""
        return self.name or str(self.number)


@dataclass(frozen=True)
class Frame:
    """A table as read from the file `path`.

    `lines` `(rows,)`, int: the line of each row in a text file, else its number, from 1.  `notices` say what was taken
    where the file does not say: delimiter, decimal mark, order of day and month, what was left out.
    `row_names` is a first column that names or counts the rows, which is not among `columns`.  `codes` are
    the numbers that were seen to stand for missing values, by the key of their column.
    """

    path: Path
    columns: tuple[Column, ...]
    lines: Array
    notices: tuple[str, ...] = ()
    row_names: Column | None = None
    codes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)

    @property
    def names(self) -> ColumnNames:
        """Numbers and names of the columns."""
        return ColumnNames(tuple(c.number for c in self.columns), tuple(c.name for c in self.columns))

    def column(self, option: str, name_or_number: str) -> Column:
        """The column of this name, or of this number; raises `InvalidArgument` with the names there are."""
        return self.chosen(option, (name_or_number,))[0]

    def chosen(self, option: str, wanted: Sequence[str]) -> tuple[Column, ...]:
        """The columns called `wanted`, each by its name or its number; raises `InvalidArgument` for `option`."""
        return tuple(self.columns[c] for c in self.names.find(option, wanted))

    def without(self, columns: Iterable[Column]) -> tuple[Column, ...]:
        """The other columns."""
        gone = {c.number for c in columns}
        return tuple(c for c in self.columns if c.number not in gone)

    def place(self, row: int) -> str:
        """Where a row is, as messages have it: "weights.csv, line 20"."""
        return f"{self.path}, line {int(self.lines[row])}"
