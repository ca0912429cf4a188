"""RQ5: where does which method win, and what does the backward solve do to Opt-Disc?"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pynode.studies.base import Study, Table, accuracy, complete_median, number
from pynode.studies.results import Results
from pynode.studies.style import legend_below, looks, new_figure, styled
from pynode.studies.winners.record import METHODS, TARGETS, Cell, StabilityRecord, WinnerRecord, cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 4.0
"""Colours saturate at ratios of 2^4 and 2^-4."""

COLOURS = "RdBu"
"""Blue where Disc-Opt is cheaper, red where Opt-Disc is: their colours in the other figures."""

CUT = 1e3
"""Errors beyond leave the panel: all are useless, and the largest would flatten the rest."""

RATIO = "NFE-B / NFE-F"


class Winners(Study):
    """The cheapest gradient of either method at equal accuracy, over stress problems."""

    name: ClassVar[str] = "winners"
    question: ClassVar[str] = "Where does which method win: tolerance, stiffness, dimension, horizon, width?"

    def tables(self, results: Results) -> list[Table]:
        measured = cells(results.winners)
        tables = []
        if measured:
            tables += [
                _ratios(measured, "evaluations", "evaluations"),
                _ratios(measured, "seconds", "time"),
                _cheapest(measured),
            ]
        if results.stability:
            tables.append(_stability(results.stability))
        return tables

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {"winners": draw_map(results), "stability": draw_stability(results)}

    def finding(self, results: Results) -> str | None:
        measured = cells(results.winners)
        parts = []
        for target in TARGETS:
            ratios = [r for cell in measured if (r := cell.ratio(target, "evaluations")) is not None]
            if not ratios:
                continue
            alone = {m: sum(cell.only(target) == m for cell in measured) for m in METHODS}
            others = "".join(f", {n} by {m} alone" for m, n in alone.items() if n)
            times = [r for cell in measured if (r := cell.ratio(target, "seconds")) is not None]
            quicker = f", less time in {sum(r > 1 for r in times)} of {len(times)}" if times else ""
            parts.append(
                f"{sum(r > 1 for r in ratios)} of {len(ratios)} cells at {target:.0e} (median ratio "
                f"{number(median(ratios), 2)}{quicker}{others})"
            )
        if not parts:
            return None
        return f"Disc-Opt needs fewer evaluations for a gradient of equal accuracy in {', '.join(parts)}."


def _ratios(measured: list[Cell], quantity: str, what: str) -> Table:
    rows = [
        [f"{cell.problem}, {cell.axis} {cell.value:g}", *(_ratio(cell, target, quantity) for target in TARGETS)]
        for cell in measured
    ]
    notes = [
        f"{what} of Opt-Disc over that of Disc-Opt for a gradient of at most this relative error; above 1 Disc-Opt is "
        "cheaper. At weights fitted to the dynamics without a solve; RK4 with 1, 2, 4, ... steps per interval against "
        "dopri5 at rtol 1e-1, 1e-2, ... (atol a hundredth)."
    ]
    return Table(f"RQ5 Who wins: {what}", ["", *(f"{t:.0e}" for t in TARGETS)], rows, notes)


def _ratio(cell: Cell, target: float, quantity: str) -> str:
    missing = [m for m, record in cell.cheapest[target].items() if record is None]
    if missing:
        return "neither" if len(missing) == len(METHODS) else f"no {missing[0]}"
    return number(cell.ratio(target, quantity), 2)


def _cheapest(measured: list[Cell]) -> Table:
    rows = [
        [
            f"{cell.problem}, {cell.axis} {cell.value:g}",
            f"{target:.0e}",
            *(text for method in METHODS for text in _entry(cell.cheapest[target][method])),
        ]
        for cell in measured
        for target in TARGETS
    ]
    columns = ["", "error", *(f"{m} {what}" for m in METHODS for what in ("setting", "evaluations", "ms"))]
    return Table("RQ5 The cheapest settings", columns, rows, long=True)


def _entry(record: WinnerRecord | None) -> list[str]:
    if record is None:
        return ["–", "–", "–"]
    setting = accuracy(record.setting, adaptive=record.adaptive)
    return [setting, f"{record.evaluations:,}", number(None if record.seconds is None else 1e3 * record.seconds)]


def _stability(records: list[StabilityRecord]) -> Table:
    rows = []
    for name in dict.fromkeys(r.architecture for r in records):
        for horizon in sorted({r.horizon for r in records}):
            part = [r for r in records if r.architecture == name and r.horizon == horizon]
            if not part:
                continue
            failed = sum(r.failure is not None for r in part)
            rows.append(
                [
                    name,
                    f"{horizon:g}",
                    number(complete_median(r.gradient_error for r in part), 2),
                    number(complete_median(r.reconstruction_error for r in part), 2),
                    number(complete_median(r.backward_ratio for r in part), 2),
                    f"{failed} of {len(part)}" if failed else "0",
                ]
            )
    columns = ["field", "T", "gradient error", "error of y(0) re-solved", "NFE-B / NFE-F", "failed"]
    notes = [
        f"Opt-Disc (dopri5, rtol {records[0].rtol:.0e}) over one interval [0, T], nothing stored in between; fields "
        "with enlarged random weights, van der pol's fitted to its dynamics; medians over seeds, and none where a seed "
        "failed."
    ]
    return Table("RQ5 The backward solve by architecture", columns, rows, notes)


@styled
def draw_map(results: Results) -> Figure | None:
    """Two heat maps, of evaluations and of seconds: rows are cells of the map, columns gradient accuracies."""
    measured = cells(results.winners)
    if not measured:
        return None
    figure, panels = new_figure(2, height=1.6 + 0.27 * len(measured))
    norm = Normalize(-LIMIT, LIMIT)
    for axes, quantity, title in zip(
        panels, ("evaluations", "seconds"), ("evaluations (with products)", "time"), strict=True
    ):
        _panel(axes, measured, quantity, norm)
        axes.set_title(title)
    panels[0].set_yticks(range(len(measured)), [f"{c.problem}, {c.axis} {c.value:g}" for c in measured])
    panels[1].set_yticks(range(len(measured)), [""] * len(measured))
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=panels, shrink=0.8, ticks=[-4, -2, 0, 2, 4])
    bar.ax.set_yticklabels(["1/16", "1/4", "1", "4", "16"])
    bar.set_label("cost of Opt-Disc / cost of Disc-Opt")
    figure.suptitle("Who wins: ratio of cost at equal gradient accuracy (above 1 Disc-Opt is cheaper)", fontsize=10)
    return figure


def _panel(axes: Axes, measured: list[Cell], quantity: str, norm: Normalize) -> None:
    colours = ScalarMappable(norm, COLOURS)
    for row, cell in enumerate(measured):
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
        if row and measured[row - 1].axis != cell.axis:
            axes.axhline(row - 0.5, color="black", linewidth=1.0)
    axes.set_xlim(-0.5, len(TARGETS) - 0.5)
    axes.set_ylim(len(measured) - 0.5, -0.5)
    axes.set_xticks(range(len(TARGETS)), [f"{t:.0e}" for t in TARGETS])
    axes.set_xlabel("gradient error allowed")
    axes.tick_params(length=0)
    axes.grid(visible=False)


@styled
def draw_stability(results: Results) -> Figure | None:
    """Three panels over the horizon: gradient error, error of the state re-solved backwards, NFE-B / NFE-F."""
    records = results.stability
    if not records:
        return None
    figure, panels = new_figure(3, height=3.2)
    names = list(dict.fromkeys(r.architecture for r in records))
    style = looks(names)
    picks: tuple[tuple[str, Callable[[StabilityRecord], float | None]], ...] = (
        ("gradient error", lambda r: r.gradient_error),
        ("error of y(0) re-solved", lambda r: r.reconstruction_error),
        (RATIO, lambda r: r.backward_ratio),
    )
    for axes, (label, pick) in zip(panels, picks, strict=True):
        smallest = CUT
        for name in names:
            mine = [r for r in records if r.architecture == name]
            values = {h: complete_median(pick(r) for r in mine if r.horizon == h) for h in {r.horizon for r in mine}}
            kept = sorted((h, v) for h, v in values.items() if v is not None)
            axes.plot([h for h, _ in kept], [v for _, v in kept], label=name, **style[name].points())
            smallest = min([smallest, *(v for _, v in kept)])
        axes.set_xscale("log")
        if label == RATIO:
            axes.set_ylim(bottom=0)
        else:
            axes.set_yscale("log")
            if axes.get_ylim()[1] > CUT:
                axes.set_ylim(smallest / 3, CUT)
        axes.set_xlabel("horizon T")
        axes.set_title(label)
    rtol = records[0].rtol
    figure.suptitle(f"Backward solve of Opt-Disc (one interval, rtol {rtol:.0e}, median over seeds)", fontsize=10)
    legend_below(figure, panels[0])
    return figure
