"""The figure: series with their gaps, what the latent ODE makes of them, and how it was learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from experiments.latent_ode.data import END, SEEN, Series
from experiments.latent_ode.training import Errors, Trained

Array: TypeAlias = npt.NDArray[np.float64]

WINDOW = 25
"""Iterations that a point of the curves of learning is the mean of."""

SHOWN, SAMPLES = 3, 20
"""Series in the figure, and curves from the distribution of their initial states."""


def smoothed(losses: Sequence[float]) -> tuple[Array, Array]:
    """Means over `WINDOW` iterations, or all of them if they are fewer, at the middle of each window `(means,)`."""
    window = min(WINDOW, len(losses))
    means: Array = np.convolve(losses, np.full(window, 1 / window), "valid").astype(np.float64)
    return np.arange(len(means), dtype=np.float64) + (window - 1) / 2, means


def draw(results: Mapping[str, Trained], scores: Mapping[str, Errors], test: Series, path: Path) -> None:
    """Writes the figure of these trained models to `path`: curves of the first one, and the `scores` of all."""
    figure, (upper, lower) = plt.subplots(2, SHOWN, figsize=(11, 5.2), height_ratios=(3, 2), layout="constrained")
    curves = next(iter(results.values())).model.predicted(test, SAMPLES)
    for i, axes in enumerate(upper):
        times, values, seen = test.times[i], test.values[i], test.seen[i]
        axes.axvspan(SEEN, END, color="0.95", lw=0)
        axes.plot(test.grid, curves[:, i].T, color="tab:blue", alpha=0.15, lw=1)
        axes.plot(test.grid, test.curves[i], color="black", lw=1, label="truth")
        axes.plot(times[seen], values[seen], "o", color="tab:red", ms=4, label="seen")
        unseen = test.observed[i] & ~seen
        axes.plot(times[unseen], values[unseen], "o", mfc="none", color="tab:red", ms=4, label="not seen")
        axes.set(title=f"test series {i + 1}", xlabel="t in s", xlim=(0, END))
    upper[0].set_ylabel("angle in rad")
    upper[0].legend(loc="upper right", fontsize=8)
    for axes, by_time in zip(lower[:2], (False, True), strict=True):
        for name, trained in results.items():
            at, smooth = smoothed(trained.losses)
            axes.plot(at * trained.seconds / len(trained.losses) if by_time else at, smooth, label=name)
        axes.set(xlabel="seconds of one core" if by_time else "iterations")
    lower[0].set_ylabel("negative evidence bound")
    lower[0].legend(fontsize=8)
    places = np.arange(len(scores))
    lower[2].barh(places - 0.2, [e.reconstruction for e in scores.values()], 0.4, label="t < 4", color="0.4")
    lower[2].barh(places + 0.2, [e.extrapolation for e in scores.values()], 0.4, label="t > 4", color="0.75")
    lower[2].set_yticks(places, list(scores), fontsize=8)
    lower[2].invert_yaxis()
    lower[2].set_xlabel("root mean square error in rad")
    lower[2].legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
