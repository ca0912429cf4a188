"""Pairs of columns of data and of what the models generate, for more than two dimensions."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pynode.figures.samples import Array, seeds, series, shown_runs
from pynode.figures.style import looks, new_figure, styled
from pynode.records.results import Results

PAIRS = ((0, 1), (2, 3), (4, 5))
MIDDLE = 0.995
"""Share of the data that the axes hold, so that single outliers don't squeeze the rest."""


@styled
def draw(results: Results) -> Figure | None:
    """A row of data, then one a method (first seed) of generated samples: columns 1-2, 3-4 and 5-6, axes of the data.

    Rows above each other rather than clouds over each other: a cloud would hide what lies below it.
    """
    chosen = {m: run for m, run in shown_runs(results, "data", "generated").items() if series(run, "data").shape[1] > 2}
    if not chosen:
        return None
    first = series(next(iter(chosen.values())), "data")
    pairs = [pair for pair in PAIRS if pair[1] < first.shape[1]]
    style = looks(chosen)
    rows = [("data", "black", first)]
    rows += [(method, style[method].color, series(run, "generated")) for method, run in chosen.items()]
    figure, panels = new_figure(len(pairs), rows=len(rows), width=2.4 * len(pairs), height=0.5 + 1.75 * len(rows))
    for k, (name, color, points) in enumerate(rows):
        for j, (a, b) in enumerate(pairs):
            axes = panels[k * len(pairs) + j]
            axes.plot(points[:, a], points[:, b], "o", color=color, markersize=1.3, markeredgewidth=0, alpha=0.5)
            axes.set_xlim(*_reach(first[:, a]))
            axes.set_ylim(*_reach(first[:, b]))
            axes.tick_params(labelbottom=k == len(rows) - 1)
            axes.set_ylabel(f"column {b + 1}")
            if k == len(rows) - 1:
                axes.set_xlabel(f"column {a + 1}")
            if j == 0:
                axes.set_ylabel(f"{name}\ncolumn {b + 1}", color=color)
    figure.suptitle(f"{results.problem}: data and generated samples (best weights, seed {seeds(chosen)})", fontsize=10)
    return figure


def _reach(column: Array) -> tuple[float, float]:
    """Where the middle of a column lies, with a margin; never empty."""
    low, high = np.nanquantile(column, ((1 - MIDDLE) / 2, (1 + MIDDLE) / 2))
    margin = 0.1 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
