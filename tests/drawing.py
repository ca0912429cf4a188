"""A stand-in for the drawing of figures, which takes a second of CPU each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

DRAW, LAY_OUT = Figure.savefig, ConstrainedLayoutEngine.execute
"""Matplotlib's own."""


def leave_as_it_is(_: ConstrainedLayoutEngine, figure: Figure) -> None:
    """Lays nothing out, which takes as long as drawing."""


def leave_a_note(_: Figure, target: Any, **options: object) -> None:
    """Writes a line instead of a drawing, as an SVG file with a text where this is asked for."""
    if options["format"] == "svg":
        target.write(b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><text>not drawn</text></svg>')
        return
    target.write(f"a figure that no test looks at, as {options['format']}\n".encode())


@contextmanager
def figures_not_drawn() -> Iterator[None]:
    """Figures are made, but a note stands for the drawing of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", leave_a_note)
        patch.setattr(ConstrainedLayoutEngine, "execute", leave_as_it_is)
        yield


@contextmanager
def figures_drawn() -> Iterator[None]:
    """Figures are drawn, also where `figures_not_drawn` is around this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", DRAW)
        patch.setattr(ConstrainedLayoutEngine, "execute", LAY_OUT)
        yield
