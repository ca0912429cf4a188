"""The error for a cell of a text table that holds no finite number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pynode.datasets.column_names import ColumnNames
from pynode.datasets.errors import DataError
from pynode.datasets.text_tables.cells import Kind, Mark, kind_of, number
from pynode.datasets.text_tables.records import Record

WHAT: dict[Kind, str] = {
    "missing": ", the value is missing",
    "infinite": "",
    "truth value": " but a truth value",
    "date": " but a date or a time",
    "text": "",
}
ADVICE: dict[Kind, str] = {
    "date": ", or write it as a number, for instance of days",
    "truth value": ": a column of two values has no density",
}


def refusal(
    path: Path,
    line: int,
    cells: list[str],
    lines: Iterable[Record],
    columns: ColumnNames,
    kept: list[int],
    mark: Mark,
) -> DataError:
    """The error for the first bad cell of (`line`, `cells`), with the count of such cells in all `lines`."""
    column = next(c for c in kept if not _is_finite(cells[c], mark))
    cell, kind = cells[column].strip(), kind_of(cells[column])
    counts: Counter[int] = Counter()
    first_line = n_lines = 0
    for at, record in lines:
        first_line, n_lines = first_line or at, n_lines + 1
        counts.update(c for c in kept if not _is_finite(record[c], mark) and kind_of(record[c]) == kind)
    shown = "an empty cell" if not cell else f"'{cell[:40]}{'...' if len(cell) > 40 else ''}'"
    count = counts.total()
    where = f"in {len(counts)} columns" if len(counts) > 1 else "in this column"
    total = f" (one of {count:,} such cells {where})" if count > 1 else ""
    drop = f"drop={columns.keys([column])}"
    if counts[column] == n_lines > 1 or kind in ("date", "truth value"):
        remedy = f"leave the column out ({drop})" + ADVICE.get(kind, "")
    elif kind == "text":
        remedy = f"remove the row or replace the value, or leave the column out ({drop})"
        if line == first_line and not any(columns.names):
            remedy += "; if this line is a header, say so (header=true)"
    else:
        remedy = (
            f"remove the row or replace the value, or leave out all such rows (missing=drop) or the column ({drop})"
        )
    label = columns.label(column)
    return DataError(f"{path}, line {line}, {label}: {shown} is not a finite number{WHAT[kind]}{total}; {remedy}")


def _is_finite(cell: str, mark: Mark) -> bool:
    value = number(cell, mark)
    return value is not None and math.isfinite(value)
