"""Tables of numbers from files whose columns have types of their own: Parquet and `.npz`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame import Column, Frame, read_frame
from pynode.datasets.reading import AS_TRAINED, ColumnNames, HeldColumn, Reading, Roles, TableFile, as_texts
from pynode.errors import InvalidArgument
from pynode.wording import counted, verb


def read_columns(path: Path, reading: Reading) -> TableFile:
    """The numbers in a Parquet or `.npz` file; raises `DataError` with row and column for columns without them."""
    for option in ("header", "decimal"):
        if getattr(reading, option) is not None:
            raise InvalidArgument(option, getattr(reading, option), "an option of text files", "leave it out")
    frame = read_frame(path, lenient=True)
    columns = ColumnNames(tuple(c.number for c in frame.columns), tuple(c.name for c in frame.columns))
    roles = reading.roles(path, columns)
    _check_kinds(frame, columns, roles)
    _check_condition(frame, columns, roles)
    if trouble := next((frame.columns[c].trouble for c in roles.numbers if frame.columns[c].trouble), ""):
        raise DataError(trouble)
    rows = np.stack([frame.columns[c].values for c in roles.numbers], axis=1)
    present = np.isfinite(rows)
    held_present = [_present(frame.columns[c]) for c in roles.held]
    complete = np.logical_and.reduce([present.all(axis=1), *held_present])
    notices = list(frame.notices)
    if not complete.all():
        if reading.missing == "error":
            raise _missing(frame, columns, roles, np.column_stack((present, *held_present)))
        n = int((~complete).sum())
        notices.append(f"{counted(n, 'row')} with missing or infinite values {verb(n, 'is', 'are')} left out")
    if not complete.any():
        raise DataError(f"{path} has no row without missing or infinite values: give at least one")
    held = tuple(_held(frame.columns[c], columns, c, complete) for c in roles.held)
    kept = columns.without((*roles.held, *roles.left_out))
    return TableFile(
        np.ascontiguousarray(rows[complete]), kept, tuple(notices), held, frame.lines[complete], "row", columns
    )


def _check_kinds(frame: Frame, columns: ColumnNames, roles: Roles) -> None:
    """Raises `DataError` that names all columns of words or dates among the numbers."""
    for kind, what in (("text", "text"), ("date", "dates or times")):
        others = [c for c in roles.numbers if frame.columns[c].kind == kind]
        if not others:
            continue
        keys = columns.keys(others)
        remedy = f"leave {'it' if len(others) == 1 else 'them'} out (drop={keys})"
        if roles.fixed:
            remedy = AS_TRAINED
        elif kind == "text":
            remedy += f", or condition the density on the words (condition={keys})"
        else:
            remedy += ", or write numbers, for instance of days"
        holds = verb(len(others), "holds", "hold")
        raise DataError(f"{frame.path}: {columns.labels(others)} {holds} {what}, not numbers: {remedy}")


def _check_condition(frame: Frame, columns: ColumnNames, roles: Roles) -> None:
    """Raises `DataError` for dates in the condition, whose numbers would be seconds since 1970."""
    if dates := [c for c in roles.held if frame.columns[c].kind == "date"]:
        holds = verb(len(dates), "holds", "hold")
        remedy = (
            "write numbers, for instance of days, or words, for instance of months, into a column for the condition"
        )
        remedy = "give words or numbers, as the flow was trained on" if roles.fixed else remedy
        raise DataError(
            f"{frame.path}: {columns.labels(dates)} {holds} dates or times, which are no condition: {remedy}"
        )


def _present(column: Column) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if column.kind == "text" and column.cells is not None:
        return np.array([bool(cell.strip()) for cell in column.cells])
    return np.isfinite(column.values)


def _missing(frame: Frame, columns: ColumnNames, roles: Roles, present: np.ndarray) -> DataError:
    used = [*roles.numbers, *roles.held]
    row, k = (int(i) for i in np.argwhere(~present)[0])
    count = int((~present).sum())
    total = f" (one of {count:,} such cells)" if count > 1 else ""
    where = f"{frame.path}, row {int(frame.lines[row])}, {columns.label(used[k])}"
    column = "" if roles.fixed else f" or the column (drop={columns.keys([used[k]])})"
    return DataError(
        f"{where}: the value is missing or infinite{total}; remove the row or replace the value, or leave out all such "
        f"rows (missing=drop){column}"
    )


def _held(column: Column, columns: ColumnNames, place: int, rows: np.ndarray) -> HeldColumn:
    called = columns.called(place)
    if column.kind == "text" and column.cells is not None:
        cells = tuple(cell.strip() for cell, keep in zip(column.cells, rows, strict=True) if keep)
        return HeldColumn(*called, cells)
    values = column.values[rows]
    return HeldColumn(*called, as_texts(values), values)
