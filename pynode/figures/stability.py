"""Errors of Opt-Disc's backward solve over the horizon, by architecture."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from matplotlib.figure import Figure

from pynode.figures.style import legend_below, looks, new_figure, styled
from pynode.records.results import Results
from pynode.records.winners import StabilityRecord

CUT = 1e3
"""Errors beyond leave the panel: all are useless, and the largest would flatten the rest."""

RATIO = "NFE-B / NFE-F"


@styled
def draw(results: Results) -> Figure | None:
    """Three panels over the horizon: gradient error, error of the state re-solved backwards, NFE-B / NFE-F."""
    found = results.stability
    if not found:
        return None
    figure, panels = new_figure(3, height=3.2)
    names = list(dict.fromkeys(r.architecture for r in found))
    style = looks(names)
    picks: tuple[tuple[str, Callable[[StabilityRecord], float | None]], ...] = (
        ("gradient error", lambda r: r.gradient_error),
        ("error of y(0) re-solved", lambda r: r.reconstruction_error),
        (RATIO, lambda r: r.backward_ratio),
    )
    for axes, (label, pick) in zip(panels, picks, strict=True):
        smallest = CUT
        for name in names:
            horizons = sorted({r.horizon for r in found if r.architecture == name})
            values = [_median(found, name, horizon, pick) for horizon in horizons]
            kept = [(h, v) for h, v in zip(horizons, values, strict=True) if v is not None]
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
    rtol = found[0].rtol
    figure.suptitle(f"Backward solve of Opt-Disc (one interval, rtol {rtol:.0e}, median over seeds)", fontsize=10)
    legend_below(figure, panels[0])
    return figure


def _median(
    records: list[StabilityRecord], name: str, horizon: float, pick: Callable[[StabilityRecord], float | None]
) -> float | None:
    """None where one of the seeds has no value: its solve failed."""
    values = [pick(r) for r in records if r.architecture == name and r.horizon == horizon]
    known = [v for v in values if v is not None]
    return median(known) if known and len(known) == len(values) else None
