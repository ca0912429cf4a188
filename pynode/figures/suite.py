"""What Disc-Opt saves at matched loss, over the problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from pynode.figures.style import PALETTE, legend_below, new_figure, styled

KINDS = (("time_reduction", "time"), ("nfe_reduction", "NFE"), ("evaluation_reduction", "NFE + products"))


@styled
def draw(found: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """One group of bars a problem: reduction of time, of NFE, and of all evaluations; None where nothing is known."""
    known = {name: part for name, part in found.items() if part and part["time_reduction"] is not None}
    if not known:
        return None
    figure, (axes,) = new_figure(1, height=3.2, width=max(4.0, 1.1 * len(known) + 1.5))
    for k, (key, label) in enumerate(KINDS):
        values = [100 * (part[key] or 0.0) for part in known.values()]
        spots = [i + (k - 1) * 0.27 for i in range(len(known))]
        axes.bar(spots, values, 0.25, color=PALETTE[k], label=label)
        for x, value in zip(spots, values, strict=True):
            axes.annotate(
                f"{value:.0f}",
                (x, value),
                ha="center",
                va="bottom" if value >= 0 else "top",
                fontsize=6.5,
                xytext=(0, 1 if value >= 0 else -1),
                textcoords="offset points",
            )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(known)), list(known), rotation=20 if len(known) > 6 else 0)
    axes.set_ylabel("less than Opt-Disc (%)")
    low = min(0.0, *(100 * (part[key] or 0.0) for part in known.values() for key, _ in KINDS))
    axes.set_ylim(low * 1.1 - (5 if low < 0 else 0), 108)
    axes.grid(axis="x", visible=False)
    figure.suptitle("What Disc-Opt saves until the matched loss is reached", fontsize=10)
    legend_below(figure, axes)
    return figure
