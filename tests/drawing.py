"""A stand-in for the drawing of figures, which takes a second of CPU each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
def _figures(savefig: Callable[..., None], lay_out: Callable[..., None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        patch.setattr(ConstrainedLayoutEngine, "execute", lay_out)
        yield


def figures_not_drawn() -> AbstractContextManager[None]:
    """Figures are made, but a note stands for the drawing of each."""
    return _figures(leave_a_note, leave_as_it_is)


def figures_drawn() -> AbstractContextManager[None]:
    """Figures are drawn, also where `figures_not_drawn` is around this."""
    return _figures(DRAW, LAY_OUT)
