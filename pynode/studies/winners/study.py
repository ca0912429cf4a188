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
from pynode.studies.gradients.record import STEADY
from pynode.studies.results import Results
from pynode.studies.style import headline, legend_below, looks, new_figure, styled
from pynode.studies.winners.record import (
    METHODS,
    TARGETS,
    Cell,
    Quantity,
    SeedCell,
    StabilityRecord,
    WinnerRecord,
    cells,
)
from pynode.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 4.0
"""Colours saturate at ratios of 2^4 and 2^-4."""

COLOURS = "RdBu"
"""Blue where Disc-Opt is cheaper, red where Opt-Disc is: their colours in the other figures."""

CUT = 1e3
"""Errors beyond leave the panel: all are useless, and the largest would flatten the rest."""

RATIO = "NFE-B / NFE-F"

SCATTERED = "times scatter"
"""Stands in the table of times where no seed has times that can be compared."""


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
        parts = [part for target in TARGETS if (part := _counted(measured, target))]
        if not parts:
            return None
        return f"Disc-Opt needs fewer evaluations for a gradient of equal accuracy in {', '.join(parts)}."


def _counted(measured: list[Cell], target: float) -> str | None:
    """In how many cells Disc-Opt is cheaper for gradients as accurate as `target`; None where no cell tells."""
    compared = [(cell, r) for cell in measured if (r := cell.ratio(target, "evaluations")) is not None]
    if not compared:
        return None
    alone = {m: sum(cell.only(target) == m for cell in measured) for m in METHODS}
    others = "".join(f", {n} by {m} alone" for m, n in alone.items() if n)
    times = [r for cell in measured if (r := cell.ratio(target, "seconds")) is not None]
    quicker = f", less time in {sum(r > 1 for r in times)} of {len(times)}" if times else ""
    agreed = ""
    if _most_seeds(measured) > 1:
        unanimous = sum(cell.agreeing(target, "evaluations") == len(cell.seeds) for cell, _ in compared)
        agreed = f", all seeds agree in {unanimous}"
    return (
        f"{sum(r > 1 for _, r in compared)} of {counted(len(compared), 'cell')} at {target:.0e} (median ratio "
        f"{number(median(r for _, r in compared), 2)}{quicker}{agreed}{others})"
    )


def _most_seeds(measured: list[Cell]) -> int:
    return max(len(cell.seeds) for cell in measured)


def _ratios(measured: list[Cell], quantity: Quantity, what: str) -> Table:
    rows = [[_name(cell), *(_ratio(cell, target, quantity) for target in TARGETS)] for cell in measured]
    notes = [
        f"{what} of Opt-Disc over that of Disc-Opt for a gradient of at most this relative error, each at its setting "
        f"of least {what}; above 1 Disc-Opt is cheaper. At weights fitted to the dynamics without a solve; RK4 with 1, "
        "2, 4, ... steps per interval against dopri5 at rtol 1e-1, 1e-2, ... (atol a hundredth)."
    ]
    if _most_seeds(measured) > 1:
        notes.append(
            "Medians over seeds (smallest to largest; number of seeds on the same side of 1 as the median). A cell "
            'in which a method misses the accuracy in some seed has no median: "no opt-disc (1 of 3)".'
        )
    notes += [f"{_name(cell)}: {cell.failure}" for cell in measured if cell.failure is not None]
    if quantity == "seconds":
        notes.append(_how_timed([r for cell in measured for seed in cell.seeds for r in seed.records]))
    return Table(f"RQ5 Who wins: {what}", ["", *(f"{t:.0e}" for t in TARGETS)], rows, notes)


def _how_timed(records: list[WinnerRecord]) -> str:
    """Engine, load of the machine, and what was left out, as far as the records know."""
    engines = ", ".join(sorted({r.engine for r in records if r.engine})) or "not recorded"
    parts = [f"Engine: {engines}."]
    loads = [r.load for r in records if r.load is not None]
    if loads:
        parts.append(f"Load average of the machine: {number(min(loads), 2)} to {number(max(loads), 2)}.")
    timed = [r for r in records if r.scatter is not None]
    if timed:
        parts.append(
            f"{sum(not r.is_steady for r in timed)} of {len(timed)} gradients have times that scatter by more than "
            f"{100 * STEADY:.0f} % (interquartile range over median); their times are left out."
        )
    return " ".join(parts)


def _name(cell: Cell) -> str:
    return f"{cell.problem}, {cell.axis} {cell.value:g}"


def _missing(cell: Cell, target: float) -> str | None:
    """Which method misses `target`, and in how many seeds where not in all; None where both reach it in all."""
    every = len(cell.seeds)
    lacking = {m: n for m in METHODS if (n := cell.lacking(m, target))}
    if set(lacking) == set(METHODS) and set(lacking.values()) == {every}:
        return "neither"
    texts = [f"no {m}{f' ({n} of {every})' if n < every else ''}" for m, n in lacking.items()]
    return ", ".join(texts) or None


def _ratio(cell: Cell, target: float, quantity: Quantity) -> str:
    if missing := _missing(cell, target):
        return missing
    middle = cell.ratio(target, quantity)
    if middle is None:
        return SCATTERED
    if len(cell.seeds) == 1:
        return number(middle, 2)
    ratios = cell.ratios(target, quantity)
    agreeing = f"{cell.agreeing(target, quantity)} of {len(ratios)}"
    return f"{number(middle, 2)} ({number(min(ratios), 2)} to {number(max(ratios), 2)}; {agreeing})"


