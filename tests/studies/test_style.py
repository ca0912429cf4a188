"""Words in figures stand as they are, and have room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pynode.studies.style import headline, log_ticks, new_figure, styled

ROOT = Path(__file__).resolve().parents[2]
OWN = "pynode/studies/style.py"
"""The file of the headline itself, which sets the title of a figure."""


@styled
def titled(text: str, *, width: float = 7.2, size: float = 10) -> tuple[float, float]:
    """The size in inches of a headline as drawn, which no formula is in."""
    figure, _ = new_figure(1, width=width)
    headline(figure, text, size=size)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    (title,) = figure.texts
    assert title._preprocess_math(title.get_text())[1] is False  # type: ignore[attr-defined]
    extent = title.get_window_extent()
    return extent.width / figure.dpi, extent.height / figure.dpi


@pytest.mark.parametrize("text", ["prices in $ and in $US.csv", "$a$.csv: residuals", "costs $", r"a\$b"])
def test_a_dollar_begins_no_formula(text: str) -> None:
    assert titled(text)[0] > 0


@pytest.mark.parametrize("width", [2.4, 7.2])
def test_a_headline_has_room(width: float) -> None:
    one, several = titled("short", width=width), titled("a file with a name " * 8, width=width)
    assert several[0] < width
    assert several[1] > 1.8 * one[1]


@pytest.mark.parametrize("path", sorted((ROOT / "pynode/studies").rglob("*.py")), ids=lambda path: path.stem)
def test_every_title_is_a_headline(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() == OWN:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [call for call in calls if ast.unparse(call.func).endswith(".suptitle")] == []


@styled
def ticks(low: float, high: float) -> list[str]:
    """What stands at the ticks of a logarithmic axis that shows these values."""
    figure, (axes,) = new_figure(1)
    axes.plot([low, high], [0, 1])
    axes.set_xscale("log")
    log_ticks(axes.xaxis)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    left, right = axes.get_xlim()
    major = [t.label1.get_text() for t in axes.xaxis.get_major_ticks() if left <= t.get_loc() <= right]
    minor = [t.label1.get_text() for t in axes.xaxis.get_minor_ticks() if left <= t.get_loc() <= right]
    return [text for text in (*major, *minor) if text]


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (1.83, 2.02, ["1.85", "1.9", "1.95", "2"]),
        (3.4, 40.0, ["5", "10", "20"]),
        (0.02, 0.9, ["0.02", "0.05", "0.1", "0.2", "0.5"]),
    ],
)
def test_narrow_logarithmic_axes_have_plain_numbers(low: float, high: float, told: list[str]) -> None:
    """Not products such as 1.95 x 10^0, which write over each other."""
    assert set(told) <= set(ticks(low, high))
    assert all(float(text) > 0 for text in ticks(low, high))


def test_wide_logarithmic_axes_keep_powers_of_ten() -> None:
    assert all("10^" in text for text in ticks(1e-6, 1.0))


def test_an_axis_without_positive_values_is_left_alone() -> None:
    figure, (axes,) = new_figure(1)
    axes.plot([0.0, 0.0], [0, 1])
    log_ticks(axes.xaxis, axes.yaxis)
    assert figure.axes == [axes]
