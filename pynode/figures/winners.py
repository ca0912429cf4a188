"""Opt-Disc's cost over Disc-Opt's at equal gradient accuracy, over stress problems."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pynode.figures.style import new_figure, styled
from pynode.records.cheapest import TARGETS, Cell, cells
from pynode.records.results import Results

LIMIT = 4.0
"""Colours saturate at ratios of 2^4 and 2^-4."""

COLOURS = "RdBu"
"""Blue where Disc-Opt is cheaper, red where Opt-Disc is: their colours in the other figures."""


@styled
def draw(results: Results) -> Figure | None:
    """Two heat maps, of evaluations and of seconds: rows are cells of the map, columns gradient accuracies."""
    found = cells(results.winners)
    if not found:
        return None
    figure, panels = new_figure(2, height=1.6 + 0.27 * len(found))
    norm = Normalize(-LIMIT, LIMIT)
    for axes, quantity, title in zip(
        panels, ("evaluations", "seconds"), ("evaluations (with products)", "time"), strict=True
    ):
        _panel(axes, found, quantity, norm)
        axes.set_title(title)
    panels[0].set_yticks(range(len(found)), [f"{c.problem}, {c.axis} {c.value:g}" for c in found])
    panels[1].set_yticks(range(len(found)), [""] * len(found))
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=panels, shrink=0.8, ticks=[-4, -2, 0, 2, 4])
    bar.ax.set_yticklabels(["1/16", "1/4", "1", "4", "16"])
    bar.set_label("cost of Opt-Disc / cost of Disc-Opt")
    figure.suptitle("Who wins: ratio of cost at equal gradient accuracy (above 1 Disc-Opt is cheaper)", fontsize=10)
    return figure


def _panel(axes: Axes, found: list[Cell], quantity: str, norm: Normalize) -> None:
    colours = ScalarMappable(norm, COLOURS)
    for row, cell in enumerate(found):
        for column, target in enumerate(TARGETS):
            ratio = cell.ratio(target, quantity)
            corner = (column - 0.5, row - 0.5)
            if ratio is None:
                missing = [m for m, record in cell.cheapest[target].items() if record is None]
                text, size = "neither" if len(missing) == 2 else f"no {missing[0]}", 5.5
                axes.add_patch(Rectangle(corner, 1, 1, facecolor="#eeeeee", edgecolor="#bbbbbb", hatch="//"))
                dark = False
            else:
                level = math.log2(ratio)
                text, size = f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}", 7.0
                dark = abs(level) > 0.7 * LIMIT
                axes.add_patch(Rectangle(corner, 1, 1, facecolor=colours.to_rgba(level), edgecolor="white"))  # type: ignore[arg-type]
            # a plain ground keeps the hatching out of the words
            ground = {"facecolor": "#eeeeee", "edgecolor": "none", "pad": 0.8} if ratio is None else None
            color = "white" if dark else "black"
            axes.annotate(text, (column, row), ha="center", va="center", fontsize=size, color=color, bbox=ground)
        if row and found[row - 1].axis != cell.axis:
            axes.axhline(row - 0.5, color="black", linewidth=1.0)
    axes.set_xlim(-0.5, len(TARGETS) - 0.5)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xticks(range(len(TARGETS)), [f"{t:.0e}" for t in TARGETS])
    axes.set_xlabel("gradient error allowed")
    axes.tick_params(length=0)
    axes.grid(visible=False)
