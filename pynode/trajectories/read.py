"""Reads trajectories from a file: which column is what, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame import read_frame
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.reading import ColumnNames
from pynode.datasets.splits import Array
from pynode.errors import InvalidArgument
from pynode.names import in_one_text, names_in, names_of
from pynode.trajectories.assembly import Parts, assembled
from pynode.trajectories.axis import words_of
from pynode.trajectories.circles import given_period, seen_period
from pynode.trajectories.clocks import put_forward
from pynode.trajectories.covariates import covariate_of
from pynode.trajectories.data import InputKind, Trajectories
from pynode.trajectories.dosing import without_marked
from pynode.trajectories.guess_time import given_time, guessed_time, names_like_weeks
from pynode.trajectories.identity import groups_of, guessed_id, hint_of
from pynode.trajectories.inputs import given_kinds, is_dose, is_sparse, kind_of_input
from pynode.trajectories.likeness import angles_of, with_codes_of
from pynode.trajectories.order import Group, counted_rows, past_midnight, sorted_groups
from pynode.trajectories.roles import Roles, observed_rows, roles_of
from pynode.trajectories.time_columns import with_own_columns
from pynode.trajectories.times import Times, row_numbers

TOLD: dict[InputKind, str] = {
    "interpolated": "interpolated between its rows",
    "steps": "constant until its next row",
    "jumps": "taken as doses, each added at once at its time",
}

QUANTITIES = frozenset(("variable", "quantity", "parameter", "measure", "metric", "analyte", "indicator", "signal"))
"""What columns are called that name what is measured in a row, in tables with one column of values for all."""
SPARSE = {
    "interpolated": (
        "; if it stays as it is until its next row, or if its rows are doses, say so (input_kind=steps "
        "or input_kind=jumps)"
    ),
    "steps": (
        "; if it changes from row to row, or if its rows are doses, say so (input_kind=interpolated "
        "or input_kind=jumps)"
    ),
    "jumps": "; if it goes on between its rows, say so (input_kind=interpolated or input_kind=steps)",
}
"""What to say of inputs with few rows."""


def read_series(
    path: Path | str,
    *,
    time: str | Sequence[str] | None = None,
    id: str | Sequence[str] | None = None,
    values: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] = (),
    input_kind: str = "auto",
    covariates: str | Sequence[str] = (),
    circular: str | Sequence[str] = (),
    missing_values: str | float | Sequence[str | float] = (),
    header: bool | None = None,
    decimal: str | None = None,
    date_order: str | None = None,
    leave_out: str | float | Sequence[str | float] = (),
    like: Trajectories | None = None,
) -> Trajectories:
    """The trajectories in the file at `path`: text, Parquet, `.npy` or `.npz`, as `read_frame` reads it.

    Columns are given by name or number (from 1), one alone or several; those that are not given are guessed, and
    `notices` say so.  `time` and `id` may be several columns, also between commas: date and time of day, or year and
    month.  Covariates are constant over a trajectory, and words become classes; `covariates=("none",)` guesses none.
    `input_kind` of all inputs is "interpolated", "steps", "jumps" or "auto", which decides for each, as it does for
    those that "NAME:KIND,..." leaves out.  `circular` are
    angles, NAME or NAME:PERIOD.  `date_order` of dates such as 03/04/2024 is "dmy", "mdy" or "ymd"; without one, the
    column decides it.  `leave_out` are names of trajectories to leave out.  Columns of times, the order of their dates,
    kinds of inputs, angles and codes of missing values are those of the series `like`, where it is given, and not
    guessed.

    Raises `DataError` with file, line and remedy for times that go back or occur twice, a value that is no number, or
    a trajectory of one point; `InvalidArgument` for columns that there are not.
    """
    time = time if time is None or isinstance(time, str) else names_of("time", time)
    id = id if id is None or isinstance(id, str) else names_of("id", id)
    values = values if values is None else names_of("values", values)
    inputs, covariates = names_of("inputs", inputs), names_of("covariates", covariates)
    circular, leave_out = names_of("circular", circular), names_of("leave_out", leave_out, numbers=True)
    missing_values = names_of("missing_values", missing_values, numbers=True)
    order = date_order if date_order is not None or like is None else like.date_order
    read = partial(
        read_frame, path, header=header, decimal=decimal, date_order=order, missing_values=missing_values, lenient=True
    )
    frame = read()
    timed = (() if like is None else like.time_columns) if time is None else _each(frame, "time", time)
    if doubtful := names_like_weeks(frame, timed):
        frame = read(words=[_in_file(frame, column) for column in doubtful])
    if like is not None:
        frame = with_codes_of(frame, like)
    if time is not None or timed:
        times = given_time(frame, timed)
    elif like is not None:
        times = row_numbers(frame)
    else:
        times = guessed_time(frame, () if values is None else frame.chosen("values", values))
    times = with_own_columns(frame, times)
    identity = _identity(frame, times, id, (*(values or ()), *inputs, *covariates))
    occupied = _occupied(frame, times)
    groups = groups_of(frame, _as_words(frame, identity, header, decimal, missing_values), occupied)
    groups = _without(groups, leave_out)
    moved, midnight = past_midnight(groups, times.values, times.axis)
    if not times.columns:
        moved = counted_rows(groups, len(frame))
    hint = hint_of(frame, times, identity)
    groups, order_notices = sorted_groups(frame, groups, moved, times.axis, hint)
    named = [*inputs, *(() if tuple(covariates) == ("none",) else covariates)]
    frame, marked = without_marked(frame, (*times.columns, *identity, *frame.chosen("inputs", named)))
    roles = roles_of(
        frame,
        times,
        identity,
        groups,
        values,
        inputs,
        covariates,
        input_kind=input_kind,
        known=() if like is None else like.inputs,
    )
    periods = _periods(frame, roles, groups, circular if like is None else angles_of(like, circular))
    if like is not None:
        periods = {name: period for name, period in periods.items() if name in like.periods}
    observed = observed_rows(roles.values, len(frame))
    of_model = {} if like is None else dict(zip(like.inputs, like.input_kinds, strict=True))
    asked = given_kinds(input_kind, frame, roles.inputs)
    kinds: list[InputKind] = [
        of_model.get(c.key) or asked.get(c.number) or kind_of_input(c, groups, observed) for c in roles.inputs
    ]
    classes = [covariate_of(frame, column, groups) for column in roles.covariates]
    parts = Parts(frame, moved, times.axis, roles.values, roles.inputs, tuple(kinds), hint)
    known = np.concatenate([c.values for c in classes], axis=1) if classes else np.empty((len(groups), 0))
    each, more = assembled(parts, groups, known)
    notices = [
        *frame.notices,
        *_said(times, time, identity, id, len(each)),
        *(n for n in (midnight, *order_notices, put_forward([one.times for one in each], times.axis)) if n),
        *marked,
        *roles.notices,
        *(c.notice for c in classes if c.notice),
        *(
            f"input '{c.key}' is {TOLD[k]}{SPARSE[k] if _is_open(c, asked, observed) else ''}"
            for c, k in zip(roles.inputs, kinds, strict=True)
        ),
        *(
            f"'{name}' is taken as an angle with period {period:.6g}"
            for name, period in periods.items()
            if name not in circular
        ),
        *more,
    ]
    return Trajectories(
        each,
        times.axis,
        tuple(column.key for column in roles.values),
        tuple(column.key for column in roles.inputs),
        tuple(kinds),
        tuple(name for c in classes for name in c.names),
        tuple(notices),
        Path(path),
        roles.constants,
        periods,
        frame.codes,
        tuple(_in_file(frame, column) for column in identity),
        tuple(_in_file(frame, column) for column in times.columns),
        next((column.order for column in times.columns if column.order is not None), None),
    )


def _is_open(column: Column, asked: Mapping[int, InputKind], observed: Array) -> bool:
    """Whether an input, of which nobody said how it goes on, may well be of another kind than was guessed."""
    return not is_dose(column) and column.number not in asked and is_sparse(column, observed)


def _each(frame: Frame, option: str, given: str | Sequence[str]) -> Sequence[str]:
    """The columns in a text, which has commas between several; names that are given apart as they are."""
    if not isinstance(given, str):
        return given
    return names_in(option, (given,), [column.name for column in frame.columns])


def _identity(
    frame: Frame, times: Times, given: str | Sequence[str] | None, taken: Sequence[str]
) -> tuple[Column, ...]:
    if given is not None:
        return frame.chosen("id", _each(frame, "id", given))
    used = {c.number for c in times.columns}
    others = [c for c in frame.columns if c.number not in used]
    used |= {c.number for name in taken for c in frame.columns if name in (c.name, str(c.number))}
    return guessed_id([c for c in frame.columns if c.number not in used], times.values, others)


def _in_file(frame: Frame, column: Column) -> str:
    """What finds a column of times or names in the file: its name, or its number where others have the same name."""
    own = [c for c in (frame.row_names, *frame.columns) if c is not None]
    names = ColumnNames(tuple(c.number for c in own), tuple(c.name for c in own))
    return names.found_by(next(n for n, c in enumerate(own) if c.number == column.number))


def _as_words(
    frame: Frame, identity: Sequence[Column], header: bool | None, decimal: str | None, missing: Sequence[str]
) -> tuple[Column, ...]:
    """The columns with their cells as the file has them: 007 is another name than 7."""
    if not identity or all(column.kind == "text" for column in identity):
        return tuple(identity)
    words = [_in_file(frame, column) for column in identity]
    again = read_frame(frame.path, header=header, decimal=decimal, missing_values=missing, words=words, lenient=True)
    by_number = {column.number: column for column in again.columns}
    return tuple(by_number[column.number] for column in identity)


def _occupied(frame: Frame, times: Times) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Rows with a time; raises `DataError` for a row with values and without time."""
    used = {column.number for column in times.columns}
    filled = np.zeros(len(frame), dtype=bool)
    for column in frame.columns:
        if column.kind == "number" and column.number not in used:
            filled |= np.isfinite(column.values)
    known = np.isfinite(times.values)
    # names and numbers of the rows stand in a row without values, too
    absent = np.flatnonzero(~known & filled)
    if absent.size and (any(c.number in used for c in frame.columns) or used):
        row = int(absent[0])
        label = times.columns[0].label if times.columns else "the time"
        total = f" (in {absent.size:,} rows)" if absent.size > 1 else ""
        raise DataError(f"{frame.place(row)}, {label}: the time is missing{total}; write it, or remove the row")
    return known


