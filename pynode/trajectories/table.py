"""Forecasts as a table in the manner of the file that the series came from: its columns, its times, its units."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynode.errors import RunFailure
from pynode.trajectories.axis import TimeAxis
from pynode.trajectories.data import Trajectories
from pynode.trajectories.errors import Array
from pynode.trajectories.scaling import Scaling
from pynode.trajectories.time_columns import time_cells

DIGITS, MOST_DIGITS = 9, 17
"""Significant digits of a forecast, at least and at most."""
DIGITS_OF_SPREAD = 6
"""Digits that a column's spread is written to at least, where its values lie far from 0."""


@dataclass(frozen=True)
class Rows:
    """The forecast of one trajectory: `values` `(k, columns)` at `times` `(k,)`, in the units of the file.

    `identity` are the cells of the columns that name it.
    """

    name: str
    times: Array
    values: Array
    identity: tuple[str, ...] = ()


@dataclass(frozen=True)
class ValueColumn:
    """How a column of values is written.

    An angle has a `period` (0 for others), and its values lie in [`begins`, `begins` + `period`).  Of a `constant`
    every digit is written; of others as many as `spread`, the column's standard deviation, calls for.
    """

    name: str
    period: float = 0.0
    begins: float = 0.0
    constant: bool = False
    spread: float = math.inf


def value_columns(series: Trajectories, scaling: Scaling) -> list[ValueColumn]:
    """The value columns of a file, those that never change at the end."""
    own = zip(series.values, scaling.periods, scaling.begins, scaling.scales.tolist(), strict=True)
    changing = [ValueColumn(name, period, begins, spread=spread) for name, period, begins, spread in own]
    return [*changing, *(ValueColumn(name, constant=True) for name in series.constants)]


def as_csv(
    rows: Sequence[Rows],
    columns: Sequence[ValueColumn],
    axis: TimeAxis,
    *,
    id_columns: Sequence[str],
) -> bytes:
    """CSV text in UTF-8: the file's own columns of the trajectory's name and of the time, and the values.

    Raises `RunFailure` for a value that is not finite.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names, written = time_cells(axis, [own.times for own in rows])
    writer.writerow([*id_columns, *names, *(column.name for column in columns)])
    for own, times in zip(rows, written, strict=True):
        check_finite(own, [column.name for column in columns], axis)
        for time, values in zip(times, own.values.tolist(), strict=True):
            writer.writerow([*own.identity, *time, *map(_cell, values, columns)])
    return text.getvalue().encode()


def check_finite(own: Rows, columns: Sequence[str], axis: TimeAxis) -> None:
    """Raises `RunFailure` for a value that is not finite."""
    if not np.isfinite(own.values).all():
        k, column = (int(place[0]) for place in np.nonzero(~np.isfinite(own.values)))
        of = f" of {own.name}" if own.name else ""
        raise RunFailure(
            f"the forecast of {columns[column]}{of} is not finite from {axis.text(float(own.times[k]))} on; "
            "choose an earlier end, or train longer"
        )


def _cell(value: float, column: ValueColumn) -> str:
    if column.constant:
        return _without_zero(repr(value))
    if not column.period:
        return _without_zero(f"{value:.{_digits(value, column.spread)}g}")
    angle = column.begins + (value - column.begins) % column.period
    cell = _without_zero(f"{angle:.{DIGITS}g}")
    return _without_zero(repr(column.begins)) if float(cell) >= column.begins + column.period else cell


def _digits(value: float, spread: float) -> int:
    """Significant digits of a value: more where the column's spread is small beside it."""
    if not (value and 0 < spread < math.inf):
        return DIGITS
    before = math.ceil(max(math.log10(abs(value)) - math.log10(spread), 0.0))
    return min(max(DIGITS, before + DIGITS_OF_SPREAD), MOST_DIGITS)


def _without_zero(cell: str) -> str:
    return "0" if cell in ("-0", "-0.0") else cell.removesuffix(".0")
