"""Reads a table of mixed columns from a file, whose format is seen from its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pynode.datasets.date_order import ORDERS
from pynode.datasets.file_kinds import file_kind, is_text
from pynode.datasets.frame_arrays import read_npy_frame, read_npz_frame, read_parquet_frame
from pynode.datasets.frame_cells import Missing
from pynode.datasets.frame_table import Column, ColumnKind, Frame
from pynode.datasets.frame_text import read_text_frame
from pynode.datasets.no_table import no_file, refusal, refuse_markup
from pynode.datasets.sentinels import sentinels
from pynode.errors import InvalidArgument
from pynode.names import names_of
from pynode.wording import counted, verb

__all__ = ["Column", "ColumnKind", "Frame", "read_frame"]

ROW_NAMES = ("", "unnamed: 0", "index", "level_0", "rownames", "row.names", "row_names", "rowname")
"""How pandas, R and their users call the column of row names, in lower case."""


def read_frame(
    path: Path | str,
    *,
    header: bool | None = None,
    decimal: str | None = None,
    date_order: str | None = None,
    missing_values: str | float | Sequence[str | float] = (),
    words: str | Sequence[str] = (),
    lenient: bool = False,
) -> Frame:
    """The table in the file at `path`: text with any usual delimiter, Parquet, `.npy` or `.npz`, whatever its ending.

    `header`: whether the first line of a text is one; None leaves it to the file.  `decimal`: its decimal mark, "." or
    ",".  `date_order`: that of day, month and year in dates such as 03/04/2024: "dmy", "mdy" or "ymd".
    `missing_values`: cells that stand for missing ones besides the usual (empty, NA, N/A, NaN, null, ., -); codes such
    as -999 far outside the rest of a column are seen, and said.  `words`: columns, by name or number, whose cells are
    words whatever they look like, as identifiers and classes are.  `lenient`: a column with cells that don't fit is
    kept with its `trouble`, which is otherwise raised.

    A first column of row names, or of numbers that count the rows under the name of an index, is put aside as the
    frame's `row_names`.  Raises `DataError` with file, line, column and remedy where cells can't be read.
    """
    path = Path(path)
    if not path.is_file():
        raise no_file(path)
    if decimal not in (None, ".", ","):
        raise InvalidArgument("decimal", repr(decimal), "no decimal mark", "use '.' or ','")
    order = next((known for known in ORDERS if known == date_order), None)
    if order != date_order:
        problem, remedy = "no order of day, month and year", f"use one of {', '.join(ORDERS)}"
        raise InvalidArgument("date_order", repr(date_order), problem, remedy)
    words = names_of("words", words)
    missing, kind = Missing.of(names_of("missing_values", missing_values, numbers=True)), file_kind(path)
    if is_text(path):
        refuse_markup(path)
        frame = read_text_frame(path, header, decimal, missing, words, lenient, order)
    else:
        for option, value in (("header", header), ("decimal", decimal)):
            if value is not None:
                raise InvalidArgument(option, repr(value), "an option of text files", "leave it out")
        if kind == "parquet":
            frame = read_parquet_frame(path, missing, words, lenient, order)
        elif kind == "npy":
            frame = read_npy_frame(path, missing, words, lenient, order)
        elif kind == "npz":
            frame = read_npz_frame(path, missing, words, lenient, order)
        else:
            raise refusal(path, kind)
    return _without_codes(_without_row_names(frame, words))


def _without_row_names(frame: Frame, words: Sequence[str]) -> Frame:
    """The frame with its row names put aside, if its first column holds some."""
    first = frame.columns[0]
    named = first.name.lower()
    has_names = any(column.name for column in frame.columns)
    if not has_names or named not in ROW_NAMES or len(frame.columns) == 1 or {first.name, "1"} & set(words) - {""}:
        return frame
    values = first.values
    if first.cells is not None:
        are_names = len(set(first.cells)) == len(first.cells)
    elif first.kind == "number" and np.isfinite(values).all():
        whole = bool((values == np.round(values)).all()) and len(np.unique(values)) == len(values)
        rising = bool((np.diff(values) > 0).all())
        counts = values[0] in (0, 1) and (rising if named else bool((np.diff(values) == 1).all()))
        # after rows were taken out or shuffled an index no longer counts; rising numbers may be times
        are_names = whole and (counts or (not named and not rising))
    else:
        are_names = False
    if not are_names:
        return frame
    shown = f"'{first.name}'" if first.name else "without a name"
    notice = f"the first column, {shown}, names the rows and is left out"
    return replace(frame, columns=frame.columns[1:], notices=(*frame.notices, notice), row_names=first)


def _without_codes(frame: Frame) -> Frame:
    """The frame with NaN for numbers such as -999 that stand for missing values, which is said."""
    columns, notices = [], []
    taken: dict[str, tuple[float, ...]] = {}
    known = {code for column in frame.columns if column.kind == "number" for code in sentinels(column.values)}
    for column in frame.columns:
        codes = sentinels(column.values, known) if column.kind == "number" else []
        if codes:
            taken[column.key] = tuple(codes)
            where = np.isin(column.values, codes)
            n = int(where.sum())
            told = " and ".join(f"{code:.12g}" for code in codes)
            line = int(frame.lines[where.argmax()])
            lies, it = verb(len(codes), "lies", "lie"), verb(len(codes), "it is", "they are")
            notices.append(
                f"{column.label}: {told} in {counted(n, 'cell')} (first in line {line}) {lies} far outside the rest; "
                f"{it} taken as missing"
            )
            column = replace(column, values=np.where(where, np.nan, column.values))
        columns.append(column)
    told_of = (*frame.notices, *notices)
    return replace(frame, columns=tuple(columns), notices=told_of, codes=taken) if notices else frame