def _without(groups: Sequence[Group], leave_out: Sequence[str]) -> list[Group]:
    names = [group.name for group in groups]
    for name in leave_out:
        if name not in names:
            shown = ", ".join(in_one_text([known]) for known in names[:8]) + (", ..." if len(names) > 8 else "")
            raise InvalidArgument("leave_out", repr(name), "no trajectory of the file", f"it has {shown or 'one only'}")
    left = [group for group in groups if group.name not in leave_out]
    if not left:
        raise InvalidArgument("leave_out", leave_out, "all trajectories", "keep at least one")
    return left


def _periods(frame: Frame, roles: Roles, groups: Sequence[Group], circular: Sequence[str]) -> dict[str, float]:
    """Periods of the values that are angles; an input that is one becomes its cosine and sine."""
    periods: dict[str, float] = {}
    for option in circular:
        column, period = given_period(frame, option)
        if any(c.number == column.number for c in roles.values):
            periods[column.key] = period
        elif any(c.number == column.number for c in roles.inputs):
            _split_input(roles, column, period)
        elif column.key not in roles.constants:
            raise InvalidArgument("circular", repr(option), "neither a value nor an input", "name one of these columns")
    for column in roles.values:
        if column.key not in periods and (seen := seen_period(column, groups)) is not None:
            periods[column.key] = seen
    for column in list(roles.inputs):
        if (seen := seen_period(column, groups)) is not None:
            _split_input(roles, column, seen)
    return periods


