"""Recovery: from noisy, irregular, gappy data both methods forecast nearly as well as the true model does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

import pynode
from pynode.datasets.splits import Array

NOISE = np.array([0.1, 0.05])
AHEAD = np.linspace(6.05, 8, 25)


def field(t: float, u: Array) -> list[float]:  # noqa: ARG001
    return [1.5 * u[0] - u[0] * u[1], u[0] * u[1] - 3 * u[1]]


def solved(start: Array, times: Array) -> Array:
    return np.asarray(solve_ivp(field, (0, 9), start, t_eval=times, rtol=1e-8, atol=1e-8).y.T)


def predators_and_prey() -> list[tuple[Array, Array, Array]]:
    """Times, values with 30 % missing and a gap, and the start of 20 trajectories of Lotka and Volterra's equations."""
    rng = np.random.default_rng(0)
    result = []
    for _ in range(20):
        start = rng.uniform([1, 0.5], [5, 3])
        times = np.sort(rng.uniform(0, 8, 50))
        times[0], gap = 0, rng.uniform(2, 5)
        times = times[~((times > gap) & (times < gap + 1.2)) & (times < 6)]
        values = solved(start, times) + NOISE * rng.standard_normal((len(times), 2))
        values[rng.random(values.shape) < 0.3] = np.nan
        seen = np.isfinite(values).any(1)
        result.append((times[seen], values[seen], start))
    return result


@pytest.mark.slow
@pytest.mark.parametrize("method", [pynode.DiscOpt(), pynode.OptDisc(rtol=1e-5, atol=1e-6)], ids=["disc", "opt"])
def test_a_forecast_is_within_a_tenth_of_the_true_models(method: pynode.GradientMethod, tmp_path: Path) -> None:
    data = predators_and_prey()
    path = tmp_path / "lv.csv"
    lines = ["id,t,x,y"]
    for k, (times, values, _) in enumerate(data):
        for t, row in zip(times, values, strict=True):
            cells = ("" if np.isnan(v) else f"{v:.5f}" for v in row)
            lines.append(f"r{k:02},{t:.7f},{','.join(cells)}")
    path.write_text("\n".join(lines) + "\n")
    fit = pynode.fit_series(path, method, time="t", id="id", values=("x", "y"), held_out=0.0)
    mine, theirs = [], []
    for each, (times, values, start) in zip(fit.problem.series.each, data, strict=True):

        def residuals(logarithm: Array, times: Array = times, values: Array = values) -> Array:
            off = (solved(np.exp(logarithm), times) - values) / NOISE
            return off[np.isfinite(off)]

        truth = solved(start, AHEAD)
        known = np.exp(least_squares(residuals, np.log(start)).x)
        mine.append(fit.problem.forecast(fit.model, each, AHEAD) - truth)
        theirs.append(solved(known, AHEAD) - truth)
    # against measurements, whose noise both have in common
    errors = [np.sqrt(np.mean(np.concatenate(e) ** 2, 0) + NOISE**2) for e in (mine, theirs)]
    assert float((errors[0] / errors[1]).mean()) < 1.1
