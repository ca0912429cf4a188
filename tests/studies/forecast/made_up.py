"""Runs on made-up series, whose forecasts and errors are known beforehand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from pynode.records.runs import Run
from pynode.trajectories.judgement import Judged, error_rows
from tests.studies.reduction.test_study import results, run

__all__ = ["Array", "forecasting", "record", "results"]

Array = np.ndarray[Any, np.dtype[np.float64]]


def record(
    *,
    trajectories: int = 1,
    columns: tuple[str, ...] = ("x", "y"),
    points: int = 60,
    off: float = 0.1,
    ahead: float | None = 0.25,
    whole: int = 0,
    time: dict[str, Any] | None = None,
    periods: dict[str, float] | None = None,
    factor: float = 1.0,
) -> dict[str, Any]:
    """An evaluation's `forecast` of sines; the fit is `off` by a constant, and the forecast by thrice that.

    `ahead` is the share of rows at the end that is held out, the last `whole` trajectories are held out as a whole.
    """
    rng, judged, entries = np.random.default_rng(0), [], []
    for j in range(trajectories):
        times = np.sort(rng.uniform(0, 20, points)) * factor
        turn = times[:, None] / factor + np.arange(len(columns)) + 0.3 * j
        clean = (40 * turn) % 360 if periods else np.sin(turn)
        observed = np.where(rng.uniform(size=clean.shape) < 0.1, np.nan, clean)
        part = np.array(["training"] * points, dtype=object)
        if whole:
            if j >= trajectories - whole:
                part[:] = "held out"
                part[:2] = "given"
        elif ahead is not None:
            part[int((1 - ahead) * points) :] = "held out"
        held_out = part == "held out"
        predicted = clean + np.where(held_out, 3 * off, off)[:, None]
        if periods:
            predicted %= 360
        judged.append(Judged("", times, observed, predicted, known=0, part=list(part)))
        at = np.linspace(times[0], times[-1], 200)
        turn = at[:, None] / factor + np.arange(len(columns)) + 0.3 * j
        curve = (40 * turn) % 360 if periods else np.sin(turn) + off
        cut = float(times[held_out][0]) if held_out.any() else None
        entries.append(
            {
                "name": f"subject {j + 1}",
                "times": times.tolist(),
                "observed": plain(observed),
                "part": list(part),
                "fitted": plain(np.where(held_out[:, None], np.nan, predicted)),
                "forecast": plain(np.where(held_out[:, None], predicted, np.nan)),
                "curve_times": at.tolist(),
                "curve": plain(curve),
                "cut": cut,
            }
        )
    split = ["trajectory", "subject 9"] if whole else ["time", "the last 25 % of each trajectory"]
    return {
        "columns": list(columns),
        "constants": [["setpoint", 37.0]],
        "periods": periods or {},
        "hidden": [],
        "split": split if whole or ahead is not None else ["none"],
        "notices": [],
        "time": time or {"column": "hours", "kind": "number", "unit": "units of hours", "seconds": None, "origin": 0.0},
        "id_column": None,
        "trajectories": entries,
        "errors": error_rows(judged, columns, periods or {}),
    }


def plain(table: Array) -> list[list[float | None]]:
    """A table as JSON has it."""
    return [[x if math.isfinite(x) else None for x in row] for row in table.tolist()]


def forecasting(method: str, forecast: dict[str, Any], *, seconds: float = 1.0, nfe: int = 10, seed: int = 0) -> Run:
    """A finished run with this evaluation."""
    plain_run = run(method, [4.0, 2.0, 1.0, 0.5], seconds=seconds, nfe=nfe, seed=seed)
    config = plain_run.config | {"problem": "series", "options": {"data": "/data/mine.csv"}}
    return replace(plain_run, config=config, evaluation={"metrics": {}, "series": {"forecast": forecast}})
