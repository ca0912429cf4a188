"""The figure: series with their gaps, what the latent ODE makes of them, and how it was learnt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from experiments.latent_ode.data import END, SEEN, Series
from experiments.latent_ode.training import Errors, Trained

SHOWN, SAMPLES = 3, 20
"""Series in the figure, and curves from the distribution of their initial states."""


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
            smooth = np.convolve(trained.losses, np.ones(25) / 25, "valid")
            seconds = np.linspace(0, trained.seconds, len(smooth))
            axes.plot(seconds if by_time else np.arange(len(smooth)), smooth, label=name)
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
