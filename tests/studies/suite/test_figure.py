"""The bars of the suite: what is saved in per cent, and the range over seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pynode.studies.suite.study import KINDS, Group, draw_suite

KEYS = [key for key, _ in KINDS]


def group(name: str, *by_seed: tuple[float | None, float | None, float | None]) -> Group:
    """A comparison whose reductions are those of its first seed."""
    seeds: list[dict[str, Any]] = [dict(zip(KEYS, one, strict=True)) for one in by_seed]
    return Group((name, "eager"), {**seeds[0], "seeds": seeds})


def test_kinds_of_reductions() -> None:
    assert KEYS == ["time_reduction", "nfe_reduction", "evaluation_reduction"]


def test_bars_have_the_length_of_the_reductions_and_lines_their_range() -> None:
    figure = draw_suite(
        [
            group("a", (0.5, 0.25, None), (0.75, 0.125, None)),
            group("unknown", (None, 0.5, 0.5)),
            group("b", (-0.5, 0.25, 0.125)),
        ]
    )
    assert figure is not None
    (axes,) = figure.axes
    bars: list[Any] = list(axes.patches)
    assert [bar.get_width() for bar in bars] == [50.0, -50.0, 25.0, 25.0, 12.5]
    assert [bar.get_y() + bar.get_height() / 2 for bar in bars] == pytest.approx([-0.27, 0.73, 0.0, 1.0, 1.27])
    ranges = [np.asarray(line.get_xdata(), float).tolist() for line in axes.get_lines()]
    assert ranges[:5] == [[50.0, 75.0], [-50.0, -50.0], [12.5, 25.0], [25.0, 25.0], [12.5, 12.5]]
    labels: list[Any] = list(axes.texts)
    assert [(label.get_text(), float(label.xy[0]), label.get_ha()) for label in labels] == [
        ("50", 75.0, "left"),
        ("-50", -50.0, "right"),
        ("25", 25.0, "left"),
        ("25", 25.0, "left"),
        ("–", 0.0, "left"),  # not known, which is no reduction of 0 %
        ("12", 12.5, "left"),
    ]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a, eager", "b, eager"]
    assert axes.get_xlim() == pytest.approx((-62, 112))
    assert axes.get_ylim() == (1.5, -0.5), "the first comparison is on top"
    assert figure.get_size_inches().tolist() == pytest.approx([7.2, 2.2])


def test_ranges_and_numbers_below_zero_are_inside_the_axis() -> None:
    """Whatever the sign of the median: a number outside of the axis would not be drawn."""
    figure = draw_suite([group("a", (-0.25, 0.5, 0.5), (-2.0, -0.75, 0.5), (0.875, 0.5, 0.5))])
    assert figure is not None
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    ranges = [np.asarray(line.get_xdata(), float).tolist() for line in axes.get_lines()]
    assert ranges[:3] == [[-200.0, 87.5], [-75.0, 50.0], [50.0, 50.0]]
    labels: list[Any] = list(axes.texts)
    assert [(label.get_text(), float(label.xy[0])) for label in labels] == [("-25", -200.0), ("50", 50.0), ("50", 50.0)]
    assert low < -200.0 - 0.05 * (high - low), "room for a number"


def test_without_losses_the_axis_begins_at_zero() -> None:
    tall = draw_suite([group(str(k), (0.5, 0.25, 0.125)) for k in range(4)])
    assert tall is not None
    assert tall.axes[0].get_xlim() == (0.0, 108.0)
    assert tall.get_size_inches()[1] == pytest.approx(3.2)
    assert draw_suite([group("x", (None, 0.5, 0.5))]) is None
    assert draw_suite([]) is None
