"""Which column tells trajectories apart, and the rows of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Column, Frame
from pynode.datasets.splits import Array
from pynode.names import as_argument
from pynode.trajectories.axis import words_of
from pynode.trajectories.order import Group
from pynode.trajectories.times import Times

_NAMES = (
    "id ids uid unique subject subj patient pat participant person individual proband animal rat mouse dog cow pig "
    "mare chick seed tree plant plot child infant boy girl series trajectory traj run experiment exp trial "
    "episode unit station site sensor device machine engine well lot batch country state city region firm company "
    "ticker symbol vehicle track user customer item player household sample specimen replicate variable"
)
ID_WORDS = frozenset(_NAMES.split())
"""What columns of trajectories' names are called."""
STRONG = frozenset(("id", "ids", "uid", "subject", "subj", "patient", "participant", "series", "trajectory", "traj"))
"""Those that are believed where the times alone would make one trajectory."""
TURNS = 0.7
"""Roughness within the values of a column that make it one of names, if it is called so."""
ROWS_OF_EACH = 5.0
"""Rows of each value on average, from which on it is told."""
COLUMNS = 6
"""Columns of which pairs are tried."""


def codes_of(column: Column) -> Array:
    """A number for each different value of a column `(rows,)`, -1 where it is missing."""
    if column.cells is not None:
        codes = np.unique(np.array(column.cells), return_inverse=True)[1].astype(np.int64)
        return np.where(np.array([bool(cell) for cell in column.cells]), codes, -1)
    codes = np.unique(column.values, return_inverse=True)[1].astype(np.int64)
    return np.where(np.isnan(column.values), -1, codes)


