"""What was taken of a file of series, in lines for a reader: rows, times with their unit, the role of every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pynode.names import in_one_text
from pynode.trajectories.ahead import months_apart, typical_spacing
from pynode.trajectories.axis import TimeAxis
from pynode.trajectories.data import Trajectories
from pynode.wording import counted

LISTED = 12
"""Names of columns in a line, of which more are only counted."""

UNITS = (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0), ("seconds", 1.0), ("milliseconds", 1e-3))


def describe(series: Trajectories) -> list[str]:
    """Lines that say what was read: rows and trajectories, times, columns by role, and what else was decided."""
    rows = sum(len(each.times) for each in series.each)
    where = series.path.name if series.path is not None else "data"
    lengths = sorted(len(each.times) for each in series.each)
    several = f" of {lengths[0]} to {lengths[-1]} rows" if lengths[0] < lengths[-1] else ""
    by = f" by {in_one_text(series.id_columns)}" if series.id_column is not None else ""
    lines = [f"{where}: {counted(rows, 'row')}, {_trajectories(len(series.each))}{by}{several}"]
    if series.each:
        lines.append(_times(series))
    lines.append(f"values: {_listed([_value(series, k) for k in range(len(series.values))])}")
    if series.inputs:
        kinds = zip(series.inputs, series.input_kinds, strict=True)
        lines.append(f"inputs: {_listed([f'{in_one_text([name])} ({kind})' for name, kind in kinds])}")
    if series.covariates:
        lines.append(f"covariates: {_listed([in_one_text([name]) for name in series.covariates])}")
    given = f"'{series.axis.column}' is the time ("  # as told above
    return [*lines, *(notice for notice in series.notices if not notice.startswith(given))]


def duration(axis: TimeAxis, length: float) -> str:
    """A length of time in words: in days, hours, ... where times are dates, else in the units of the file."""
    if axis.seconds is None:
        return f"{length:.4g}"
    seconds = length * axis.seconds
    units = (("years", axis.seconds), *UNITS) if axis.unit == "years" else UNITS
    name, size = next(((n, s) for n, s in units if seconds >= s), UNITS[-1])
    number = f"{seconds / size:.4g}"
    return f"{number} {name.removesuffix('s') if number == '1' else name}"


def _times(series: Trajectories) -> str:
    axis = series.axis
    first, last = min(e.times[0] for e in series.each), max(e.times[-1] for e in series.each)
    months = months_apart(axis, series.each)
    apart = counted(months, "month") if months else duration(axis, typical_spacing(series.each))
    is_plain = axis.unit in (axis.column, f"units of {axis.column}")
    unit = "" if is_plain else " in dates" if axis.kind == "date" else f" in {axis.unit}"
    return f"time: {axis.column}{unit}, {axis.text(float(first))} to {axis.text(float(last))}, usually {apart} apart"


def _value(series: Trajectories, k: int) -> str:
    name = in_one_text([series.values[k]])
    missing = sum(int(np.isnan(each.values[:, k]).sum()) for each in series.each)
    notes = [f"period {series.periods[series.values[k]]:g}"] if series.values[k] in series.periods else []
    notes += [f"{missing:,} missing"] if missing else []
    return f"{name} ({', '.join(notes)})" if notes else name


def _trajectories(count: int) -> str:
    return "1 trajectory" if count == 1 else f"{count:,} trajectories"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
