"""What Disc-Opt saves against Opt-Disc at matched loss, over problems and engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from pynode.figures.style import PALETTE, legend_below, new_figure, styled

KINDS = (("time_reduction", "time"), ("nfe_reduction", "NFE"), ("evaluation_reduction", "NFE + products"))


@dataclass(frozen=True)
class Group:
    """The bars of one comparison: lines of its label, and its reductions."""

    label: tuple[str, ...]
    reduction: Mapping[str, Any]


@styled
def draw(groups: Sequence[Group]) -> Figure | None:
    """One group of bars a comparison: less time, less NFE, fewer evaluations; None where nothing is known.

    A line over a bar of the time shows the range over seeds.
    """
    known = [group for group in groups if group.reduction["time_reduction"] is not None]
    if not known:
        return None
    figure, (axes,) = new_figure(1, height=3.4, width=max(4.0, 1.1 * len(known) + 1.5))
    for k, (key, label) in enumerate(KINDS):
        for i, group in enumerate(known):
            value, x = 100 * (group.reduction[key] or 0.0), i + (k - 1) * 0.27
            axes.bar(x, value, 0.25, color=PALETTE[k], label=label)
            by_seed = [100 * s[key] for s in group.reduction["seeds"] if s[key] is not None]
            low, high = (min(by_seed), max(by_seed)) if len(by_seed) > 1 else (value, value)
            axes.plot([x, x], [low, high], color="black", linewidth=0.9)
            axes.annotate(
                f"{value:.0f}",
                (x, max(high, 0.0) if value >= 0 else min(low, 0.0)),
                ha="center",
                va="bottom" if value >= 0 else "top",
                fontsize=6.5,
                xytext=(0, 1 if value >= 0 else -1),
                textcoords="offset points",
            )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(known)), ["\n".join(group.label) for group in known])
    axes.set_ylabel("less than Opt-Disc (%)")
    low = min(0.0, *(100 * (group.reduction[key] or 0.0) for group in known for key, _ in KINDS))
    axes.set_ylim(low * 1.1 - (8 if low < 0 else 0), 108)
    axes.grid(axis="x", visible=False)
    figure.suptitle("What Disc-Opt saves until the matched loss is reached", fontsize=10)
    legend_below(figure, axes)
    return figure
