"""What records say: medians, quartiles, ratios within rounds, exponents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.benchmarks.records import Benchmark, CeilingRecord, WorkloadRecord

MERE_CALL = 1e-2
"""Products of fewer operations than this, in 1e9, measure what a call of torch takes."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """y = c x^exponent by least squares in the logarithms; `error` is the exponent's standard error."""

    exponent: float
    error: float
    factor: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of `values`."""
    low, middle, high = np.percentile(np.asarray(values), [25, 50, 75])
    return Spread(float(middle), float(low), float(high))


def ratios(values: Sequence[float], base: Sequence[float]) -> Spread | None:
    """`values` over `base`, turn by turn: what disturbs the machine for longer than a round falls out."""
    pairs = list(zip(values, base, strict=False))
    return spread([a / b for a, b in pairs]) if pairs else None


def power_law(x: Sequence[float], y: Sequence[float]) -> Fit | None:
    """The power law through the points; None for fewer than three."""
    if len(x) < 3:
        return None
    a, b = np.log(np.asarray(x)), np.log(np.asarray(y))
    centred = a - a.mean()
    slope = float(centred @ b / (centred @ centred))
    intercept = float(b.mean() - slope * a.mean())
    rest = b - intercept - slope * a
    error = float(np.sqrt(rest @ rest / (len(x) - 2) / (centred @ centred)))
    return Fit(slope, error, float(np.exp(intercept)))


@dataclass(frozen=True)
class Ceiling:
    """Measured rates in 1e9 a second: a square product, products in the workload's own mix (None: none), a copy."""

    square: float
    mix: float | None
    copy: float


def ceiling(found: Benchmark, workload: WorkloadRecord) -> Ceiling | None:
    """Medians over all turns; None where nothing was measured."""
    mine = [r for r in found.ceilings if r.workload == workload.name]
    if not mine:
        return None
    kinds: dict[tuple[str, tuple[int, ...], str], list[float]] = {}
    for record in mine:
        kinds.setdefault(_key(record), []).append(record.rate)
    middle = {key: spread(rates).middle for key, rates in kinds.items()}
    square = next(rate for (what, sizes, _), rate in middle.items() if what == "product" and len(set(sizes)) == 1)
    operations, seconds = 0.0, 0.0
    for m, k, n, layout, count in workload.products:
        rate = middle[("product", (m, k, n), layout)]
        operations += 2e-9 * m * k * n * count
        seconds += 2e-9 * m * k * n * count / rate
    copy = next(rate for (what, _, _), rate in middle.items() if what == "copy")
    calls = sum(count for *_, count in workload.products)
    return Ceiling(square, operations / seconds if operations > MERE_CALL * calls else None, copy)


def _key(record: CeilingRecord) -> tuple[str, tuple[int, ...], str]:
    return record.what, tuple(record.sizes), record.layout
