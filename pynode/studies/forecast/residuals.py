"""The figure of residuals: prediction minus observation over time, and how often each size occurs."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from pynode.studies.forecast.figures import MOST_COLUMNS
from pynode.studies.forecast.recorded import Array, Path, clock, file_name, paths, record_of, shown_runs
from pynode.studies.results import Results
from pynode.studies.style import headline, legend_below, looks, new_figure, plain, styled
from pynode.trajectories.errors import shorter_way

BINS = 25
MANY = 2_000
"""Points beyond which a panel holds a picture of them, so that the file stays small."""


@styled
def draw_residuals(results: Results) -> Figure | None:
    """A row of panels for each column: residuals of fit and forecast over time, and their histograms."""
    runs = shown_runs(results)
    if not runs:
        return None
    record = record_of(next(iter(runs.values())))
    columns, times, style = record["columns"][:MOST_COLUMNS], clock(record), looks(runs)
    figure, panels = new_figure(2, rows=len(columns), height=1.2 + 1.75 * len(columns))
    for k, column in enumerate(columns):
        left, right = panels[2 * k], panels[2 * k + 1]
        period = (record.get("periods") or {}).get(column)
        every = {method: _residuals(paths(record_of(run)), k, period) for method, run in runs.items()}
        bins = _bins(np.concatenate([values for _, *both in every.values() for values in both]))
        for method, (at, fit, ahead) in every.items():
            color, marker = style[method].color, style[method].marker
            for kind, values, fill in (("fit", fit, color), ("forecast", ahead, "none")):
                seen = np.isfinite(values)
                if not seen.any():
                    continue
                left.plot(
                    times.shown(at[seen]),
                    values[seen],
                    marker,
                    color=color,
                    markerfacecolor=fill,
                    markersize=2.5,
                    alpha=0.7,
                    markeredgewidth=0.5,
                    label=f"{method}, {kind}",
                    rasterized=bool(seen.sum() > MANY),
                )
                line = "-" if kind == "fit" else "--"
                right.hist(values[seen], bins.tolist(), histtype="step", color=color, linestyle=line, density=True)
        left.axhline(0.0, color="black", linewidth=0.7)
        right.axvline(0.0, color="black", linewidth=0.7)
        left.set_ylabel(plain(column))
        left.tick_params(labelbottom=k == len(columns) - 1)
        right.set_yticks([])
        right.locator_params(axis="x", nbins=6)
        left.locator_params(axis="y", nbins=5)
    panels[-2].set_xlabel(plain(times.label))
    panels[-1].set_xlabel("prediction minus observation")
    panels[0].set_title("over time")
    panels[1].set_title("how often (dashed: forecast)")
    title = f"{file_name(results)}: residuals of fit and forecast, in the units of each column"
    headline(figure, title)
    legend_below(figure, panels[0])
    return figure


def _bins(values: Array) -> Array:
    """Edges of the bins of all histograms of a column; around residuals that are all alike they have some width."""
    seen = values[np.isfinite(values)]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    least = 1e-6 * max(abs(low), abs(high)) or 1e-300
    middle, reach = low / 2 + high / 2, max(high / 2 - low / 2, least)
    return np.linspace(middle - reach, middle + reach, BINS + 1)


def _residuals(every: list[Path], k: int, period: float | None) -> tuple[Array, Array, Array]:
    """Times of all rows of all trajectories, and the residuals of column `k`, of the fit and of the forecast."""
    at = np.concatenate([path.times for path in every])
    fit, ahead = (
        np.concatenate([getattr(path, part)[:, k] - path.observed[:, k] for path in every])
        for part in ("fitted", "forecast")
    )
    if period is not None:
        fit, ahead = shorter_way(fit, period), shorter_way(ahead, period)
    return at, fit, ahead
