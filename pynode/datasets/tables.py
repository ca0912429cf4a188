"""A user's own table: read from a file of text or `.npy`, split and scaled."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pynode.datasets.columns import check_columns, dequantised
from pynode.datasets.conditions import check_within_classes, fitted
from pynode.datasets.errors import DataError
from pynode.datasets.file_kinds import file_kind, is_text
from pynode.datasets.frame_tables import read_columns
from pynode.datasets.no_table import no_file, refusal, refuse_markup
from pynode.datasets.raw import load_array
from pynode.datasets.reading import ColumnNames, HeldColumn, Reading, TableFile, as_texts
from pynode.datasets.splits import PARTS, Array, Splits, check_scale, cut, first_damage, standardised
from pynode.datasets.table_codes import without_codes
from pynode.datasets.text_tables import read_text
from pynode.errors import InvalidArgument
from pynode.names import names_of
from pynode.wording import counted, verb

TEXTS = (".csv", ".tsv", ".txt", ".dat")
INDEX_NAMES = ("", "unnamed: 0", "index", "level_0", "rownames", "row.names", "row_names", "rowname")
"""How pandas, R and their users call the column of row names, in lower case."""

_log = logging.getLogger("pynode")
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def load_table(path: Path | str, **reading: Any) -> Array:
    """The numbers `(rows, dim)`, float64, of a file whose format is seen from its content.

    A `.npy` file is memory-mapped if it holds float64; Parquet and `.npz` files are read into memory.  A text has
    commas, semicolons, tabs, bars or spaces between cells.  Its first
    line is a header if no cell of it is a number, or if it counts the columns (0, 1, 2, ...); a first column of
    integers without a name is an index and is dropped; both are logged.  Empty lines and lines that begin with # are
    skipped.  Decimal commas and thousands in groups are read where all cells agree on them.

    `reading` are options of `Reading`, for what the file does not say.  Raises `DataError` with line and column (both
    from 1) for text, NaN, infinite or missing cells, and for an empty file or one of another format.
    """
    return read_table(path, Reading(**reading)).rows


def read_table(path: Path | str, reading: Reading | None = None) -> TableFile:
    """As `load_table`, with the names of the columns and the notices, which are logged once."""
    path, reading = Path(path), reading or Reading()
    if not path.is_file():
        raise no_file(path)
    kind = table_kind(path)
    if kind == "npy":
        table = _read_npy(path, reading)
    elif kind == "text":
        table = _without_index(read_text(path, reading), reading)
    else:
        table = _without_index(read_columns(path, reading), reading)
    if kind in ("npy", "text"):  # other files are read with their codes as missing values
        table = without_codes(table, reading)
    for notice in table.notices:
        _tell(f"{path}: {notice}")
    if not reading.classes:
        return table
    words = {table.every.name(c) for c in table.every.find("classes", reading.classes)}
    return replace(table, held=tuple(column.as_words if column.name in words else column for column in table.held))


def table_kind(path: Path) -> str:
    """ "npy", "npz", "parquet" or "text", by the content of the file; raises `DataError` for any other."""
    if path.suffix.lower() == ".npy":
        return "npy"  # whose reader says what is wrong with another content
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty, it has no rows of numbers: give at least one")
    kind = file_kind(path)
    if is_text(path):
        refuse_markup(path)
        return "text"
    if kind not in ("npy", "npz", "parquet"):
        raise refusal(path, kind)
    return kind


def split_and_standardise(
    rows: Array,
    *,
    seed: int = 0,
    fractions: tuple[float, float] = (0.1, 0.1),
    name: str = "table",
    columns: ColumnNames | None = None,
    dequantise: str | Sequence[str] = (),
    index: str | None = None,
    held: Sequence[HeldColumn] = (),
) -> Splits:
    """`Splits` of `(rows, dim)`, shuffled by `seed`, scaled by the training rows (standard deviation by n).

    `fractions` are the share of test rows, and of validation rows among the rest; both are cut off the end.  Columns
    named in `dequantise`, by name or by number from 1, get uniform noise of one unit of their resolution, drawn by
    `seed` before anything else; ("auto",) means all columns of few distinct values.  `held` columns become the contexts
    of the rows, of the classes of all rows and the scale of the training rows.  Raises `InvalidArgument` for other
    fractions than between 0 and 1, and `DataError` for too few rows, for values that are not finite, and for columns
    without a density (`check_columns`): constant ones, steps, copies and combinations of others; and for columns that
    are no condition (`conditions.fitted`).
    """
    if not all(0 < share < 1 for share in fractions):
        raise InvalidArgument("fractions", fractions, "not shares of a table", "give two numbers between 0 and 1")
    if rows.ndim != 2:
        raise DataError(f"rows has shape {rows.shape}: give a table (rows, dim)")
    table = np.asarray(rows, dtype=np.float64)
    _check_count(name, len(table), fractions)
    columns = columns or ColumnNames.unnamed(table.shape[1])
    order = np.random.default_rng(seed).permutation(len(table))
    train = cut(order, test=fractions[0], validation=fractions[1])[0]
    if (damage := first_damage(table)) is not None:
        raise DataError(f"rows hold NaN or infinite values: {damage}; remove or replace these rows")
    check_scale(name, table[train].mean(axis=0), table[train].std(axis=0), columns)
    filled = dequantised(name, table, columns, names_of("dequantise", dequantise), seed)
    for notice in check_columns(name, filled, columns, may_count=index == "keep"):
        _tell(f"{name}: {notice}")
    parts = cut(filled.rows[order], test=fractions[0], validation=fractions[1])
    splits = standardised(name, parts, parts[0].mean(axis=0), parts[0].std(axis=0))
    splits = replace(splits, names=columns.names, columns=columns, units=filled.units, origins=filled.origins)
    if not held:
        return splits
    conditions, notices = fitted(name, held, train)
    for notice in notices:
        _tell(f"{name}: {notice}")
    check_within_classes(name, filled.rows, columns, held, conditions)
    contexts = cut(conditions.encode(held)[order], test=fractions[0], validation=fractions[1])
    return replace(splits, contexts=dict(zip(PARTS, contexts, strict=True)), conditions=conditions)


def _check_count(name: str, rows: int, fractions: tuple[float, float]) -> None:
    """Raises `DataError` where a part would be empty."""
    tested = int(fractions[0] * rows)
    if not tested or not int(fractions[1] * (rows - tested)):
        raise DataError(
            f"{name} has {counted(rows, 'row')}, too few to set some aside for validation and test; give more rows"
        )


def _read_npy(path: Path, reading: Reading) -> TableFile:
    rows = load_array(path, mapped=True)
    if rows.shape[0] == 0 or rows.shape[1] == 0:
        raise DataError(f"{path} is empty, with shape {rows.shape}: give at least one row and one column")
    for option in ("header", "decimal"):
        if getattr(reading, option) is not None:
            raise InvalidArgument(option, getattr(reading, option), "an option of text files", "leave it out")
    columns = ColumnNames.unnamed(rows.shape[1])
    roles = reading.roles(path, columns)
    notices: tuple[str, ...] = ()
    used = [*roles.numbers, *roles.held]
    other, places = sorted(roles.left_out), None
    if (damage := first_damage(rows, ignored=other)) is not None:
        if reading.missing == "error":
            raise DataError(
                f"{path}, {damage}; remove the row or replace the value, or leave out such rows (missing=drop)"
            )
        finite = np.isfinite(rows[:, used]).all(axis=1)
        n = int((~finite).sum())
        notices = (f"{counted(n, 'row')} with missing or infinite values {verb(n, 'is', 'are')} left out",)
        rows, places = rows[finite], np.flatnonzero(finite) + 1
        if not len(rows):
            raise DataError(f"{path} has no row without missing or infinite values: give at least one")
    held = tuple(_held_numbers(columns, column, rows) for column in roles.held)
    if other or held:
        kept = columns.without((*roles.held, *other))
        return TableFile(
            np.array(rows[:, roles.numbers], dtype=np.float64), kept, notices, held, places, "row", columns
        )
    values = rows if rows.dtype == np.float64 else np.array(rows, dtype=np.float64)
    return TableFile(values, columns, notices, (), places, "row", columns)


def _held_numbers(columns: ColumnNames, column: int, rows: Array) -> HeldColumn:
    values = np.array(rows[:, column], dtype=np.float64)
    return HeldColumn(*columns.called(column), as_texts(values), values)


def _without_index(table: TableFile, reading: Reading) -> TableFile:
    """The table without a first column that is an index, unless that is to be kept."""
    has_header = any(table.columns.names)
    named = table.columns.names[0].lower()
    if (
        reading.only is not None
        or reading.index is not None
        or not has_header
        or named not in INDEX_NAMES
        or len(table.columns.names) == 1
    ):
        return table
    first = table.rows[:, 0]
    if table.columns.numbers[0] != 1 or not _are_labels(first, counts=named != ""):
        return table
    kept = replace(table, rows=np.ascontiguousarray(table.rows[:, 1:]), columns=table.columns.without([0]))
    shown = f"'{table.columns.names[0]}'" if named else "without a name"
    notice = f"the first column, {shown}, is an index and is left out (index=keep keeps it)"
    return replace(kept, notices=(*kept.notices, notice))


def _are_labels(values: Array, *, counts: bool) -> bool:
    """Whether these are distinct integers, as an index holds; if it `counts`, rising ones from 0 or 1."""
    if not (values == np.round(values)).all() or len(np.unique(values)) < len(values):
        return False
    return not counts or (values[0] in (0, 1) and bool((np.diff(values) > 0).all()))


@contextmanager
def without_notices() -> Iterator[None]:
    """While the block runs, nothing is said of the tables that are read: it was said when they were first used."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def _tell(notice: str) -> None:
    if not _quiet.get():
        _tell_once(notice)


@lru_cache(maxsize=256)
def _tell_once(notice: str) -> None:
    # cached: every run of a comparison reads the table again
    _log.warning("%s", notice)
