"""The figure of RQ4 by training steps: inverse error and likelihood, as trained and by dopri5."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from pynode.studies.invertibility.by_training import (
    DIRECTIONS,
    USES,
    Pick,
    Training,
    by_steps,
    records_of,
    trainings,
)
from pynode.studies.invertibility.record import Use
from pynode.studies.results import Results
from pynode.studies.style import PALETTE, headline, legend_below, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: dict[Use, str] = {"training": PALETTE[0], "evaluation": PALETTE[2], "mixed": PALETTE[3]}
MARKERS: dict[Use, str] = {"training": "o", "evaluation": "^", "mixed": "D"}
DASHES = {"from data": "-", "from base": "--"}
"""Lines of round trips by where they begin and end."""

REFERENCE = PALETTE[1]


@styled
def draw_training_steps(results: Results) -> Figure | None:
    """Inverse error (left) and NLL (right) over training steps, a row for each method and scheme with two counts."""
    each = trainings(results.rediscretised)
    families = {key: family for key, family in by_steps(each).items() if len(family) > 1}
    if not families:
        return None
    reference = [training for training in each if training.steps is None]
    figure, panels = new_figure(2, rows=len(families), height=3.1 * len(families) + 0.6)
    for row, ((method, scheme), family) in enumerate(families.items()):
        errors, likelihood = panels[2 * row : 2 * row + 2]
        _draw_errors(errors, family, reference)
        _draw_likelihood(likelihood, family, reference)
        errors.set_title(f"round trips ({method}, {scheme})")
        likelihood.set_title("likelihood of test samples")
        counts = [training.steps for training in family if training.steps is not None]
        for axes in (errors, likelihood):
            axes.set_xscale("log")
            axes.set_xticks(counts, [str(count) for count in counts])
            axes.set_xticks([], minor=True)
            axes.set_xlabel("training steps per block")
    headline(figure, f"{results.title}: flows trained with few steps, as trained and re-discretised")
    legend_below(figure, panels[0], columns=2)
    return figure


def _draw_errors(axes: Axes, family: Sequence[Training], reference: Sequence[Training]) -> None:
    for use, name in USES.items():
        for direction, (pick, _) in DIRECTIONS.items():
            look = {"color": COLOURS[use], "marker": MARKERS[use], "linestyle": DASHES[direction]}
            _curve(axes, family, use, pick, label=f"{name} ({direction})", **look)
    axes.set_yscale("log")
    for bound in sorted({record.bound for record in records_of([family])}):
        axes.axhline(bound, color="black", linewidth=0.8, linestyle=":", label=f"bound {bound:g}")
    _reference(axes, reference, lambda r: r.inverse)
    axes.set_ylabel("inverse error (mean 2-norm)")


def _draw_likelihood(axes: Axes, family: Sequence[Training], reference: Sequence[Training]) -> None:
    for use in ("training", "evaluation"):
        _curve(axes, family, use, lambda r: r.nll, color=COLOURS[use], marker=MARKERS[use], label=USES[use])
    _reference(axes, reference, lambda r: r.nll)
    axes.set_ylabel("NLL (nats)")
    axes.ticklabel_format(axis="y", useOffset=False)


def _reference(axes: Axes, reference: Sequence[Training], pick: Pick) -> None:
    """A level for each flow that was trained adaptively, used by dopri5."""
    for training in reference:
        if values := training.values("evaluation", pick):
            axes.axhline(
                median(values), color=REFERENCE, linewidth=1.2, linestyle="-.", label=f"{training.name}, by dopri5"
            )


def _curve(axes: Axes, family: Sequence[Training], use: Use, pick: Pick, **look: Any) -> None:
    """Medians over seeds, and their range as a band; counts whose value is missing for some seed are left out."""
    known = [(t.steps, values) for t in family if t.steps is not None and (values := t.values(use, pick)) is not None]
    if not known:
        return
    steps = [count for count, _ in known]
    axes.plot(steps, [median(values) for _, values in known], **look)
    if any(len(values) > 1 for _, values in known):
        low, high = [min(values) for _, values in known], [max(values) for _, values in known]
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
