"""The Taylor test: zeroth and first-order remainders against the size of the step."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pynode.figures.style import legend_below, looks, new_figure, styled
from pynode.records.results import Results


@styled
def draw(results: Results) -> Figure | None:
    """One panel a method: E0, E1, lines of slope 1 and 2, and the sizes to which the slopes were fitted."""
    tests = results.taylor
    if not tests:
        return None
    figure, panels = new_figure(len(tests), width=max(3.6, 2.4 * len(tests)), height=3.2)
    style = looks(t.method for t in tests)
    smallest = min((e for t in tests for e in t.e1 if e), default=1e-16)
    for axes, test in zip(panels, tests, strict=True):
        color = style[test.method].color
        for values, marker, name in ((test.e0, "o", "$E_0$"), (test.e1, "s", "$E_1$")):
            kept = [(h, e) for h, e in zip(test.h, values, strict=True) if e]
            filled = color if name == "$E_1$" else "white"
            axes.plot(
                [h for h, _ in kept],
                [e for _, e in kept],
                marker=marker,
                markersize=3.5,
                linewidth=0.8,
                color=color,
                markerfacecolor=filled,
                label=name,
            )
        _references(axes, test.h, test.e0, test.e1)
        first, last = test.fitted
        if last > first:
            axes.axvspan(test.h[last - 1] / 1.3, test.h[first] * 1.3, color="#eeeeee", zorder=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(bottom=smallest / 5)
        axes.set_xlabel("relative step h")
        slope = "–" if test.slope_e1 is None else f"{test.slope_e1:.2f}"
        axes.set_title(f"{test.method}\nslope of $E_1$: {slope}")
    panels[0].set_ylabel("remainder of the loss")
    figure.suptitle(f"{results.problem}: Taylor test of the gradient (slopes fitted where shaded)", fontsize=10)
    legend_below(figure, panels[0])
    return figure


def _references(axes: Axes, h: list[float], e0: list[float | None], e1: list[float | None]) -> None:
    """Thin black lines of slope 1 and 2, a little below the remainders at the third size or the next that is known."""
    for values, slope, dashes in ((e0, 1, "--"), (e1, 2, ":")):
        at, start = next(((k, v) for k, v in enumerate(values) if k >= 2 and v), (0, None))
        if start is not None:
            line = [0.4 * start * (x / h[at]) ** slope for x in h]
            axes.plot(h, line, color="black", linewidth=0.7, linestyle=dashes, label=f"slope {slope}")
