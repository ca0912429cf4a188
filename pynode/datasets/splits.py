"""What every data set is in the end: three arrays, and how their columns were scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from pynode.datasets.errors import DataError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
"""Any array of numbers."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """Training, validation and test rows `(rows, dim)`; read-only and memory-mapped where they come from the cache.

    `mean` and `std` `(dim,)`, float64: a stored row is `(raw - mean) / std`; None where nothing was scaled.
    `offsets` `(rows,)` by part, float64, in nats: what is added to the log-density of a stored row to get that of the
    raw row, where this is more than the constant of `log_density_offset` (digits); empty for all other sets.
    """

    name: str
    train: Array
    validation: Array
    test: Array
    mean: Array | None = None
    std: Array | None = None
    offsets: Mapping[str, Array] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.train.shape[1])

    @property
    def log_density_offset(self) -> float:
        """`log p_raw(raw row) - log p(stored row)` in nats, the same for each row: minus the sum of log std."""
        return 0.0 if self.std is None else -float(np.log(self.std).sum())

    def unstandardised(self, rows: Array) -> Array:
        """Rows `(rows, dim)` in the units of the raw data, float64: samples of a flow become what a user knows."""
        raw = np.asarray(rows, dtype=np.float64)
        if self.mean is None or self.std is None:
            return raw
        return np.asarray(raw * self.std + self.mean)


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


def check_scale(name: str, mean: Array, std: Array) -> None:
    """Raises `DataError`, with the number of the column from 1, where a column is constant or not finite."""
    damaged = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(std)))
    if damaged.size:
        raise DataError(
            f"column {int(damaged[0]) + 1} of {name} holds NaN or infinite values: remove or replace these rows"
        )
    # the mean of equal numbers rounds, so their std can be a few ulp rather than 0
    constant = np.flatnonzero(std <= 1e-13 * np.abs(mean))
    if constant.size:
        at = int(constant[0])
        raise DataError(
            f"column {at + 1} of {name} = {mean[at]:.6g} in every row that sets the scale: "
            "a constant column has no density; remove the column"
        )


def standardised(name: str, parts: tuple[Array, Array, Array], mean: Array, std: Array) -> Splits:
    """`Splits` of the parts `(rows, dim)`, scaled in float64 by `mean` and `std` `(dim,)`, stored as float32.

    Raises `DataError` where a column is constant, not finite, or has outliers that float32 can't hold.
    """
    check_scale(name, mean, std)
    with np.errstate(over="ignore"):  # told in words below
        train, validation, test = (((part - mean) / std).astype(np.float32) for part in parts)
    for part in (train, validation, test):
        if far := np.flatnonzero(~np.isfinite(part).all(axis=0)).tolist():
            raise DataError(
                f"column {far[0] + 1} of {name} has outliers beyond 1e38 standard deviations: remove these rows"
            )
    return Splits(name, train, validation, test, mean=mean, std=std)
