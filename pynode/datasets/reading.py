"""How a user's table is read: names of its columns, options for what the file does not say, and the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pynode.datasets.errors import DataError
from pynode.errors import InvalidArgument
from pynode.names import names_of

CHOICES = {"index": ("drop", "keep"), "decimal": (".", ","), "missing": ("error", "drop")}
AS_TRAINED = "give numbers, as the flow was trained on"
"""Remedy for another kind of cells in a column that can't be left out."""


@dataclass(frozen=True)
class ColumnNames:
    """Numbers in the file, from 1, and names ("" where there is none) of the columns of a table."""

    numbers: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def unnamed(cls, width: int) -> ColumnNames:
        """Columns 1 to `width` without names."""
        return cls(tuple(range(1, width + 1)), ("",) * width)

    def label(self, column: int) -> str:
        """As messages call it: "column 3 ('speed')"."""
        return f"column {self.numbers[column]}" + (f" ('{self.names[column]}')" if self.names[column] else "")

    def labels(self, columns: Sequence[int], shown: int = 8) -> str:
        """Several of them: "columns 2 ('a'), 3 ('b')"."""
        if len(columns) == 1:
            return self.label(columns[0])
        more = f" and {len(columns) - shown} more" if len(columns) > shown else ""
        return "columns " + ", ".join(self.label(c).removeprefix("column ") for c in columns[:shown]) + more

    def keys(self, columns: Iterable[int]) -> str:
        """As options take them: names where these are unique, else numbers."""
        return ",".join(self._key(c) for c in columns)

    def name(self, column: int) -> str:
        """Its name, or where it has none of its own its number."""
        name = self.names[column]
        return name if name and self.names.count(name) == 1 else str(self.numbers[column])

    def found_by(self, column: int) -> str:
        """A text that `find` finds it by, and no other column: its name or number, or both where neither will do."""
        name, number = self.names[column], str(self.numbers[column])
        every = (name, number, f"{name}.{number}")
        return next((text for text in every if text and self._matching(text) == [column]), number)

    def called(self, column: int) -> tuple[int, str, str, str]:
        """Its number, its label for messages, its key for options, and its name."""
        return self.numbers[column], self.label(column), self.keys([column]), self.name(column)

    def find(self, option: str, wanted: Iterable[str]) -> list[int]:
        """The columns called `wanted`, each by its name or its number; raises `InvalidArgument`."""
        return [self._find(option, text.strip()) for text in wanted]

    def needed(self, path: Path, wanted: Iterable[str]) -> list[int]:
        """The columns called `wanted`, on which a flow was trained; raises `DataError` where the file lacks one."""
        return [self._needed(path, text) for text in wanted]

    def without(self, columns: Iterable[int]) -> ColumnNames:
        """The others."""
        gone = set(columns)
        left = [c for c in range(len(self.numbers)) if c not in gone]
        return ColumnNames(tuple(self.numbers[c] for c in left), tuple(self.names[c] for c in left))

    def _needed(self, path: Path, text: str) -> int:
        try:
            return self._find("", text)
        except InvalidArgument as error:
            told = "has no column" if "no column" in str(error) else "has several columns"
            raise DataError(f"{path} {told} '{text}', which the flow was trained on; {error.remedy}") from None

    def _key(self, column: int) -> str:
        name, number = self.names[column], str(self.numbers[column])
        if name and self.names.count(name) == 1 and not set(name) & set(",= '\""):
            return name
        # the number alone would find another column that is called so
        every = (number, f"{name}.{number}", f".{number}")
        return next((text for text in every if self._matching(text) == [column]), number)

    def _find(self, option: str, text: str) -> int:
        matches = self._matching(text)
        if len(matches) == 1:
            return matches[0]
        if matches:
            problem = f"{len(matches)} columns have this name"
            raise InvalidArgument(option, repr(text), problem, f"use a number: {self.labels(matches)}")
        known = self.labels(range(len(self.numbers)))
        raise InvalidArgument(option, repr(text), "no column of the table", f"it has {known}")

    def _matching(self, text: str) -> list[int]:
        matches = [c for c, name in enumerate(self.names) if name == text]
        if not matches and text.isdecimal():
            matches = [c for c, number in enumerate(self.numbers) if number == int(text)]
        if not matches:  # columns of one name are told apart by their numbers, also those without a name
            matches = [c for c, name in enumerate(self.names) if text == f"{name}.{self.numbers[c]}"]
        return matches


