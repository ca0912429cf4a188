"""Words in figures stand as they are, and have room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pynode.studies.style import headline, new_figure, styled

ROOT = Path(__file__).resolve().parents[2]
FREE = ("pynode/studies/style.py", "pynode/studies/advice/figure.py")
"""Files that may write a title by themselves: the headline's own, and one whose title is a problem's name alone."""


@styled
def titled(text: str, *, width: float = 7.2, size: float = 10) -> tuple[float, float]:
    """The size in inches of a headline as drawn, which no formula is in."""
    figure, _ = new_figure(1, width=width)
    headline(figure, text, size=size)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    assert figure._suptitle is not None
    assert figure._suptitle._preprocess_math(figure._suptitle.get_text())[1] is False
    extent = figure._suptitle.get_window_extent()
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
    if path.relative_to(ROOT).as_posix() in FREE:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [call for call in calls if ast.unparse(call.func).endswith(".suptitle")] == []
