"""How a user's table is read: names of its columns, options for what the file does not say, and the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pynode.errors import InvalidArgument

CHOICES = {"index": ("drop", "keep"), "decimal": (".", ","), "missing": ("error", "drop")}


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

    def find(self, option: str, wanted: Iterable[str]) -> list[int]:
        """The columns called `wanted`, each by its name or its number; raises `InvalidArgument`."""
        return [self._find(option, text.strip()) for text in wanted]

    def without(self, columns: Iterable[int]) -> ColumnNames:
        """The others."""
        gone = set(columns)
        left = [c for c in range(len(self.numbers)) if c not in gone]
        return ColumnNames(tuple(self.numbers[c] for c in left), tuple(self.names[c] for c in left))

    def _key(self, column: int) -> str:
        name = self.names[column]
        plain = name and self.names.count(name) == 1 and not set(name) & set(",= '\"")
        return name if plain else str(self.numbers[column])

    def _find(self, option: str, text: str) -> int:
        matches = [c for c, name in enumerate(self.names) if name == text]
        if not matches and text.isdecimal():
            matches = [c for c, number in enumerate(self.numbers) if number == int(text)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            problem = f"{len(matches)} columns have this name"
            raise InvalidArgument(option, repr(text), problem, f"use a number: {self.labels(matches)}")
        known = self.labels(range(len(self.numbers)))
        raise InvalidArgument(option, repr(text), "no column of the table", f"it has {known}")


@dataclass(frozen=True)
class Reading:
    """What can't be seen in a file with certainty; None leaves it to the file.

    `header`: whether the first line is one.  `index`: whether the first column is an index, to "drop" or to "keep"; by
    default a column of integers that has no name, or is called index or rownames and counts the rows, is dropped.
    `decimal`: the decimal mark, "." or ",".  `missing`: "drop" leaves out rows with missing, NaN or infinite values,
    "error" refuses them.  `drop`: columns to leave out, by name or by number from 1.
    """

    header: bool | None = None
    index: str | None = None
    decimal: str | None = None
    missing: str = "error"
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for argument, known in CHOICES.items():
            value = getattr(self, argument)
            if value not in known and not (value is None and argument != "missing"):
                raise InvalidArgument(argument, repr(value), "unknown", f"use one of {', '.join(map(repr, known))}")
        if self.header not in (None, True, False):
            raise InvalidArgument("header", repr(self.header), "neither true nor false", "use True, False or None")


@dataclass(frozen=True)
class TableFile:
    """Numbers `(rows, dim)`, float64, the names of their columns, and what a user should know about the reading."""

    rows: np.ndarray[Any, np.dtype[np.float64]]
    columns: ColumnNames
    notices: tuple[str, ...] = ()
