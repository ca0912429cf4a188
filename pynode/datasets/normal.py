"""The likelihood of a table's rows under a normal distribution: what a flow has to do better than."""

from __future__ import annotations

import numpy as np

from pynode.datasets.splits import Array, Splits


def normal_nll(splits: Splits, most: int | None = None) -> float | None:
    """Mean of -log p over the first `most` test rows, in nats and the units of the file, for a normal distribution.

    Its mean is linear in the condition (without one, constant), and its covariance is what this mean leaves; both are
    those of the training rows.  None where these are too few to tell the covariance, or lie in a plane.
    """
    explained, tested = _explaining(splits, "train"), _explaining(splits, "test")[:most]
    rows = np.asarray(splits.train, dtype=np.float64)
    slopes, _, rank, _ = np.linalg.lstsq(explained, rows, rcond=None)
    left = rows - explained @ slopes
    if len(rows) <= rank + splits.dim:
        return None
    try:
        factor = np.linalg.cholesky(left.T @ left / len(rows))
    except np.linalg.LinAlgError:
        return None
    scores = np.linalg.solve(factor, (splits.test[:most] - tested @ slopes).T)
    log_scale = float(np.log(np.diag(factor)).sum()) + 0.5 * splits.dim * float(np.log(2 * np.pi))
    return float(0.5 * (scores**2).sum(axis=0).mean()) + log_scale - splits.log_density_offset


def _explaining(splits: Splits, part: str) -> Array:
    """A column of ones, and the contexts of the rows of a part."""
    ones = np.ones((len(getattr(splits, part)), 1))
    return np.hstack((ones, splits.contexts[part])) if splits.contexts else ones
