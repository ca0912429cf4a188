"""Which columns of a table have no density: steps, counters, copies and combinations of others; and noise for steps.

A likelihood grows without bound where many rows share a value or lie in a plane, so that it says nothing about a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.reading import ColumnNames
from pynode.datasets.splits import Array
from pynode.wording import counted, verb

DECIMALS = 9
"""Decimal places that are tried."""

COMPARED = 20_000
"""Rows that are looked at."""

EXACT = 1e-6
"""Standard deviation of what the others leave of a column, in its own, below which they determine it."""

CLOSE = 0.05
"""The same where the rounding of the columns explains what is left."""

AUTO = ("auto",)

SAMPLED = 100_000
"""Rows from which the repetitions in a column are estimated."""

REFUSED_WHOLE, REFUSED = 0.005, 0.05
"""Probability that two rows agree above which a column of integers, and of other numbers, has no density.

Normal numbers rounded to 1/56, or to 1/6, of their standard deviation agree so often.
"""

NOTED_WHOLE, NOTED = 1e-4, 0.01
"""The same for what is told and accepted."""

FEW = 12
"""Values of a column that may be names of classes."""

COUNTED = 20
"""Rows from which on a column that counts them is refused."""


def resolution(values: Array) -> float | None:
    """The largest unit u for which all `values` are some first value plus multiples of u; None where there is none.

    Decimal units (0.01, 0.5, 5) are tried first, then the smallest gap between two values.
    """
    distinct = np.unique(np.asarray(values, dtype=np.float64))
    if len(distinct) < 2:
        return None
    unit = _decimal_unit(distinct)
    if unit is not None:
        return unit
    gaps = np.diff(distinct)
    unit = float(gaps.min())
    steps = gaps / unit
    rounding = _relative_rounding(distinct) * np.abs(distinct).max() / unit
    fits = rounding < 0.01 and bool((np.abs(steps - np.round(steps)) <= 1e-6 * steps + 4 * rounding).all())
    return unit if fits else None


def _decimal_unit(distinct: Array) -> float | None:
    relative = _relative_rounding(distinct)
    for places in range(DECIMALS + 1):
        scaled = distinct * 10.0**places
        rounding = 1e-9 + relative * np.abs(scaled)
        if rounding.max() > 0.02 or np.abs(scaled).max() > 2**62:
            return None  # more places than the numbers hold
        whole = np.round(scaled)
        if (np.abs(scaled - whole) <= rounding).all():
            return float(np.gcd.reduce(np.diff(whole.astype(np.int64)))) / 10.0**places
    return None


def _relative_rounding(values: Array) -> float:
    """Of float32 where the values are of single precision, else of float64."""
    with np.errstate(over="ignore"):
        single = bool((values.astype(np.float32) == values).all()) and not bool((values == np.round(values)).all())
    return 1.2e-7 if single else 4.5e-16


def dependent_columns(rows: Array, columns: ColumnNames, noise: Array | None = None) -> dict[int, str]:
    """A sentence for each column that earlier ones determine, up to the rounding in which the columns are given.

    `noise` `(dim,)` is not 0 for columns that are no longer rounded.
    """
    if len(rows) > COMPARED:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), COMPARED, replace=False))]
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    scaled = (rows - mean) / np.where(std > 0, std, 1) / np.sqrt(len(rows))
    basis = np.empty((len(rows), 0))
    independent: list[int] = []
    sentences: dict[int, str] = {}
    for column in range(rows.shape[1]):
        left = scaled[:, column].copy()
        for _ in range(2):  # once more, against rounding
            left -= basis @ (basis.T @ left)
        size = float(np.linalg.norm(left))
        if size < CLOSE and independent:
            weights = np.linalg.lstsq(scaled[:, independent], scaled[:, column], rcond=None)[0]
            raw = weights * std[column] / std[independent]
            if size <= EXACT or size * std[column] <= _rounding(rows, independent, column, raw, noise):
                sentences[column] = _sentence(rows, columns, column, independent, weights)
                continue
        if size > 0:
            basis = np.column_stack((basis, left / size))
            independent.append(column)
    return sentences


def _rounding(rows: Array, independent: list[int], column: int, weights: Array, noise: Array | None) -> float:
    """Standard deviation of the rounding error in `column` minus the weighted sum, with a fifth to spare."""
    variance = 0.0
    for c, weight in zip([column, *independent], [1.0, *weights], strict=True):
        unit = None if noise is not None and noise[c] else resolution(rows[:, c])
        variance += (weight * (unit or 0.0)) ** 2 / 12
    return 1.2 * float(np.sqrt(variance))


def _sentence(rows: Array, columns: ColumnNames, column: int, independent: list[int], weights: Array) -> str:
    parts = [c for c, weight in zip(independent, weights, strict=True) if abs(weight) > 1e-3]
    if len(parts) != 1:
        return f"{columns.label(column)} is a linear combination of {columns.labels(parts)}"
    if np.array_equal(rows[:, column], rows[:, parts[0]]):
        return f"{columns.label(column)} repeats {columns.label(parts[0])}"
    return f"{columns.label(column)} is {columns.label(parts[0])} in another unit (a multiple of it plus a constant)"


@dataclass(frozen=True)
class Filled:
    """A table whose steps are filled: `units` and `origins` `(dim,)` of the noise, 0 where there is none, or None."""

    rows: Array
    units: Array | None = None
    origins: Array | None = None


@dataclass(frozen=True)
class Repetition:
    """How often values of one column repeat: in `pairs` of rows, and the most frequent value in a `share` of rows."""

    distinct: int
    pairs: float
    value: float
    share: float
    whole: bool

    @property
    def bound(self) -> float:
        """The `pairs` from which on there is no density."""
        return REFUSED_WHOLE if self.whole else REFUSED

    def __str__(self) -> str:
        kind, percent = "integers" if self.whole else "values", 100 * self.share
        share = f"{percent:.0f} %" if percent >= 1 else "less than 1 %"
        return f"{self.distinct:,} different {kind}, and {share} of the rows hold {self.value:.6g}"


def repetition(values: Array) -> Repetition | None:
    """How often the values of a column repeat, from at most `SAMPLED` rows; None where no two are equal."""
    if len(values) > SAMPLED:
        values = np.random.default_rng(0).choice(values, SAMPLED, replace=False)
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    shared = int((counts * (counts - 1)).sum())
    if not shared:
        return None
    most = int(counts.argmax())
    whole = bool((distinct == np.round(distinct)).all())
    return Repetition(len(distinct), shared / (n * (n - 1)), float(distinct[most]), int(counts[most]) / n, whole)


def stepped_columns(rows: Array) -> dict[int, Repetition]:
    """The columns whose values repeat so often that they have no density."""
    each = {column: repetition(rows[:, column]) for column in range(rows.shape[1])}
    return {column: r for column, r in each.items() if r is not None and r.pairs > r.bound}


def dequantised(name: str, rows: Array, columns: ColumnNames, wanted: tuple[str, ...], seed: int) -> Filled:
    """The table with uniform noise in [0, unit) added to the columns `wanted`, where unit is a column's resolution.

    The noise of a column is drawn by (`seed`, its number in the file).  Raises `DataError` for a column whose values
    are not multiples of a unit.
    """
    if not wanted:
        return Filled(rows)
    chosen = sorted(stepped_columns(rows)) if wanted == AUTO else columns.find("dequantise", wanted)
    filled, units, origins = np.array(rows), np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for column in chosen:
        unit = resolution(rows[:, column])
        if unit is None:
            raise DataError(
                f"{columns.label(column)} of {name} can't be dequantised: its values are not multiples of a unit; "
                f"leave the column out (drop={columns.keys([column])}), or the rows that share a value"
            )
        noise = np.random.default_rng((seed, columns.numbers[column])).random(len(rows))
        filled[:, column] += unit * noise
        units[column], origins[column] = unit, rows[:, column].min()
    return Filled(filled, units, origins)


def check_columns(name: str, filled: Filled, columns: ColumnNames, *, may_count: bool = False) -> list[str]:
    """What a user should know about columns that are accepted; raises `DataError` for those without a density."""
    rows = filled.rows
    n, dim = rows.shape
    counting = [c for c in range(dim) if n >= COUNTED and _counts_rows(rows[:, c])]
    if counting and not may_count:
        raise DataError(
            f"{columns.labels(counting)} of {name} counts the rows, as an index does: leave it out "
            f"(drop={columns.keys(counting)}), or keep it (index=keep)"
        )
    each = {c: r for c in range(dim) if (r := repetition(rows[:, c])) is not None and c not in counting}
    if stepped := [c for c, r in each.items() if r.pairs > r.bound]:
        raise DataError(_steps(name, rows, columns, stepped, each))
    if n <= dim:
        extent = f"{counted(n, 'row')} for {counted(dim, 'column')}"
        raise DataError(f"{name} has {extent}, which lie in a plane: give more rows than columns")
    if relations := dependent_columns(rows, columns, filled.units):
        told = "; ".join([*relations.values()][:6]) + ("; and so on" if len(relations) > 6 else "")
        raise DataError(
            f"{name}: {told}: rows that lie in a plane have no density; leave such columns out "
            f"(drop={columns.keys(relations)})"
        )
    notices = []
    for c, r in each.items():
        if r.pairs > (NOTED_WHOLE if r.whole else NOTED) or (r.share > 0.02 and r.share * n > 10):
            has_steps = resolution(rows[:, c]) is not None
            remedy = "add noise between its steps" if has_steps else "leave the column out"
            option = f"{'dequantise' if has_steps else 'drop'}={columns.keys([c])}"
            notices.append(
                f"{columns.label(c)} is used as it is, but its values repeat: it has {r}; a flow can make the density "
                f"of such a value ever higher, so that the likelihood says little; {remedy} if it does ({option})"
            )
    if len(each) == dim and (repeated := _repeated_rows(rows)):
        said = verb(repeated, "is a copy of another row", "are copies of other rows")
        notices.append(f"{repeated:,} of {n:,} rows {said}: test rows may be training rows as well")
    if filled.units is not None and filled.units.any():
        noisy = np.flatnonzero(filled.units).tolist()
        told = ", ".join(f"{columns.label(c)} (steps of {filled.units[c]:.6g})" for c in noisy)
        notices.append(f"uniform noise is added to the values of {told}, each up to the next step")
    return notices


def _steps(name: str, rows: Array, columns: ColumnNames, stepped: list[int], each: dict[int, Repetition]) -> str:
    binary = [c for c in stepped if each[c].distinct == 2 and set(np.unique(rows[:, c])) == {0.0, 1.0}]
    one_hot = len(binary) > 1 and bool((rows[:, binary].sum(axis=1) == 1).all())
    told = [f"{columns.label(c)} has {each[c]}" for c in stepped if not (one_hot and c in binary)]
    if one_hot:
        told.append(f"{columns.labels(binary)} are one-hot")
    listed = "; ".join(told[:6]) + (f"; and {len(told) - 6} more" if len(told) > 6 else "")
    spikes = [c for c in stepped if resolution(rows[:, c]) is None]
    remedy = f"leave them out (drop={columns.keys(stepped)})"
    if spikes:
        remedy += f", or the rows that share a value of {columns.labels(spikes)}"
    if steps := [c for c in stepped if c not in spikes]:
        remedy += f", or fill the steps with uniform noise (dequantise={columns.keys(steps)})"
    if words := [c for c in stepped if each[c].distinct <= FEW]:
        remedy += f", or condition the density on them (condition={columns.keys(words)})"
    return f"{name}: {listed}: columns in which many rows share a value have no density; {remedy}"


def _counts_rows(values: Array) -> bool:
    """Whether these are consecutive integers."""
    return values[0] == np.round(values[0]) and bool((np.diff(values) == 1).all())


def _repeated_rows(rows: Array) -> int:
    """How many rows equal an earlier one."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
    return len(rows) - len(np.unique(whole))
