"""What each column of a table is to a series: value, input, covariate, or nothing, as said or as is clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.names import as_argument
from pynode.trajectories.axis import words_of
from pynode.trajectories.covariates import changes_in
from pynode.trajectories.dosing import by_route, check_further, dose_column, marks_rows, told_of_slow
from pynode.trajectories.guess_time import rank
from pynode.trajectories.identity import ID_WORDS, codes_of, roughness_within
from pynode.trajectories.inputs import are_jumps, as_numbers, given_kinds, kind_of_input
from pynode.trajectories.order import Group
from pynode.trajectories.times import PART_OF, RANGES, Times
from pynode.wording import counted

NONE = ("none",)
"""As covariates: none are guessed."""
CLEAR_TURNS = 0.5
"""Roughness within the words of a column from which on they may be names of trajectories."""
SWITCHED = 10
"""Values of a column from which on two different ones are no coincidence."""
FEW = 3
"""Values below which a column of a larger table is not modelled unless it is named."""


@dataclass
class Roles:
    """The columns of each role, and what to say of those that were guessed or left out."""

    values: list[Column] = field(default_factory=list)
    inputs: list[Column] = field(default_factory=list)
    covariates: list[Column] = field(default_factory=list)
    constants: dict[str, float] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def roles_of(
    frame: Frame,
    times: Times,
    identity: Sequence[Column],
    groups: Sequence[Group],
    values: Sequence[str] | None,
    inputs: Sequence[str],
    covariates: Sequence[str],
    *,
    input_kind: str = "auto",
    known: Sequence[str] = (),
) -> Roles:
    """The roles of the columns; raises `InvalidArgument` for unknown names, `DataError` for words among values.

    `input_kind` says which inputs are doses, as in `read_series`; `known` are the inputs of a model that
    the file is read for.
    """
    roles = Roles()
    guess_covariates = not covariates
    named = [] if tuple(covariates) == NONE else list(frame.chosen("covariates", covariates))
    roles.covariates = named
    roles.inputs = [_numbers(frame, c, "input") for c in frame.chosen("inputs", inputs)]
    used = {c.number for c in (*times.columns, *identity, *roles.inputs, *named)}
    if values is not None:
        roles.values = [_numbers(frame, c, "value") for c in frame.chosen("values", values)]
        used |= {c.number for c in roles.values}
    rest = [c for c in frame.columns if c.number not in used]
    if values is None:
        rest = _values_among(frame, rest, times, groups, roles)
    observed = observed_rows(roles.values, len(frame))
    for column in list(rest):
        if not inputs and column.kind == "number" and not column.trouble and are_jumps(column, observed):
            roles.inputs.append(column)
            rest.remove(column)
            given = np.isfinite(column.values) & (column.values != 0)
            why = "few rows with values have one" if (given & observed).any() else "its rows have no values"
            roles.notices.append(
                f"{column.label} is taken as an input (doses): {why}; name it among the values if it is one"
            )
    rest = _by_routes(frame, rest, groups, observed, roles, input_kind, known)
    if guess_covariates:
        rest = _covariates_among(rest, groups, roles)
    if rest:
        names = frame.names.labels([frame.columns.index(c) for c in rest])
        what = "text and " if any(c.kind == "text" for c in rest) and values is None else ""
        roles.notices.append(f"{names} {'is' if len(rest) == 1 else 'are'} left out{' (text)' if what else ''}")
    if len(groups) == 1:
        roles.notices += _one_for_each(roles.values) if values is None else []
        turns = [c for c in rest if c.kind == "text" and roughness_within(c, roles.values, times.values) < CLEAR_TURNS]
        roles.notices += [_takes_turns(column) for column in turns]
    for each in (roles.values, roles.inputs, roles.covariates):
        each[:] = [_with_own_name(frame, column) for column in each]
    _constants(roles, groups)
    if values is None:
        roles.notices += [_two_levels(column) for column in roles.values if _has_two_levels(column)]
    return roles


def _by_routes(
    frame: Frame,
    rest: list[Column],
    groups: Sequence[Group],
    observed: Array,
    roles: Roles,
    input_kind: str,
    known: Sequence[str],
) -> list[Column]:
    """Divides doses among `roles.inputs` by their routes; returns the columns of `rest` that are left."""
    inputs: list[Column] = []
    asked = given_kinds(input_kind, frame, roles.inputs)
    for column in roles.inputs:
        of_model = any(name != column.key and dose_column(name) == column.key for name in known)
        kind = asked.get(column.number) or kind_of_input(column, groups, observed)
        if kind != "jumps" and not of_model:
            inputs.append(column)
            continue
        used = (*roles.values, *roles.inputs, *roles.covariates)
        check_further(frame, column, used)
        roles.notices += [told for told in told_of_slow(frame, column, used) if told not in roles.notices]
        each, route = by_route(frame, column, rest, known)
        inputs += each
        if route is not None:
            rest = [c for c in rest if c is not route]
            told = " and ".join(f"'{c.key}'" for c in each)
            roles.notices.append(f"doses are told apart by {route.label}: {told} are inputs of their own")
    roles.inputs = inputs
    return rest


def _with_own_name(frame: Frame, column: Column) -> Column:
    """The column, with its number in its name where others have the same one."""
    several = bool(column.name) and sum(c.name == column.name for c in frame.columns) > 1
    return replace(column, name=f"{column.name}.{column.number}") if several else column


def observed_rows(values: Sequence[Column], rows: int) -> Array:
    """Which rows have any value `(rows,)`."""
    observed = np.zeros(rows, dtype=bool)
    for column in values:
        observed |= np.isfinite(column.values)
    return observed


def _numbers(frame: Frame, column: Column, role: str) -> Column:
    """The column, if it holds numbers."""
    if column.trouble:
        raise DataError(column.trouble)
    numbers = as_numbers(column) if role == "input" else column
    if numbers is None or numbers.kind != "number":
        cells = column.cells or ()
        row = next((n for n, cell in enumerate(cells) if cell and not _is_number(cell)), 0)
        what = f"'{cells[row][:40]}' is text" if cells else "holds dates"
        told = (
            f"{frame.place(row)}, {column.label}: {what}, and {'an' if role == 'input' else 'a'} {role} is a number; "
        )
        remedy = f"name columns of numbers as {role}s, or correct the cell"
        if role == "input" and cells:
            remedy = "write 1 and 0, or on and off; of more than two words, a column of 1 and 0 for each"
        raise DataError(told + remedy)
    infinite = np.flatnonzero(np.isinf(column.values))
    if infinite.size:
        raise DataError(
            f"{frame.place(int(infinite[0]))}, {column.label}: the {role} is infinite; correct the cell, or empty it "
            "if the value is missing"
        )
    return numbers


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _values_among(
    frame: Frame, rest: Sequence[Column], times: Times, groups: Sequence[Group], roles: Roles
) -> list[Column]:
    """Takes the values among the columns `rest` into `roles`; returns the columns that are left."""
    left: list[Column] = []
    doses: list[Column] = []
    given = [c for c in (*rest, *roles.inputs) if _may_be_doses(c)]
    counters: list[tuple[Column, str]] = []
    for column in rest:
        reason = "other" if marks_rows(column, given) else _reason(column, times, groups)
        if reason == "other":
            left.append(column)
        elif reason:
            counters.append((column, f"{column.label} {reason} and is left out"))
        elif len(groups) > 1 and changes_in(column, groups) is None and _differs(column):
            left.append(column)  # constant over each trajectory: a covariate
        elif _may_be_doses(column):
            doses.append(column)
        else:
            roles.values.append(_numbers(frame, column, "value"))
    observed = observed_rows(roles.values, len(frame))
    for column in doses:
        if roles.values and are_jumps(column, observed):
            left.append(column)
        else:
            roles.values.append(_numbers(frame, column, "value"))
    roles.values.sort(key=lambda column: column.number)
    if not roles.values and len(counters) == 1 and np.isfinite(counters[0][0].values).any():
        roles.values.append(_numbers(frame, counters.pop()[0], "value"))  # a value may rise by one in each row
    roles.notices += [notice for _, notice in counters]
    if not roles.values:
        raise DataError(
            f"{frame.path} has no column of values beside times and names; name them (values=COLUMN,...), or add one"
        )
    return sorted(left, key=lambda column: column.number)


def _may_be_doses(column: Column) -> bool:
    given = np.isfinite(column.values) & (column.values != 0)
    return not column.trouble and are_jumps(column, ~given)


def _differs(column: Column) -> bool:
    present = column.values[np.isfinite(column.values)]
    return present.size > 0 and bool(np.ptp(present) > 0)


def _reason(column: Column, times: Times, groups: Sequence[Group]) -> str:
    """Why a column is no value: "other" for words and dates, a clause for what is left out, "" for a value."""
    if column.trouble:
        return ""
    if column.kind != "number":
        return "other"
    known = np.isfinite(column.values)
    if not known.any():
        return "has no values"
    if known.sum() < FEW <= 0.1 * len(known):
        return f"has {counted(int(known.sum()), 'value')} only"
    rows = np.concatenate([np.sort(group.rows) for group in groups])
    whole = bool((column.values[known] == np.round(column.values[known])).all())
    if whole and known.all() and len(rows) > 2:
        if (np.diff(column.values) == 1).all():
            return "numbers the rows"
        counts = [(np.diff(column.values[np.sort(g.rows)]) == 1).all() for g in groups]
        starts = {float(column.values[np.sort(g.rows)][0]) for g in groups}
        if len(groups) > 1 and all(counts) and starts <= {0.0, 1.0}:
            return "numbers the rows of each trajectory"
    if _is_time_again(column, times) and (rank(column) < 9 or column.name.lower() in PART_OF):
        return "is the time again"
    calendar = times.axis.kind == "date" or times.axis.unit == "years"
    if calendar and whole and column.name.lower() in PART_OF and _is_part(column, groups):
        return "is a part of the date"
    return ""


def _is_part(column: Column, groups: Sequence[Group]) -> bool:
    """Whether whole numbers are in the range of a part of a date, and change over some trajectory."""
    low, high = RANGES[PART_OF[column.name.lower()]]
    present = column.values[np.isfinite(column.values)]
    return bool(present.min() >= low and present.max() <= high) and changes_in(column, groups) is not None


def _is_time_again(column: Column, times: Times) -> bool:
    """Whether the column is the time in another unit, or counted from another origin."""
    known = np.isfinite(column.values) & np.isfinite(times.values)
    if known.sum() < 4 or times.axis.column == "row":
        return False
    own, time = column.values[known], times.values[known]
    span = np.ptp(time)
    if span == 0 or np.ptp(own) == 0:
        return False
    slope = (own[time.argmax()] - own[time.argmin()]) / span
    residual = own - own[time.argmin()] - slope * (time - time.min())
    return bool(slope > 0 and np.abs(residual).max() <= 1e-9 * np.ptp(own))


def _covariates_among(rest: Sequence[Column], groups: Sequence[Group], roles: Roles) -> list[Column]:
    """Takes the columns that are constant over each trajectory into `roles`; returns the others."""
    left = []
    for column in rest:
        if len(groups) > 1 and not column.trouble and column.kind != "date" and _is_covariate(column, groups):
            roles.covariates.append(column)
            roles.notices.append(f"{column.label} is constant over each trajectory and is taken as a covariate")
        else:
            left.append(column)
    return left


def _is_covariate(column: Column, groups: Sequence[Group]) -> bool:
    """Whether a column is constant over each trajectory, known for all, and more than another name of each."""
    codes = codes_of(column)
    if changes_in(column, groups) is not None or any((codes[g.rows] < 0).all() for g in groups):
        return False
    each = np.array([codes[g.rows][codes[g.rows] >= 0][0] for g in groups])
    counts = np.unique(each, return_counts=True)[1]
    if len(counts) < 2:
        return False
    if column.kind == "text":
        return bool((counts >= 2).all())
    own = np.array([column.values[g.rows][np.isfinite(column.values[g.rows])][0] for g in groups])
    from_one = own.min() in (0, 1) or bool(set(words_of(column.name)) & ID_WORDS)
    return not (len(groups) > 2 and from_one and bool((np.diff(np.sort(own)) == 1).all()))


def _takes_turns(column: Column) -> str:
    return (
        f"the values change less within each word of {column.label} than from row to row: if its words name "
        f"trajectories whose rows take turns, say so (id={as_argument([column.key])})"
    )


def _one_for_each(values: Sequence[Column]) -> list[str]:
    """What is said of values that are called as trajectories are: mouse1, mouse2, mouse3."""
    words = [words_of(column.name) for column in values]
    stems = {tuple(each[:-1]) for each in words}
    if len(values) < FEW or len(stems) > 1 or not all(each[-1:] and each[-1].isdigit() for each in words):
        return []
    if not set(stems.pop()) & ID_WORDS:
        return []
    told = f"'{values[0].name}', '{values[1].name}', ..."
    return [
        f"the columns {told} are modelled together, as values of one trajectory; if each is a trajectory of its own, "
        "put them below each other, with a column that names them"
    ]


def _has_two_levels(column: Column) -> bool:
    """Whether a column is switched to and fro between two values, as a valve is or a mark of quality."""
    present = column.values[np.isfinite(column.values)]
    return len(present) >= SWITCHED and len(np.unique(present)) == 2 and int((np.diff(present) != 0).sum()) > 1


def _two_levels(column: Column) -> str:
    return (
        f"{column.label} has two values only and is modelled as it changes by itself; if it is known beforehand, name "
        f"it as an input (inputs={as_argument([column.key])})"
    )


def _constants(roles: Roles, groups: Sequence[Group]) -> None:
    """Takes value columns that never change out of the values."""
    rows = np.concatenate([group.rows for group in groups])
    for column in list(roles.values):
        present = column.values[rows][np.isfinite(column.values[rows])]
        if present.size > 1 and np.ptp(present) == 0:
            roles.values.remove(column)
            roles.constants[column.key] = float(present[0])
            told = f"{column.label} is always {present[0]:.12g}: it is carried on, and not modelled"
            if 2 * present.size < len(rows):
                told += f"; if its {present.size:,} cells are doses or the like, name it as an input"
                told += f" (inputs={as_argument([column.key])})"
            roles.notices.append(told)