def joint_codes(columns: Sequence[Column]) -> Array:
    """The same for the values of several columns together."""
    each = np.stack([codes_of(column) for column in columns], axis=1)
    joint = np.unique(each, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return np.where((each < 0).any(axis=1), -1, joint)


def guessed_id(candidates: Sequence[Column], times: Array, others: Sequence[Column]) -> tuple[Column, ...]:
    """The columns that tell trajectories apart, empty where one trajectory is there.

    Within each of its values the times must be different.  By name where one is called so; else, where times occur
    twice or begin again, the column with the fewest values that will do, or two columns together.  `others` are the
    columns that rows of several trajectories, which take turns, are seen from.
    """
    usable = [c for c in candidates if _may_name(c)]
    named = [c for c in usable if set(words_of(c.name)) & ID_WORDS]
    single = bool((np.diff(times[np.isfinite(times)]) > 0).all()) or bool(
        (np.diff(times[np.isfinite(times)]) < 0).all()
    )
    for column in sorted(named, key=_weakness):
        strong = set(words_of(column.name)) & STRONG
        if (
            (strong or not single)
            and _repeats(codes_of(column), 1.0 + 1e-9 if strong else 2.0)
            and _separates(codes_of(column), times)
        ):
            return (column,)
    if single:
        # rows of several may stand in order of time, each at times of its own
        taking_turns = [c for c in named if roughness_within(c, others, times) < TURNS]
        return (min(taking_turns, key=_weakness),) if taking_turns else ()
    usable = [c for c in usable if (codes_of(c) >= 0).all()]
    believed = [c for c in named if set(words_of(c.name)) & STRONG and _repeats(codes_of(c))]
    if not believed and (fitting := [(c,) for c in usable if _fits((c,), times)]):
        return min(fitting, key=_several)
    pairs = [
        pair
        for pair in combinations(usable[:COLUMNS], 2)
        if not believed or any(c is b for c in pair for b in believed)
    ]
    fits = [pair for pair in pairs if _fits(pair, times)]
    # rows of one time may belong together, as that of a dose and that of a value
    return min(fits, key=_several) if fits else tuple(believed[:1])


def roughness_within(column: Column, others: Sequence[Column], times: Array) -> float:
    """How much numbers change from row to row within the values of `column`, over how much they do over all rows.

    Far below 1 where the rows of several trajectories take turns, since each goes on from where it was.  1 where there
    are too few rows to tell.
    """
    codes = codes_of(column)
    if not _repeats(codes, ROWS_OF_EACH):
        return 1.0
    within = over_all = 0.0
    for other in others:
        known = np.isfinite(times) & (codes >= 0) & np.isfinite(other.values)
        own, at, values = codes[known], times[known], other.values[known]
        if other is column or other.kind != "number" or len(values) < ROWS_OF_EACH or not np.ptp(values):
            continue
        grouped = np.lexsort((at, own))
        same = np.diff(own[grouped]) == 0
        if not same.any():
            continue
        spread = values.std()
        within += float(np.abs(np.diff(values[grouped]))[same].mean() / spread)
        over_all += float(np.abs(np.diff(values[np.argsort(at, kind="stable")])).mean() / spread)
    return within / over_all if over_all else 1.0


def _fits(columns: Sequence[Column], times: Array) -> bool:
    codes = joint_codes(columns)
    return _repeats(codes) and _separates(codes, times, ordered=True)


def _several(columns: Sequence[Column]) -> int:
    return int(joint_codes(columns).max())


def _weakness(column: Column) -> tuple[bool, bool]:
    words = words_of(column.name)
    return not set(words) & STRONG, len(words) > 1


def _may_name(column: Column) -> bool:
    """Whether the values can be names: words, or whole numbers."""
    if column.kind == "text":
        return True
    present = column.values[np.isfinite(column.values)]
    return column.kind == "number" and present.size > 0 and bool((present == np.round(present)).all())


def _repeats(codes: Array, rows: float = 2.0) -> bool:
    """Whether there are several values, with so many rows each on average."""
    return int(codes.max()) >= 1 and len(codes) >= rows * (int(codes.max()) + 1)


def _separates(codes: Array, times: Array, *, ordered: bool = False) -> bool:
    """Whether no time occurs twice within a value (and, if `ordered`, the times rise in the order of the file)."""
    known = np.isfinite(times) & (codes >= 0)
    order = np.argsort(codes[known], kind="stable") if ordered else np.lexsort((times[known], codes[known]))
    own, sorted_times = codes[known][order], times[known][order]
    within = np.diff(own) == 0
    return bool((np.diff(sorted_times)[within] > 0).all())


def groups_of(frame: Frame, columns: Sequence[Column], occupied: Array) -> list[Group]:
    """The rows of each trajectory, in the order in which they first occur; `columns` hold words.

    `occupied` `(rows,)`: rows with a time or any value; the others may lack a name.  A name that stands in the first
    row of its trajectory only, as in merged cells of a spreadsheet, holds for the rows below.
    """
    if not columns:
        return [Group("", np.flatnonzero(occupied))]
    names = list(zip(*(column.cells or () for column in columns), strict=True))
    given = np.array([all(cells) for cells in names])
    absent = np.flatnonzero(~given & occupied)
    if absent.size:
        first = [name for name, there in zip(names, given, strict=True) if there]
        if not given[np.flatnonzero(occupied)[0]] or len(set(first)) < len(first) or len(first) < 2:
            raise DataError(
                f"{frame.place(int(absent[0]))}, {columns[0].label}: the name of the trajectory is missing; write "
                "it in each row"
            )
        for row in range(1, len(names)):
            names[row] = names[row] if given[row] else names[row - 1]
    rows: dict[tuple[str, ...], list[int]] = {}
    for row in np.flatnonzero(occupied).tolist():
        rows.setdefault(names[row], []).append(row)
    return [Group("/".join(name), np.array(own, dtype=np.int64), name) for name, own in rows.items()]


def hint_of(frame: Frame, times: Times, identity: Sequence[Column]) -> str:
    """What to do about times that go back or occur twice, if no column tells trajectories apart; "" if one does."""
    if identity:
        return ""
    used = {column.number for column in times.columns}
    usable = [c for c in frame.columns if c.number not in used and _may_name(c)]
    usable = [c for c in usable if c.kind == "text" or set(words_of(c.name)) & ID_WORDS]
    fitting = [c.key for c in usable if _repeats(codes_of(c)) and _separates(codes_of(c), times.values)]
    column = as_argument([fitting[0] if fitting else "COLUMN"])
    return (
        f"if the file holds several trajectories, name the column that tells them apart (id={column}); if not, "
        "correct the lines"
    )
