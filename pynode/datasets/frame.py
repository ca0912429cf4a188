"""Reads a table of mixed columns from a file, whose format is seen from its content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pynode.datasets.frame_table import Column, ColumnKind, Frame

__all__ = ["Column", "ColumnKind", "Frame", "read_frame"]


def read_frame(
    path: Path | str, *, header: bool | None = None, decimal: str | None = None, missing_values: Sequence[str] = ()
) -> Frame:
    """The table in the file at `path`: text with any usual delimiter, Parquet, `.npy` or `.npz`, whatever its ending.

    `header`: whether the first line of a text is one; None leaves it to the file.  `decimal`: its decimal mark, "." or
    ",".  `missing_values`: cells that stand for missing ones besides the usual (empty, NA, N/A, NaN, null, ...).

    Raises `DataError` with file, line, column and remedy where cells can't be read.
    """
    raise NotImplementedError
