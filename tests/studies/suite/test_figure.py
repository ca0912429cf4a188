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


def test_bars_have_the_height_of_the_reductions_and_lines_their_range() -> None:
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
    assert [bar.get_height() for bar in bars] == [50.0, -50.0, 25.0, 25.0, 12.5]
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx([-0.27, 0.73, 0.0, 1.0, 1.27])
    ranges = [np.asarray(line.get_ydata(), float).tolist() for line in axes.get_lines()]
    assert ranges[:5] == [[50.0, 75.0], [-50.0, -50.0], [12.5, 25.0], [25.0, 25.0], [12.5, 12.5]]
    labels: list[Any] = list(axes.texts)
    assert [(label.get_text(), float(label.xy[1]), label.get_va()) for label in labels] == [
        ("50", 75.0, "bottom"),
        ("-50", -50.0, "top"),
        ("25", 25.0, "bottom"),
        ("25", 25.0, "bottom"),
        ("–", 0.0, "bottom"),  # not known, which is no reduction of 0 %
        ("12", 12.5, "bottom"),
    ]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a\neager", "b\neager"]
    assert axes.get_ylim() == pytest.approx((-62, 112))
    assert figure.get_size_inches().tolist() == pytest.approx([4.0, 3.4])


def test_ranges_and_numbers_below_zero_are_inside_the_axis() -> None:
    """Whatever the sign of the median: a number outside of the axis would not be drawn."""
    figure = draw_suite([group("a", (-0.25, 0.5, 0.5), (-2.0, -0.75, 0.5), (0.875, 0.5, 0.5))])
    assert figure is not None
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    ranges = [np.asarray(line.get_ydata(), float).tolist() for line in axes.get_lines()]
    assert ranges[:3] == [[-200.0, 87.5], [-75.0, 50.0], [50.0, 50.0]]
    labels: list[Any] = list(axes.texts)
    assert [(label.get_text(), float(label.xy[1])) for label in labels] == [("-25", -200.0), ("50", 50.0), ("50", 50.0)]
    assert low < -200.0 - 0.05 * (high - low), "room for a number"


def test_without_losses_the_axis_begins_at_zero() -> None:
    wide = draw_suite([group(str(k), (0.5, 0.25, 0.125)) for k in range(4)])
    assert wide is not None
    assert wide.axes[0].get_ylim() == (0.0, 108.0)
    assert wide.get_size_inches()[0] == pytest.approx(5.9)
    assert draw_suite([group("x", (None, 0.5, 0.5))]) is None
    assert draw_suite([]) is None
