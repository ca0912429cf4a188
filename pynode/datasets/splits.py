"""What every data set is in the end: three arrays, and how their columns were scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.provenance import Provenance
from pynode.datasets.reading import ColumnNames

if TYPE_CHECKING:
    from pynode.datasets.conditions import Conditions

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""Any array of numbers."""

ROWS_AT_ONCE = 65536
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Training, validation and test rows `(rows, dim)`; read-only and memory-mapped where they come from the cache.

    `mean` and `std` `(dim,)`, float64: a stored row is `(raw - mean) / std`; None where nothing was scaled.
    `offsets` `(rows,)` by part, float64, in nats: what is added to the log-density of a stored row to get that of the
    raw row, where this is more than the constant of `log_density_offset` (digits); empty for all other sets.
    `names` of the columns, "" where there is none; empty where no column has one; `columns` are the same with their
    numbers in the file of a user.  `units` and `origins` `(dim,)`: the
    columns whose unit is not 0 hold multiples of it above the origin plus uniform noise of one unit; None where no
    column was dequantised.  `contexts` `(rows, context)` by part, float64, encode the `conditions` of
    the rows; empty without any.  `provenance` says where the rows come from, where that is known.
    """

    name: str
    train: Array
    validation: Array
    test: Array
    mean: Array | None = None
    std: Array | None = None
    offsets: Mapping[str, Array] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    columns: ColumnNames | None = None
    units: Array | None = None
    origins: Array | None = None
    contexts: Mapping[str, Array] = field(default_factory=dict)
    conditions: Conditions | None = None
    provenance: Provenance | None = None

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.train.shape[1])

    @property
    def log_density_offset(self) -> float:
        """`log p_raw(raw row) - log p(stored row)` in nats, the same for each row: minus the sum of log std.

        The raw row of a dequantised column is the one with its noise, in units of the file.
        """
        return 0.0 if self.std is None else -float(np.log(self.std).sum())

    def standardised(self, raw: Array) -> Array:
        """Rows `(rows, dim)` in the units of the raw data as stored rows, float64."""
        rows = np.asarray(raw, dtype=np.float64)
        return rows if self.mean is None or self.std is None else np.asarray((rows - self.mean) / self.std)

    def unstandardised(self, rows: Array) -> Array:
        """Rows `(rows, dim)` in the units of the raw data, float64: samples of a flow become what a user knows.

        Dequantised columns are rounded down to the multiples of their unit that the file holds.
        """
        raw = np.asarray(rows, dtype=np.float64)
        if self.mean is None or self.std is None:
            return raw
        raw = np.asarray(raw * self.std + self.mean)
        if self.units is not None and self.origins is not None:
            stepped = np.flatnonzero(self.units)
            unit, origin = self.units[stepped], self.origins[stepped]
            raw[:, stepped] = origin + np.floor((raw[:, stepped] - origin) / unit) * unit
            for column in stepped:
                if (places := _decimals(float(self.units[column]), float(self.origins[column]))) is not None:
                    raw[:, column] = np.round(raw[:, column], places)  # 4.6 instead of 4.6000000000000005
        return raw


def _decimals(unit: float, origin: float) -> int | None:
    """The decimal places in which all multiples of `unit` above `origin` are written; None where more than nine."""
    for places in range(10):
        if round(unit, places) == unit and abs(round(origin, places) - origin) <= 1e-6 * unit:
            return places
    return None


def first_damage(rows: Array, *, ignored: Sequence[int] = (), counted: Array | None = None) -> str | None:
    """Where the first NaN or infinite value is and how many there are; None where all are finite.

    Looks at the rows for which `counted` `(rows,)` is true (default: all), without the columns `ignored`.
    """
    count, first = 0, ""
    damaged: set[int] = set()
    for start in range(0, len(rows), ROWS_AT_ONCE):
        finite = np.isfinite(rows[start : start + ROWS_AT_ONCE])
        finite[:, list(ignored)] = True
        if counted is not None:
            finite[~counted[start : start + ROWS_AT_ONCE]] = True
        if not finite.all():
            row, column = (int(i) for i in np.argwhere(~finite)[0])
            value = rows[start + row, column]
            first = first or f"row {start + row + 1}, column {column + 1}: {value} is not a finite number"
            count += int((~finite).sum())
            damaged.update(np.flatnonzero(~finite.all(axis=0)).tolist())
    if not count:
        return None
    where = f"in {len(damaged)} columns" if len(damaged) > 1 else "in this column"
    return first + (f" (one of {count:,} such values {where})" if count > 1 else "")


def cut_off(rows: Array, share: float) -> tuple[Array, Array]:
    """The first rows and the last share of `(rows, dim)`, which is rounded down to whole rows as the benchmarks do.

    Raises `DataError` where one of them would be empty.
    """
    n = len(rows)
    n_last = int(share * n)
    if not 0 < n_last < n:
        raise DataError(
            f"rows = {n}: too few to cut off the last {share:.3g} of them for testing or validation; "
            "give more rows or another fraction"
        )
    return rows[: n - n_last], rows[n - n_last :]


def cut(rows: Array, *, test: float = 0.1, validation: float = 0.1) -> tuple[Array, Array, Array]:
    """`(train, validation, test)` of `(rows, dim)`: the last share is for testing, the last of the rest for validation.

    Raises `DataError` where a part would be empty.
    """
    seen, tested = cut_off(rows, test)
    train, validated = cut_off(seen, validation)
    return train, validated, tested


def check_scale(name: str, mean: Array, std: Array, columns: ColumnNames | None = None) -> None:
    """Raises `DataError`, which names all columns that are constant, or one that is not finite, numbered from 1."""
    known = columns is not None
    columns = columns or ColumnNames.unnamed(len(mean))
    damaged = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(std)))
    if damaged.size:
        raise DataError(
            f"{columns.label(int(damaged[0]))} of {name} holds NaN or infinite values, or too large ones: "
            "remove or replace these rows"
        )
    # the mean of equal numbers rounds, so their std can be a few ulp rather than 0
    constant = np.flatnonzero(std <= 1e-13 * np.abs(mean))
    if constant.size:
        those = constant.tolist()
        alone = len(those) == 1
        remedy = f"give rows among which {'it varies' if alone else 'they vary'}"
        if known:
            remedy = f"leave {'it' if alone else 'them'} out (drop={columns.keys(those)})"
        value = f" = {mean[those[0]]:.6g}" if alone else ": one value each"
        where = "training row" if known else "row that sets the scale"
        raise DataError(
            f"{columns.labels(those)} of {name}{value} in every {where}: a constant column has no density; {remedy}"
        )


def standardised(name: str, parts: tuple[Array, Array, Array], mean: Array, std: Array) -> Splits:
    """`Splits` of the parts `(rows, dim)`, scaled in float64 by `mean` and `std` `(dim,)`, stored as float32.

    Raises `DataError` where a column is constant, not finite, or has outliers that float32 can't hold.
    """
    check_scale(name, mean, std)
    with np.errstate(over="ignore"):  # told in words below
        train, validation, test = (((part - mean) / std).astype(np.float32) for part in parts)
    for part, stored in zip(parts, (train, validation, test), strict=True):
        if far := np.flatnonzero(~np.isfinite(stored).all(axis=0)).tolist():
            if (damage := first_damage(part)) is not None:
                raise DataError(f"{name} holds NaN or infinite values: {damage}; remove or replace these rows")
            raise DataError(
                f"column {far[0] + 1} of {name} has outliers beyond 1e38 standard deviations: remove these rows"
            )
    return Splits(name, train, validation, test, mean=mean, std=std)
