"""How the columns of a table are called: by the number in their file, from 1, and by a name where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pynode.errors import InvalidArgument


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
