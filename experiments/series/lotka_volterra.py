"""Writes a table of made-up measurements: predators and prey in several places, noisy, at odd times, with gaps.

    python experiments/series/lotka_volterra.py hares.csv

Rows of Lotka and Volterra's equations, prey' = prey (1 - predators), predators' = predators (prey - 1), from other
beginnings in every place, with 5 % of noise; 30 % of the cells are empty.  Not measured: for the README and for tests.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

Array = np.ndarray[Any, np.dtype[np.float64]]


def solve(start: Array, times: Array) -> Array:
    """Prey and predators `(times, 2)` from `start` `(2,)` at the first of `times`, to ten digits."""

    def slope(_: float, state: Array) -> list[float]:
        prey, predators = state
        return [prey * (1 - predators), predators * (prey - 1)]

    span = (float(times[0]), float(times[-1]))
    return np.asarray(solve_ivp(slope, span, start, t_eval=times, rtol=1e-10, atol=1e-12).y.T)


def rows(
    places: int = 20, points: int = 40, until: float = 12.0, *, noise: float = 0.05, missing: float = 0.3, seed: int = 0
) -> list[str]:
    """The lines of the table: place, weeks, hares (in hundreds), lynx."""
    rng, lines = np.random.default_rng(seed), ["place,weeks,hares,lynx"]
    for place in range(1, places + 1):
        times = np.sort(rng.uniform(0, until, points)).round(3)
        times = np.unique(np.concatenate([[0.0], times[times > 0]]))
        values = solve(rng.uniform(0.5, 2.0, 2), times) * np.exp(noise * rng.normal(size=(len(times), 2))) * [100, 1]
        empty = rng.uniform(size=values.shape) < missing
        for time, own, gaps in zip(times, values, empty, strict=True):
            cells = ["" if gap else f"{value:.4g}" for value, gap in zip(own, gaps, strict=True)]
            lines.append(f"{place},{time:.3f},{','.join(cells)}")
    return lines


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(rows()) + "\n", encoding="utf-8")