@dataclass(frozen=True)
class Reading:
    """What can't be seen in a file with certainty; None leaves it to the file.

    `header`: whether the first line is one.  `index`: whether the first column is an index, to "drop" or to "keep"; by
    default a column of integers that has no name, or is called index or rownames and counts the rows, is dropped.
    `decimal`: the decimal mark, "." or ",".  `missing`: "drop" leaves out rows with missing, NaN or infinite values,
    "error" refuses them.  `drop`: columns to leave out, by name or by number from 1, one alone or several.
    `condition`: columns of words or numbers that are held apart from the others; the cells of `classes` among them
    are words.  `only`: the columns to read beside these, None for all.
    """

    header: bool | None = None
    index: str | None = None
    decimal: str | None = None
    missing: str = "error"
    drop: tuple[str, ...] = ()
    condition: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for argument in ("drop", "condition", "classes"):
            object.__setattr__(self, argument, names_of(argument, getattr(self, argument)))
        if self.only is not None:
            object.__setattr__(self, "only", names_of("only", self.only))
        for argument, known in CHOICES.items():
            value = getattr(self, argument)
            if value not in known and not (value is None and argument != "missing"):
                raise InvalidArgument(argument, repr(value), "unknown", f"use one of {', '.join(map(repr, known))}")
        if self.header not in (None, True, False):
            raise InvalidArgument("header", repr(self.header), "neither true nor false", "use True, False or None")
        if both := sorted(set(self.drop) & set(self.condition)):
            raise InvalidArgument("condition", repr(both[0]), "is left out as well (drop)", "name it in one of them")

    def roles(self, path: Path, columns: ColumnNames) -> Roles:
        """Which of the `columns` of the file at `path` are numbers, which are held apart, which are left out.

        Raises `InvalidArgument` for a column that is not there, and `DataError` where none is left.
        """
        every = range(len(columns.numbers))
        if self.only is None:
            held = columns.find("condition", self.condition)
            left_out = set(columns.find("drop", self.drop)) | ({0} if self.index == "drop" else set())
            numbers = [column for column in every if column not in left_out and column not in held]
        else:
            held, numbers = columns.needed(path, self.condition), sorted(columns.needed(path, self.only))
            left_out = set(every) - set(held) - set(numbers)
        if twice := [column for column in held if held.count(column) > 1 or column in left_out]:
            raise InvalidArgument(
                "condition", columns.label(twice[0]), "named twice, or left out (drop)", "name each column once"
            )
        if not numbers:
            raise DataError(f"{path}: all columns are left out; keep at least one")
        return Roles(tuple(numbers), tuple(held), tuple(sorted(left_out)), fixed=self.only is not None)


@dataclass(frozen=True)
class Roles:
    """Places, from 0, of the columns of a table: those that are `numbers`, those that are `held` apart, the others.

    `numbers` rise, so that the columns of a table that was read stand as in the file.  Where they are `fixed`, as those
    that a flow was trained on, none of them can be left out.
    """

    numbers: tuple[int, ...]
    held: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    fixed: bool = False


@dataclass(frozen=True)
class HeldColumn:
    """A column that is held apart: its words `(rows,)` as the file has them, and its numbers where all of them are.

    `number` is its place in the file, from 1, `label` is for messages, `key` as options take it, `name` its name in the
    file, or its number where it has none.
    """

    number: int
    label: str
    key: str
    name: str
    cells: tuple[str, ...]
    values: np.ndarray[Any, np.dtype[np.float64]] | None = None

    @property
    def as_words(self) -> HeldColumn:
        """The same column whose numbers are names of classes: 1, 1.0 and 01 are one word."""
        return self if self.values is None else replace(self, cells=as_texts(self.values), values=None)


def as_text(value: float) -> str:
    """The shortest text from which the same float64 is read; integers below 1e16 without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)


def as_texts(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[str, ...]:
    """Numbers as texts from which the same numbers are read, so that different ones stay different."""
    return tuple(map(as_text, values.tolist()))


@dataclass(frozen=True)
class TableFile:
    """Numbers `(rows, dim)`, float64, the names of their columns, and what a user should know about the reading.

    `held` are the columns of the condition.  `lines` `(rows,)` are the numbers, from 1, of the `unit`s of the file
    ("line", or "row" of a binary file) that the rows come from; None where they are 1, 2, 3, ....  `every` has the
    names of all columns of the file.
    """

    rows: np.ndarray[Any, np.dtype[np.float64]]
    columns: ColumnNames
    notices: tuple[str, ...] = ()
    held: tuple[HeldColumn, ...] = ()
    lines: np.ndarray[Any, np.dtype[np.int64]] | None = None
    unit: str = "row"
    every: ColumnNames = field(default_factory=lambda: ColumnNames((), ()))

    def place(self, row: int) -> str:
        """Where row `row`, from 0, stands in the file: "line 3"."""
        return f"{self.unit} {row + 1 if self.lines is None else int(self.lines[row])}"
