"""The unit of a column whose values are multiples of one: counts, rounded measurements, classes."""

from __future__ import annotations

import numpy as np

from pynode.datasets.splits import Array

DECIMALS = 9
"""Decimal places that are tried."""


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
