"""The figure of errors over accuracies (RQ2): over steps per interval for fixed steps, over tolerances for adaptive."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pynode.studies.gradients.record import UNTRAINED, GradientErrorRecord
from pynode.studies.results import Results
from pynode.studies.style import LONGEST_ENTRY, Look, family_look, headline, new_figure, styled

ROW = 2.7
"""Height of a row of panels, in inches."""


def by_weights(records: list[GradientErrorRecord]) -> dict[str, list[GradientErrorRecord]]:
    """Records by the weights that they were measured at, in the order of the records."""
    parts: dict[str, list[GradientErrorRecord]] = {}
    for record in records:
        parts.setdefault(record.weights, []).append(record)
    return parts


def at_weights(weights: str) -> str:
    """The weights of a record in words; empty where they are not recorded."""
    if weights in ("", UNTRAINED):
        return weights and "untrained weights"
    return f"trained by {weights}"


def family_looks(results: Results, records: list[GradientErrorRecord]) -> dict[str, Look]:
    """A look for each family of `records`: the colour of its method."""
    methods = list(dict.fromkeys(r.method for r in records))
    families = {results.family_of(r): r.method for r in records}
    ranks = {name: [f for f, m in families.items() if m == method].index(name) for name, method in families.items()}
    return {name: family_look(method, ranks[name], methods) for name, method in families.items()}


@styled
def draw_accuracy(results: Results) -> Figure | None:
    """A row for each set of weights: left fixed steps, whose open marks are errors against the own loss; right
    adaptive methods over rtol.
    """
    records = [r for r in results.errors if r.error]
    fixed, adaptive = ([r for r in records if r.adaptive is kind] for kind in (False, True))
    if not fixed or not adaptive:
        return None
    parts = by_weights(records)
    figure, panels = new_figure(2, rows=len(parts), height=1.3 + ROW * len(parts))
    looks = family_looks(results, records)
    for row, (weights, part) in enumerate(parts.items()):
        left, right = panels[2 * row : 2 * row + 2]
        _draw(results, left, [r for r in part if not r.adaptive], looks)
        _draw(results, right, [r for r in part if r.adaptive], looks)
        left.set_xlabel("steps per output interval")
        right.set_xlabel("rtol (atol a hundredth)")
        left.set_ylabel("relative error of the gradient")
        for axes in (left, right):
            axes.axhline(
                max(r.reference_uncertainty for r in part),
                color="black",
                linewidth=0.8,
                linestyle=":",
                label="reference uncertainty",
            )
            axes.set_xscale("log")
            axes.set_yscale("log")
        steps = sorted({r.setting for r in part if not r.adaptive})
        left.set_xticks(steps, [f"{n:g}" for n in steps])
        left.xaxis.set_minor_formatter(NullFormatter())
        right.invert_xaxis()
        low, high = zip(*(axes.get_ylim() for axes in (left, right)), strict=True)
        for axes in (left, right):
            axes.set_ylim(min(low), max(high))
        where = at_weights(weights)
        left.set_title(f"fixed steps\n{where}" if where else "fixed steps", fontsize=8.5)
        right.set_title(f"adaptive steps\n{where}" if where else "adaptive steps", fontsize=8.5)
    headline(
        figure,
        f"{results.title}: gradient error\nfilled against the continuous problem's gradient, open against that of the "
        "loss as computed",
        size=9,
    )
    _shared_legend(figure, panels)
    return figure


def _draw(results: Results, axes: Axes, records: list[GradientErrorRecord], looks: dict[str, Look]) -> None:
    families: dict[str, list[GradientErrorRecord]] = {}
    for record in records:
        families.setdefault(results.family_of(record), []).append(record)
    for name, curve in families.items():
        points = sorted((r.setting, r.error or 0.0, r.error_discrete) for r in curve)
        axes.plot([x for x, _, _ in points], [e for _, e, _ in points], label=name, **looks[name].points())
        own = [(x, e) for x, _, e in points if e]
        if own:
            open_marks = looks[name].points() | {"linestyle": ":", "markerfacecolor": "white", "linewidth": 0.8}
            axes.plot([x for x, _ in own], [e for _, e in own], **open_marks)


def _shared_legend(figure: Figure, panels: list[Axes]) -> None:
    """One legend with the entries of all panels, of which each shows some of the methods."""
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = 2 if max(map(len, handles), default=0) > LONGEST_ENTRY else 3
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)
