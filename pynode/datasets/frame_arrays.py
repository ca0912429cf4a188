"""Reads a table of mixed columns from files of arrays: Parquet, `.npy` and `.npz`."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pynode.datasets.date_order import Order
from pynode.datasets.errors import DataError, optional
from pynode.datasets.frame_cells import Missing, column_of, text_column
from pynode.datasets.frame_stacks import unrolled
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.raw import MISREAD, OF_OBJECTS
from pynode.datasets.reading import ColumnNames
from pynode.datasets.splits import Array

Named = tuple[str, Array]
"""Name of a column, "" where there is none, and its values `(rows,)` of any type that is no object."""

UNROLLED = "the array of three dimensions is read as (trajectories, times, columns)"
WITH_TIME, DATE_ONLY = "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"


def read_npy_frame(
    path: Path, missing: Missing, words: Collection[str], lenient: bool, order: Order | None = None
) -> Frame:
    """The table `(rows, columns)` in a `.npy` file, or a structured array, whose fields are columns."""
    array = _loaded(path, lambda: np.load(path, allow_pickle=False))
    if (columns := unrolled({"y": array})) is not None:
        return _frame(path, list(columns.items()), missing, words, lenient, (UNROLLED,), order)
    return _frame(path, _columns_of(path, "", array), missing, words, lenient, (), order)


def read_npz_frame(
    path: Path, missing: Missing, words: Collection[str], lenient: bool, order: Order | None = None
) -> Frame:
    """The table in a `.npz` file: one array of two dimensions, or arrays with a row for each row of the table."""

    def arrays() -> dict[str, Array]:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    members: dict[str, Array] = {k: v for k, v in _loaded(path, arrays).items() if v.ndim}
    if not members:
        raise DataError(f"{path} holds no array with rows: give one")
    if (unrolled_columns := unrolled(members)) is not None:
        return _frame(path, list(unrolled_columns.items()), missing, words, lenient, (UNROLLED,), order)
    if len(members) == 1:
        name, array = next(iter(members.items()))
        return _frame(
            path, _columns_of(path, "" if array.ndim == 2 else name, array), missing, words, lenient, (), order
        )
    lengths = {name: len(array) for name, array in members.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {array.shape}" for name, array in members.items())
        raise DataError(f"{path} holds arrays of different lengths ({told}): give each one value, or row, a row")
    columns = [column for name, array in members.items() for column in _columns_of(path, name, array)]
    return _frame(path, columns, missing, words, lenient, (), order)


def read_parquet_frame(
    path: Path, missing: Missing, words: Collection[str], lenient: bool, order: Order | None = None
) -> Frame:
    """The table in a Parquet file; raises `PackageMissing` where pyarrow is not installed."""
    parquet = optional("pyarrow.parquet", "pyarrow", f"{path} is a Parquet file, which")
    arrow = optional("pyarrow", "pyarrow", f"{path} is a Parquet file, which")
    try:
        table = parquet.ParquetFile(path).read()
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"{path} can't be read as a Parquet file: {error}; restore or replace the file") from error
    columns, notices, zoned = [], [], set()
    for name, values in zip(table.column_names, table.columns, strict=True):
        shown = "" if name.startswith("__index_level_") else name
        array = _arrow_values(arrow, values)
        if array is None:
            notices.append(f"column '{name}' is left out: it holds {values.type}, neither numbers, dates nor words")
        else:
            columns.append((shown, array))
            if arrow.types.is_timestamp(values.type) and values.type.tz is not None:
                zoned.add(len(columns))
    frame = _frame(path, columns, missing, words, lenient, notices, order)
    with_zone = [
        replace(c, style=f"{c.style}Z") if c.number in zoned and c.style == WITH_TIME else c for c in frame.columns
    ]
    return replace(frame, columns=tuple(with_zone))


def _arrow_values(arrow: Any, values: Any) -> Array | None:
    """The values of a column of Arrow's as an array of NumPy's; None for types that are no plain values."""
    kinds, kind = arrow.types, values.type
    if kinds.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = kind.value_type
    if kinds.is_null(kind):
        return np.full(len(values), math.nan)
    if kinds.is_boolean(kind):
        values, kind = values.cast(arrow.uint8()), arrow.uint8()
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        cast = values.cast(arrow.float64(), safe=False)
        return np.asarray(cast.to_numpy(), dtype=np.float64)
    if kinds.is_date(kind):
        return np.asarray(values.cast(arrow.date32()).to_numpy()).astype("M8[D]")
    return _arrow_times_or_words(arrow, values)


def _arrow_times_or_words(arrow: Any, values: Any) -> Array | None:
    kinds, kind = arrow.types, values.type
    if kinds.is_timestamp(kind):
        return np.asarray(values.cast(arrow.timestamp("us", tz=kind.tz), safe=False).to_numpy()).astype("M8[us]")
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind):
        return np.array(["" if word is None else word for word in values.to_pylist()], dtype=np.str_)
    if kinds.is_time(kind):
        return np.array(["" if time is None else time.isoformat() for time in values.to_pylist()], dtype=np.str_)
    return None


def _loaded(path: Path, read: Any) -> Any:
    try:
        return read()
    except MISREAD as error:
        if any(said in str(error).lower() for said in OF_OBJECTS):
            raise DataError(
                f"{path} holds Python objects, which are not read: save its columns as numbers and words (dtype str), "
                "or the table as .csv"
            ) from error
        raise DataError(f"{path} can't be read as an array of numbers: {error}; restore or replace the file") from error


def _columns_of(path: Path, name: str, array: Array) -> list[Named]:
    """The columns of an array: of its fields, or of its second dimension."""
    if array.dtype.names is not None:
        if array.ndim != 1:
            raise DataError(f"{path} holds a structured array of shape {array.shape}: give one of one dimension")
        return [(field, array[field]) for field in array.dtype.names]
    if array.ndim == 1:
        return [(name, array)]
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(
            f"{path} holds an array of shape {array.shape}: give a table (rows, columns), or "
            "(trajectories, times, columns)"
        )
    return [(f"{name}{n + 1}" if name else "", array[:, n]) for n in range(array.shape[1])]


def _frame(
    path: Path,
    named: Sequence[Named],
    missing: Missing,
    words: Collection[str],
    lenient: bool,
    notices: Sequence[str],
    order: Order | None,
) -> Frame:
    if not named:
        raise DataError(f"{path} has no columns of numbers, dates or words: give at least one")
    rows = len(named[0][1])
    if not rows:
        raise DataError(f"{path} has no rows: give at least one")
    names = ColumnNames(tuple(range(1, len(named) + 1)), tuple(name for name, _ in named))
    as_words = set(names.find("words", words))
    lines = np.arange(1, rows + 1)
    columns, said = [], list(notices)
    for n, (name, values) in enumerate(named):
        if n in as_words:
            columns.append(text_column(name, n + 1, _cells(values), missing))
            continue
        column, notice = _column(path, name, n + 1, values, missing, lenient, order)
        columns.append(column)
        said += [notice] if notice else []
    return Frame(path, tuple(columns), lines, tuple(said))


def _cells(values: Array) -> list[str]:
    """The values as words; whole numbers without a decimal point."""
    if values.dtype.kind in "fc":
        return [
            "" if math.isnan(v) else repr(int(v)) if v == int(v) else repr(v) for v in values.astype(float).tolist()
        ]
    if values.dtype.kind == "M":
        return ["" if word == "NaT" else word for word in np.datetime_as_string(values).tolist()]
    return [str(value) for value in values.tolist()]


def _column(
    path: Path, name: str, at: int, values: Array, missing: Missing, lenient: bool, order: Order | None
) -> tuple[Column, str]:
    """The column, and what to say about it."""
    kind = values.dtype.kind
    if kind in "fiub":
        numbers = values.astype(np.float64)
        for gone in missing.numbers:
            numbers[numbers == gone] = math.nan
        return Column(name, at, "number", numbers), ""
    if kind == "M":
        micro = values.astype("M8[us]")
        seconds = np.where(np.isnat(micro), math.nan, micro.astype(np.int64) / 1e6)
        whole = bool((seconds[np.isfinite(seconds)] % 86400 == 0).all())
        return Column(name, at, "date", seconds, style=DATE_ONLY if whole else WITH_TIME), ""
    if kind == "m":
        seconds = np.where(np.isnat(values), math.nan, values.astype("m8[us]").astype(np.int64) / 1e6)
        return Column(name, at, "number", seconds, unit="s"), ""
    if kind not in "US":
        raise DataError(f"{path}, column {at} ('{name}') holds {values.dtype}: give numbers, dates or words")
    cells = [word.decode("utf-8", "replace") if isinstance(word, bytes) else word for word in values.tolist()]
    column, wrong, dates = column_of(name, at, cells, missing, ".", order=order)
    trouble = ""
    if dates is not None and dates.problem:
        trouble = f"{path}, {column.label}: {dates.problem}"
    elif wrong:
        what = "date" if column.kind == "date" else "number"
        trouble = (
            f"{path}, row {wrong[0] + 1}, {column.label}: '{cells[wrong[0]][:40]}' is not a {what}; correct the cell"
        )
    if trouble and not lenient:
        raise DataError(trouble)
    return column.with_trouble(trouble), f"{column.label}: {dates.notice}" if dates is not None and dates.notice else ""
