"""Forecasts as a table in the manner of the file that the series came from: its columns, its times, its units."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynode.errors import RunFailure
from pynode.trajectories.axis import TimeAxis
from pynode.trajectories.errors import Array
from pynode.trajectories.time_columns import time_cells

DIGITS = 9
"""Significant digits of a forecast."""


@dataclass(frozen=True)
class Rows:
    """The forecast of one trajectory: `values` `(k, columns)` at `times` `(k,)`, in the units of the file.

    `identity` are the cells of the columns that name it.
    """

    name: str
    times: Array
    values: Array
    identity: tuple[str, ...] = ()


def as_csv(
    rows: Sequence[Rows],
    columns: Sequence[str],
    axis: TimeAxis,
    *,
    id_columns: Sequence[str],
    periods: Sequence[float | None],
    constant: Sequence[bool],
) -> bytes:
    """CSV text in UTF-8: the file's own columns of the trajectory's name and of the time, and the values.

    `periods` has the period of each circular column, whose values are in [0, period); of columns that are `constant`
    every digit is written.  Raises `RunFailure` for a value that is not finite.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names, written = time_cells(axis, [own.times for own in rows])
    writer.writerow([*id_columns, *names, *columns])
    for own, times in zip(rows, written, strict=True):
        check_finite(own, columns, axis)
        for time, values in zip(times, own.values.tolist(), strict=True):
            cells = map(_cell, values, periods, constant)
            writer.writerow([*own.identity, *time, *cells])
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


def _cell(value: float, period: float | None, constant: bool) -> str:
    if period is not None:
        value %= period
    cell = repr(value) if constant else f"{value:.{DIGITS}g}"
    if cell.endswith(".0"):
        cell = cell[:-2]
    return "0" if period is not None and float(cell) >= period else cell
