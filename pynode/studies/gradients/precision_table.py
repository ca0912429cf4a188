"""The table of gradient errors by precision of products, from records alone."""

from __future__ import annotations

from collections.abc import Sequence

from pynode.studies.base import Table
from pynode.studies.gradients.record import PrecisionErrorRecord


def precision_table(records: Sequence[PrecisionErrorRecord], title: str) -> Table | None:
    """Errors and milliseconds; a row for each method at each accuracy, and precision."""
    if not records:
        return None
    several = len({r.weights for r in records}) > 1
    rows = [
        [
            *([r.weights] if several else []),
            r.label,
            r.precision,
            "failed" if r.failure else ("–" if r.error is None else f"{r.error:.1e}"),
            "–" if r.seconds is None else f"{1e3 * r.seconds:.3g}",
        ]
        for r in records
    ]
    first = records[0]
    engines = ", ".join(sorted({r.engine for r in records if r.engine}))
    notes = [
        "Relative error of the gradient in float32, with matrix products in this precision, against the same discrete "
        f"loss in float64; ms: median of a gradient, on {first.device} by {engines or 'no engine'}.",
        f"A batch of {first.samples:,}; {first.n_params:,} weights.",
    ]
    columns = [*(["weights"] if several else []), "method", "products", "error", "ms"]
    return Table(f"RQ2 Gradient error by precision of products: {title}", columns, rows, notes)
