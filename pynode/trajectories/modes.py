"""A first model of one column that swings with several frequencies: a sum of modes that all trajectories share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from pynode.datasets.splits import Array

SPACING = 0.4
"""Distance of the points that first modes are read off, in the model's unit of time, at least."""
MOST_DELAYS, SHARE = 120, 0.4
"""Delays of these points, and their share of a trajectory, at most."""
MOST_POINTS = 1500
GROWTH = 3.0
"""Logarithm of what a mode may grow, or what it may have decayed by, over the longest trajectory."""
TRAJECTORIES = 24
"""Trajectories that exponents are fitted to, at most."""
RIDGE = 1e-9
EVALUATIONS = 60


@dataclass(frozen=True)
class Modes:
    """z = rest + the real parts of `shares` times exp(exponents t), by the model's time.

    `exponents` `(modes,)` have one of each pair of conjugates; `shares` `(trajectories, modes)`.
    """

    exponents: Array
    rest: float
    shares: Array

    @property
    def coefficients(self) -> Array:
        """c `(n,)` of the law that the modes obey: the derivative of order n is minus the sum of c[j] times the j-th,
        the column counted from its rest."""
        pairs = self.exponents.imag != 0
        return np.real(np.poly(np.concatenate((self.exponents, self.exponents[pairs].conj()))))[:0:-1]

    def derivatives(self, trajectory: int, times: Array, orders: int) -> Array:
        """The column and its derivatives `(k, orders + 1)` at `times` since the first node of a trajectory."""
        waves = np.exp(times[:, None] * self.exponents) * self.shares[trajectory]
        parts = [np.real(waves * self.exponents**order).sum(1) for order in range(orders + 1)]
        parts[0] = parts[0] + self.rest
        return np.stack(parts, -1)


def fitted_modes(points: Sequence[tuple[Array, Array]], paths: Sequence[tuple[Array, Array]], n: int) -> Modes | None:
    """The modes of a law of order `n` nearest to `points`: times `(k,)` and values `(k,)` of each trajectory.

    Their exponents are read off `paths`, values of smooth curves at times that are equally far apart, and then improved
    on the points themselves.  None where there are too few.
    """
    longest = max((float(t[-1]) for t, _ in points if len(t)), default=0.0)
    if sum(len(t) for t, _ in points) < 4 * (n + 1) * sum(len(t) > 0 for t, _ in points) or not longest > 0:
        return None
    first = _read_off(paths, n)
    if first is None:
        return None
    limit = GROWTH / longest
    first = np.clip(first.real, -limit * 10, limit) + 1j * first.imag
    scale = np.abs(first).max() or 1.0
    waves = first.imag != 0
    start = np.concatenate((first.real, first.imag[waves])) / scale

    def exponents(theta: Array) -> Array:
        result = theta[: len(first)].astype(complex)
        result[waves] += 1j * theta[len(first) :]
        return np.clip(result.real * scale, -limit * 10, limit) + 1j * result.imag * scale

    some = [own for own in points if len(own[0]) > n][:TRAJECTORIES]
    best = least_squares(lambda theta: _residuals(exponents(theta), some)[0], start, max_nfev=EVALUATIONS)
    improved = exponents(best.x)
    _, rest, shares = _residuals(improved, points)
    return Modes(improved, rest, np.array(shares))


def _read_off(paths: Sequence[tuple[Array, Array]], n: int) -> Array | None:
    """First exponents, one of each pair, by dynamic mode decomposition of delayed values."""
    longest = max((len(values) for _, values in paths), default=0)
    delays = min(MOST_DELAYS, int(SHARE * longest))
    usable = [(times, values) for times, values in paths if len(values) > delays + n][:TRAJECTORIES]
    if delays < 2 * n or not usable:
        return None
    spacing = float(usable[0][0][1] - usable[0][0][0])
    level = np.concatenate([values for _, values in usable]).mean()
    each = [np.lib.stride_tricks.sliding_window_view(values - level, delays) for _, values in usable]
    before, after = np.concatenate([rows[:-1] for rows in each]), np.concatenate([rows[1:] for rows in each])
    _, _, directions = np.linalg.svd(before, full_matrices=False)
    basis = directions[:n].T
    step = np.linalg.lstsq(before @ basis, after @ basis, rcond=None)[0]
    factors = np.linalg.eigvals(step)
    factors = factors[np.abs(factors) > 1e-6]
    exponents = np.log(factors.astype(complex)) / spacing
    # a factor below 0 is half a turn, which has no partner
    upper = [e for e in exponents if e.imag > 0 and e.imag < 0.95 * np.pi / spacing]
    real = [complex(e.real) for e in exponents if e.imag == 0]
    missing = n - 2 * len(upper) - len(real)
    return np.array(upper + real) if missing == 0 else None


def _residuals(exponents: Array, points: Sequence[tuple[Array, Array]]) -> tuple[Array, float, list[Array]]:
    """What the nearest sum of modes leaves of the points `(all,)`, its rest, and its shares of each trajectory."""
    waves = exponents.imag != 0
    kept, top, bottom = [], 0.0, RIDGE
    for times, values in points:
        wave = np.exp(times[:, None] * exponents)
        design = np.concatenate((wave.real, -wave.imag[:, waves]), 1)
        solve = np.linalg.pinv(design, rcond=1e-10) if len(times) else np.zeros((design.shape[1], 0))
        flat = 1 - design @ solve.sum(1)
        left = values - design @ (solve @ values)
        kept.append((solve, values, left, flat))
        top, bottom = top + float(flat @ left), bottom + float(flat @ flat)
    rest = top / bottom
    residuals, shares = [], []
    for solve, values, left, flat in kept:
        residuals.append(left - rest * flat)
        weights = solve @ (values - rest)
        share = weights[: len(exponents)].astype(complex)
        share[waves] += 1j * weights[len(exponents) :]
        shares.append(share)
    return np.concatenate(residuals), rest, shares
