"""Tables of doses: columns that mark rows, further doses named in one row, and doses by several routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.trajectories.axis import words_of
from pynode.trajectories.identity import codes_of
from pynode.trajectories.inputs import is_dose

OF_DOSES = frozenset(("ss", "ii", "addl", "rate", "dur"))
"""Columns of programs for such tables that say more of a dose, and are 0 or empty in other rows."""
MARKS = frozenset(("evid", "mdv", "cmt", "adm")) | OF_DOSES
"""These, and those that tell such rows apart: beside a column of few doses they are no values."""
EVENTS = frozenset(("evid", "mdv"))
"""Those that are not 0 in rows without a measurement."""
FURTHER = frozenset(("addl", "ss"))
"""Those that stand for more doses than that of their row."""
SLOW = frozenset(("rate", "dur"))
"""Those that say how fast, or for how long, a dose is given."""
ROUTES = frozenset(("cmt", "adm", "route", "administration", "via"))
"""What columns are called that say how a dose is given."""
SEVERAL = frozenset(("ii", "evid"))
"""Beside these, a column `ss` says that doses were given before."""
FEW_DOSES = 0.5
"""A column of doses has one in less than this share of all rows, where others are to belong to it."""
MOST_ROUTES = 5
LEAST_DOSES = 2
"""Doses of each route, at least."""
NAME = re.compile(r"(?s)(.*)\((.*)=(.*)\)")


def marks_rows(column: Column, doses: Sequence[Column]) -> bool:
    """Whether a column, beside those of doses, marks rows, or says by which route doses are given."""
    few = [each for each in doses if 0 < _given(each).mean() < FEW_DOSES]
    if not few or any(column is each for each in few):
        return False
    name = column.name.lower()
    if name in OF_DOSES:
        elsewhere = ~np.any([_given(each) for each in few], axis=0)
        return not column.trouble and column.kind == "number" and not np.nan_to_num(column.values[elsewhere]).any()
    return name in MARKS or any(_tells(column, _given(each)) for each in few)


def check_further(frame: Frame, doses: Column, used: Sequence[Column]) -> None:
    """Raises `DataError` where a row stands for several doses: each is wanted in a row of its own.

    Columns that are `used` as values, inputs or covariates stand for nothing else.
    """
    names = {c.name.lower() for c in frame.columns}
    further = FURTHER if names & SEVERAL else FURTHER - {"ss"}
    for column in frame.columns:
        if column.kind == "number" and column.name.lower() in further and not _among(column, used):
            more = np.flatnonzero(_given(doses) & (np.nan_to_num(column.values) != 0))
            if more.size:
                row = int(more[0])
                raise DataError(
                    f"{frame.place(row)}, {column.label}: {column.values[row]:g} stands for further doses, which are "
                    "not made from one row; write a row for each dose, or give the column another name if it holds "
                    "something else"
                )


def told_of_slow(frame: Frame, doses: Column, used: Sequence[Column]) -> list[str]:
    """What to say about doses that a column, which is not `used` otherwise, says are given over some time."""
    given = _given(doses)
    slow = [c for c in frame.columns if c.kind == "number" and c.name.lower() in SLOW and not _among(c, used)]
    slow = [c for c in slow if (np.nan_to_num(c.values[given]) != 0).any()]
    return [f"{c.label} is left out of account: doses are added at once" for c in slow]


def without_marked(frame: Frame, used: Sequence[Column]) -> tuple[Frame, list[str]]:
    """`frame` without the zeros that stand, in the rows that are marked as those of doses, for no value; what to say.

    Marks are EVID other than 0 and MDV = 1, beside a column of doses.  A column is 0 or empty in all rows marked so;
    those that are `used` otherwise stay.
    """
    number = [c for c in frame.columns if c.kind == "number" and not c.trouble]
    marks = [c for c in number if c.name.lower() in EVENTS]
    if not marks or not any(is_dose(c) for c in number):
        return frame, []
    marked = np.any([np.nan_to_num(c.values) != 0 for c in marks], axis=0)
    candidates = {c.number for c in number if not is_dose(c) and c.name.lower() not in MARKS}
    candidates -= {c.number for c in used}
    columns, names = list[Column](), list[str]()
    for column in frame.columns:
        if column.number in candidates and _is_empty(column.values[marked]) and np.nanmax(np.abs(column.values)) > 0:
            names.append(column.label)
            columns.append(replace(column, values=np.where(marked, np.nan, column.values)))
        else:
            columns.append(column)
    told = f"{', '.join(names)}: zeros in rows that {' and '.join(c.key for c in marks)} mark are no values"
    return replace(frame, columns=tuple(columns)), [told] if names else []


def _among(column: Column, others: Sequence[Column]) -> bool:
    return any(column.number == other.number for other in others)


def _is_empty(values: Array) -> bool:
    """Whether values are 0 or missing, and not all missing."""
    return bool((np.nan_to_num(values) == 0).all() and (values == 0).any())


def by_route(
    frame: Frame, doses: Column, rest: Sequence[Column], known: Sequence[str]
) -> tuple[list[Column], Column | None]:
    """A column of doses for each route, and the column among `rest` that names the routes; `doses` alone without one.

    It is called a route and has a cell in each row of a dose; the same dose given by another route acts otherwise.
    `known` are the inputs of a model that the file is read for, whose routes they have to be.
    """
    given = _given(doses)
    named = [match for name in known if (match := NAME.fullmatch(name)) and match[1] == doses.key]
    if known and not named:
        return [doses], None
    column = next((c for c in rest if (c.key == named[0][2] if named else _tells(c, given))), None)
    if column is None:
        return [doses], None
    words = _words(column)
    each = [match[3] for match in named] or sorted({words[row] for row in np.flatnonzero(given)})
    for row in np.flatnonzero(given).tolist():
        if words[row] not in each:
            what = "is empty" if words[row] in ("", "nan") else f"'{words[row][:40]}' is no route that the model knows"
            raise DataError(f"{frame.place(row)}, {column.label}: {what}; it knows {', '.join(each)}")
    return [_of(doses, column, word, np.array([own == word for own in words])) for word in each], column


def dose_column(name: str) -> str:
    """The column of the file that the doses of an input are from."""
    match = NAME.fullmatch(name)
    return match[1] if match else name


def _of(doses: Column, column: Column, word: str, own: Array) -> Column:
    values = np.where(own.astype(bool), doses.values, np.nan)
    return replace(doses, name=f"{doses.key}({column.key}={word})", values=values)


def _given(doses: Column) -> Array:
    """The rows `(rows,)` with a dose."""
    return np.asarray(np.isfinite(doses.values) & (doses.values != 0))


def _words(column: Column) -> list[str]:
    if column.cells is not None:
        return list(column.cells)
    return [f"{value:g}" for value in column.values.tolist()]


def _tells(column: Column, given: Array) -> bool:
    """Whether a column says of each dose by which of a few routes it is given."""
    if column.trouble or column.kind == "date" or not set(words_of(column.name)) & ROUTES:
        return False
    codes = codes_of(column)
    if (codes[given] < 0).any():
        return False
    counts = np.unique(codes[given], return_counts=True)[1]
    return 2 <= len(counts) <= MOST_ROUTES and bool((counts >= LEAST_DOSES).all())
