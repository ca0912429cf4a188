"""How a user's table is to be read, and what was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pynode.datasets.column_names import ColumnNames
from pynode.errors import InvalidArgument

CHOICES = {"index": ("drop", "keep"), "decimal": (".", ","), "missing": ("error", "drop")}


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
