"""A user's own table: read from .npy or .csv, split and scaled."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.raw import load_array
from pynode.datasets.splits import Array, Splits, cut, standardised
from pynode.errors import InvalidArgument

DELIMITERS = ("\t", ";", ",")
"""In this order: a decimal comma must not split the cells of a table with semicolons."""
ROWS_AT_ONCE = 65536


def load_table(path: Path | str) -> Array:
    """The numbers `(rows, dim)`, float64, of a `.npy` file (memory-mapped if it holds float64) or a `.csv` file.

    A `.csv` file has commas, semicolons or tabs between cells, and a header if no cell of its first line is a number;
    empty lines are skipped.  Raises `DataError` with line and column (both from 1) for text, NaN, infinite or missing
    cells, and for an empty file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is not a file: give the path of a .npy or .csv table")
    if path.suffix.lower() == ".npy":
        rows = load_array(path, mapped=True)
        if rows.shape[0] == 0 or rows.shape[1] == 0:
            raise DataError(f"{path} is empty, with shape {rows.shape}: give at least one row and one column")
        _check_finite(rows, path)
        return rows if rows.dtype == np.float64 else np.array(rows, dtype=np.float64)
    if path.suffix.lower() == ".csv":
        return _load_csv(path)
    raise DataError(f"{path} ends in '{path.suffix}': save the table as .npy or .csv")


def split_and_standardise(
    rows: Array, *, seed: int = 0, fractions: tuple[float, float] = (0.1, 0.1), name: str = "table"
) -> Splits:
    """`Splits` of `(rows, dim)`, shuffled by `seed`, scaled by the training rows (standard deviation by n).

    `fractions` are the share of test rows, and of validation rows among the rest; both are cut off the end.  Raises
    `InvalidArgument` for other fractions than between 0 and 1, and `DataError` for too few rows, a constant column or
    values that are not finite.
    """
    if not all(0 < share < 1 for share in fractions):
        raise InvalidArgument("fractions", fractions, "not shares of a table", "give two numbers between 0 and 1")
    if rows.ndim != 2:
        raise DataError(f"rows has shape {rows.shape}: give a table (rows, dim)")
    shuffled = np.asarray(rows, dtype=np.float64)[np.random.default_rng(seed).permutation(len(rows))]
    parts = cut(shuffled, test=fractions[0], validation=fractions[1])
    if not np.isfinite(shuffled).all():
        raise DataError("rows hold NaN or infinite values: remove or replace these rows")
    return standardised(name, parts, parts[0].mean(axis=0), parts[0].std(axis=0))


def _check_finite(rows: Array, path: Path) -> None:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        finite = np.isfinite(rows[start : start + ROWS_AT_ONCE])
        if not finite.all():
            row, column = (int(i) for i in np.argwhere(~finite)[0])
            raise DataError(
                f"{path}, row {start + row + 1}, column {column + 1}: {rows[start + row, column]} is not a finite "
                "number; remove the row or replace the value"
            )


def _load_csv(path: Path) -> Array:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _numbers(path, file)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read as a .csv text: {error}; save it as plain UTF-8 text") from error


def _numbers(path: Path, file: TextIO) -> Array:
    lines = _lines(file)
    line, first = next(lines, (1, []))
    header = first if all(_number(cell) is None for cell in first) else []
    width, values = len(first), array("d")
    if not header:
        values.extend(_row(path, line, first, width, header))
    for line, cells in lines:
        values.extend(_row(path, line, cells, width, header))
    if not values:
        raise DataError(f"{path} has no rows of numbers: give at least one")
    return np.frombuffer(values, dtype=np.float64).reshape(-1, width)


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of the lines that are not empty."""
    delimiter = ","
    for line in file:
        if line.strip():
            delimiter = next((d for d in DELIMITERS if d in line), ",")
            break
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _row(path: Path, line: int, cells: list[str], width: int, header: list[str]) -> list[float]:
    if len(cells) != width:
        raise DataError(
            f"{path}, line {line} has {len(cells)} cells instead of {width}: give each line as many as the first has"
        )
    numbers = []
    for column, cell in enumerate(cells):
        number = _number(cell)
        if number is None or not math.isfinite(number):
            label = f" ('{header[column].strip()}')" if header else ""
            what = "an empty cell" if not cell.strip() else f"'{cell.strip()}'"
            raise DataError(
                f"{path}, line {line}, column {column + 1}{label}: {what} is not a finite number; "
                "remove the row or replace the value"
            )
        numbers.append(number)
    return numbers


def _number(cell: str) -> float | None:
    """The number in a cell, NaN and infinity included; None where there is none."""
    try:
        return None if "_" in cell else float(cell)  # Python would read 1_000 as 1000
    except ValueError:
        return None