def _cheapest(measured: list[Cell]) -> Table:
    rows = [
        [
            _name(cell),
            f"{target:.0e}",
            str(seed.seed),
            *(text for method in METHODS for text in _entry(seed, method, target)),
        ]
        for cell in measured
        for target in TARGETS
        for seed in cell.seeds
    ]
    entries = ("setting", "evaluations", "fastest", "ms")
    columns = ["", "error", "seed", *(f"{m} {what}" for m in METHODS for what in entries)]
    notes = [f"Times that scatter by more than {100 * STEADY:.0f} % are marked *."]
    return Table("RQ5 The cheapest settings", columns, rows, notes, long=True)


def _entry(seed: SeedCell, method: str, target: float) -> list[str]:
    """The setting of fewest evaluations with these, and the fastest setting with its milliseconds."""
    fewest, fastest = (seed.cheapest(method, target, quantity) for quantity in ("evaluations", "seconds"))
    entry = ["–", "–"] if fewest is None else [_setting(fewest), f"{fewest.evaluations:,}"]
    if fastest is None or fastest.seconds is None:
        return [*entry, "–", "–"]
    return [*entry, _setting(fastest), number(1e3 * fastest.seconds) + ("" if fastest.is_steady else " *")]


def _setting(record: WinnerRecord) -> str:
    return accuracy(record.setting, adaptive=record.adaptive)


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
    if engines := sorted({r.engine for r in records if r.engine}):
        notes.append(f"Engine: {', '.join(engines)}. Seeds: {', '.join(map(str, sorted({r.seed for r in records})))}.")
    return Table("RQ5 The backward solve by architecture", columns, rows, notes)


@styled
def draw_map(results: Results) -> Figure | None:
    """Two heat maps, of evaluations and of seconds: rows are cells of the map, columns gradient accuracies."""
    measured = cells(results.winners)
    if not measured:
        return None
    seeds = _most_seeds(measured)
    figure, panels = new_figure(2, height=1.6 + (0.27 if seeds == 1 else 0.34) * len(measured))
    norm = Normalize(-LIMIT, LIMIT)
    titles: tuple[tuple[Quantity, str], ...] = (("evaluations", "evaluations (with products)"), ("seconds", "time"))
    for axes, (quantity, title) in zip(panels, titles, strict=True):
        _panel(axes, measured, quantity, norm)
        axes.set_title(title)
    panels[0].set_yticks(range(len(measured)), [_name(cell) for cell in measured])
    panels[1].set_yticks(range(len(measured)), [""] * len(measured))
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=panels, shrink=0.8, ticks=[-4, -2, 0, 2, 4])
    bar.ax.set_yticklabels(["1/16", "1/4", "1", "4", "16"])
    bar.set_label("cost of Opt-Disc / cost of Disc-Opt")
    title = "Who wins: ratio of cost at equal gradient accuracy (above 1 Disc-Opt is cheaper)"
    if seeds > 1:
        over = f"{seeds} seeds" if len({len(cell.seeds) for cell in measured}) == 1 else f"up to {seeds} seeds"
        title += f"\nmedian over {over}, with the smallest and largest; framed where seeds disagree on who wins"
    headline(figure, title)
    return figure


def _panel(axes: Axes, measured: list[Cell], quantity: Quantity, norm: Normalize) -> None:
    colours = ScalarMappable(norm, COLOURS)
    for row, cell in enumerate(measured):
        for column, target in enumerate(TARGETS):
            _square(axes, (column, row), cell, target, quantity, colours)
        if row and measured[row - 1].axis != cell.axis:
            axes.axhline(row - 0.5, color="black", linewidth=1.0)
    axes.set_xlim(-0.5, len(TARGETS) - 0.5)
    axes.set_ylim(len(measured) - 0.5, -0.5)
    axes.set_xticks(range(len(TARGETS)), [f"{t:.0e}" for t in TARGETS])
    axes.set_xlabel("gradient error allowed")
    axes.tick_params(length=0)
    axes.grid(visible=False)


def _square(
    axes: Axes, at: tuple[int, int], cell: Cell, target: float, quantity: Quantity, colours: ScalarMappable
) -> None:
    """One cell of a heat map: the ratio on its colour, or in words on hatching why there is none."""
    corner = (at[0] - 0.5, at[1] - 0.5)
    middle = cell.ratio(target, quantity)
    if middle is None:
        text = (_missing(cell, target) or SCATTERED).replace(" (", "\n(").replace(", ", "\n")
        axes.add_patch(Rectangle(corner, 1, 1, facecolor="#eeeeee", edgecolor="#bbbbbb", hatch="//"))
        # a plain ground keeps the hatching out of the words
        ground = {"facecolor": "#eeeeee", "edgecolor": "none", "pad": 0.8}
        axes.annotate(text, at, ha="center", va="center", fontsize=5.5, color="black", bbox=ground)
        return
    level = math.log2(middle)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=colours.to_rgba(level), edgecolor="white"))  # type: ignore[arg-type]
    color = "white" if abs(level) > 0.7 * LIMIT else "black"
    if len(cell.seeds) == 1:
        axes.annotate(_short(middle), at, ha="center", va="center", fontsize=7, color=color)
        return
    ratios = cell.ratios(target, quantity)
    spread = f"{_short(min(ratios))} – {_short(max(ratios))}"
    axes.annotate(_short(middle), (at[0], at[1] - 0.14), ha="center", va="center", fontsize=7, color=color)
    axes.annotate(spread, (at[0], at[1] + 0.26), ha="center", va="center", fontsize=5, color=color)
    if cell.agreeing(target, quantity) < len(ratios):
        inside = (corner[0] + 0.04, corner[1] + 0.06)
        axes.add_patch(Rectangle(inside, 0.92, 0.88, fill=False, edgecolor="black", linewidth=0.8, linestyle=":"))


def _short(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


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
    headline(figure, f"Backward solve of Opt-Disc (one interval, rtol {rtol:.0e}, median over seeds)")
    legend_below(figure, panels[0])
    return figure