def _split_input(roles: Roles, column: Column, period: float) -> None:
    at = next(n for n, c in enumerate(roles.inputs) if c.number == column.number)
    angle = 2 * math.pi * roles.inputs[at].values / period
    roles.inputs[at : at + 1] = [
        Column(f"cos({column.key})", column.number, "number", np.cos(angle)),
        Column(f"sin({column.key})", column.number, "number", np.sin(angle)),
    ]
    roles.notices.append(f"input '{column.key}' is an angle with period {period:.6g}: its cosine and sine are inputs")


def _said(times: Times, time: object, identity: Sequence[Column], id: object, n: int) -> list[str]:
    """What was taken as time and as name."""
    said = list(times.notices)
    if times.columns:
        unit = f" ({times.axis.unit})"
        guessed = "" if time is not None else "taken as "
        called = times.axis.column if times.axis.column.isdecimal() else f"'{times.axis.column}'"
        said.insert(0, f"column {called} is {guessed}the time{unit}")
    if id is None and identity:
        told = " and ".join(f"'{column.name}'" if column.name else column.label for column in identity)
        said.append(f"{told} {'is' if len(identity) == 1 else 'are'} taken as the name of {n} trajectories")
        said += [
            f"if the words of {column.label} name quantities, they are modelled as trajectories of one: give each a "
            "column of its own, so that they can act on each other"
            for column in identity
            if column.cells is not None and set(words_of(column.name)) & QUANTITIES
        ]
    return said
