"""Smooth curves through noisy values at irregular times, and the noise about them: penalised splines, chosen by
generalised cross-validation (Eilers & Marx 1996; Craven & Wahba 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import eigh

from pynode.datasets.splits import Array

DEGREE = 3
LEAST_POINTS = 5
"""Values that a curve needs; fewer are joined by straight lines."""
MOST_POINTS, OVERLAP = 240, 24
"""Values of one piece of a long series, and those that it shares with its neighbour."""
PENALTIES = np.logspace(-5, 7, 61)


@dataclass(frozen=True)
class Curve:
    """A smooth curve through values of one column of one trajectory: pieces, each with where it begins to count."""

    pieces: tuple[BSpline, ...]
    begins: Array

    def __call__(self, times: Array, derivative: int = 0) -> Array:
        """Values `(k,)`, or derivatives, at `times` `(k,)`; beyond the data along a straight line."""
        which = np.clip(np.searchsorted(self.begins, times, side="right") - 1, 0, None)
        result = np.empty(len(times))
        for k, piece in enumerate(self.pieces):
            at = which == k
            if at.any():
                result[at] = _extended(piece, times[at], derivative)
        return result


@dataclass(frozen=True)
class _Piece:
    """One piece as a family of curves by penalty: everything that does not depend on it, computed once."""

    knots: Array
    vectors: Array
    values: Array
    projected: Array
    count: int
    total: float
    begin: float

    def losses(self) -> tuple[Array, Array]:
        """Residual sums of squares and effective degrees of freedom `(penalties,)`."""
        weights = 1 / (1 + (PENALTIES[:, None] - 1) * self.values)
        kept = 1 - self.values  # the share of the data in each direction
        residual = (
            self.total - 2 * (weights * self.projected**2).sum(1) + (weights**2 * kept * self.projected**2).sum(1)
        )
        return np.maximum(residual, 0), (weights * kept).sum(1)

    def curve(self, penalty: float) -> BSpline:
        weights = 1 / (1 + (penalty - 1) * self.values)
        return BSpline(self.knots, self.vectors @ (weights * self.projected), DEGREE)


def smoothed(series: Sequence[tuple[Array, Array]]) -> tuple[list[Curve | None], float]:
    """Curves through each of `series` (times `(n,)`, values `(n,)` without NaN), and the noise's standard deviation.

    One penalty for all of them, since they are of the same column.  None for a series with too few values.  The noise
    is NaN where no curve could be made.
    """
    usable = [len(t) >= LEAST_POINTS for t, _ in series]
    gaps = [np.diff(t) for (t, _), use in zip(series, usable, strict=True) if use]
    if not gaps:
        return [None] * len(series), np.nan
    spacing = float(np.median(np.concatenate(gaps))) * 1.5
    pieces = [_pieces(t, y, spacing) if use else [] for (t, y), use in zip(series, usable, strict=True)]
    each = [piece.losses() for group in pieces for piece in group]
    residual, freedom = np.sum([e[0] for e in each], 0), np.sum([e[1] for e in each], 0)
    count = sum(piece.count for group in pieces for piece in group)
    left = np.maximum(count - 1.2 * freedom, 1e-3 * count)  # 1.2 guards against following the noise
    best = int(np.argmin(residual / left**2))
    noise = float(np.sqrt(residual[best] / max(count - freedom[best], 0.05 * count)))
    curves: list[Curve | None] = []
    for group in pieces:
        made = tuple(piece.curve(PENALTIES[best]) for piece in group)
        curves.append(Curve(made, np.array([piece.begin for piece in group])) if made else None)
    return curves, noise


def _pieces(times: Array, values: Array, spacing: float) -> list[_Piece]:
    n = len(times)
    if n <= MOST_POINTS:
        return [_piece(times, values, spacing, -np.inf)]
    starts = np.arange(0, n - OVERLAP, MOST_POINTS - OVERLAP)
    result = []
    for k, start in enumerate(starts):
        part = slice(start, min(start + MOST_POINTS, n))
        begin = -np.inf if k == 0 else float(times[start + OVERLAP // 2])
        result.append(_piece(times[part], values[part], spacing, begin))
    return result


def _piece(times: Array, values: Array, spacing: float, begin: float) -> _Piece:
    span = times[-1] - times[0]
    cells = int(np.clip(np.ceil(span / spacing), 4, 160))
    step = span / cells
    knots = times[0] + step * np.arange(-DEGREE, cells + DEGREE + 1)
    knots[DEGREE], knots[-DEGREE - 1] = times[0], times[-1]
    design = BSpline.design_matrix(np.clip(times, times[0], times[-1]), knots, DEGREE).toarray()
    size = design.shape[1]
    differences = np.diff(np.eye(size), n=3 if len(times) >= 8 else 2, axis=0)
    # a penalty means the same curve whatever the piece's own spacing
    scale = (spacing / step) ** 5
    gram, rough = design.T @ design, scale * differences.T @ differences
    shares, vectors = eigh(rough, gram + rough + 1e-10 * np.eye(size))
    shares = np.clip(shares, 0, 1)
    return _Piece(knots, vectors, shares, vectors.T @ (design.T @ values), len(times), float(values @ values), begin)


def _extended(piece: BSpline, times: Array, derivative: int) -> Array:
    first, last = piece.t[DEGREE], piece.t[-DEGREE - 1]
    inside = np.clip(times, first, last)
    result = piece(inside, derivative)
    if derivative == 0:
        result = result + (times - inside) * piece(inside, 1)
    return np.asarray(result)
