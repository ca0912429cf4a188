"""Errors of fits and forecasts column by column: RMSE, MAE and MASE over the entries that were observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Periods: TypeAlias = Sequence[float | None] | None
"""One entry a column: the period of a circular column, None for others."""

NO_NUMBER = float("nan")


@dataclass(frozen=True)
class ColumnErrors:
    """Errors of one column in the units of the file; NaN where no entry was observed.

    `mase` is `mae` over the mean absolute change between neighbouring training observations: below 1, the errors are
    smaller than one step of the naive forecast.  It is NaN where the training observations never change.
    """

    rmse: float
    mae: float
    mase: float
    count: int


def column_errors(
    predicted: Sequence[Array], observed: Sequence[Array], steps: Array, periods: Periods = None
) -> list[ColumnErrors]:
    """Errors of each column, pooled over parts such as trajectories.

    `predicted` and `observed` hold one array `(times, values)` a part; entries of `observed` that are NaN are left out.
    A predicted entry that is not finite where one was observed makes the errors of its column infinite.  `steps` is
    what `naive_steps` gives for the training part.
    """
    differences = np.concatenate(
        [difference(p, o, periods) for p, o in zip(predicted, observed, strict=True)] or [np.empty((0, len(steps)))]
    )
    return [_errors_of(differences[:, k], float(steps[k])) for k in range(differences.shape[1])]


def _errors_of(differences: Array, step: float) -> ColumnErrors:
    seen = differences[~np.isnan(differences)]
    if not seen.size:
        return ColumnErrors(NO_NUMBER, NO_NUMBER, NO_NUMBER, 0)
    size = np.abs(seen)
    largest = float(size.max())
    if not np.isfinite(largest):
        return ColumnErrors(largest, largest, largest, int(seen.size))
    mae = float(size.mean())
    rmse = largest * float(np.sqrt(np.square(size / largest).mean())) if largest else 0.0  # no overflow of squares
    return ColumnErrors(rmse, mae, mae / step if step > 0 else NO_NUMBER, int(seen.size))


def difference(predicted: Array, observed: Array, periods: Periods = None) -> Array:
    """`predicted - observed`, `(times, values)`: NaN where nothing was observed, infinite where the prediction isn't
    finite; of circular columns the shorter way round."""
    result = np.where(np.isfinite(predicted), predicted, np.inf) - observed
    for k, period in enumerate(periods or ()):
        if period is not None:
            finite = np.isfinite(result[:, k])
            result[finite, k] = shorter_way(result[finite, k], period)
    return result


def shorter_way(differences: Array, period: float) -> Array:
    """Differences of angles as those in [-period / 2, period / 2)."""
    return (differences + period / 2) % period - period / 2


def naive_steps(values: Sequence[Array], periods: Periods = None) -> Array:
    """The mean absolute change of each column between neighbouring observations, `(values,)`: the scale of MASE.

    `values` are the training observations of each trajectory, `(times, values)`, NaN where missing; neighbours are
    observed entries of one column and trajectory.  NaN for a column without two of these.
    """
    columns = values[0].shape[1] if values else 0
    means = np.full(columns, NO_NUMBER)
    for k in range(columns):
        changes = np.concatenate([np.diff(part[~np.isnan(part[:, k]), k]) for part in values])
        period = periods[k] if periods else None
        if period is not None:
            changes = shorter_way(changes, period)
        if changes.size:
            means[k] = np.abs(changes).mean()
    return means
