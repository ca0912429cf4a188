"""The style of all figures: colour-blind safe, legible in print, one colour for each method."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pynode.records.files import write_atomically

# Okabe & Ito's palette, without yellow (too light on paper) and black (kept for truth and references)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
KNOWN = ("disc-opt", "opt-disc", "opt-disc-fixed", "ad-adaptive")
TWINS = {"disc-opt-julia": "disc-opt", "opt-disc-julia": "opt-disc"}
"""Methods that share the colour of another one, which does the same on another backend."""

P = ParamSpec("P")
T = TypeVar("T")

RC: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType, so that text stays text
    "svg.hashsalt": "pynode",
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and dashes of one method or one family of methods."""

    color: str
    marker: str
    dashes: Any

    def line(self) -> dict[str, Any]:
        """Arguments of a line without markers."""
        return {"color": self.color, "linestyle": self.dashes}

    def points(self) -> dict[str, Any]:
        """Arguments of a line with markers."""
        return {"color": self.color, "linestyle": self.dashes, "marker": self.marker}


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name: fixed for the known methods, the next free one for others, in the order of `names`."""
    given = list(dict.fromkeys(names))
    order = [*KNOWN, *(n for n in given if n not in KNOWN and n not in TWINS)]
    style = {n: Look(PALETTE[k % 6], MARKERS[k % 6], DASHES[k % 6]) for k, n in enumerate(order)}
    for name in (n for n in given if n in TWINS):
        k = KNOWN.index(TWINS[name])
        style[name] = Look(PALETTE[k], MARKERS[k + 3], DASHES[k + 3])
    return style


def family_look(method: str, rank: int, all_methods: Iterable[str]) -> Look:
    """The look of the `rank`-th family of a method: its colour, other dashes and marker."""
    base = looks(all_methods)[method]
    if rank == 0:
        return base
    return Look(
        base.color, MARKERS[(MARKERS.index(base.marker) + 3 * rank) % 6], DASHES[(DASHES.index(base.dashes) + rank) % 6]
    )


def new_figure(columns: int, *, rows: int = 1, width: float = 7.2, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` panels, sizes in inches; not registered with pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [panel for row in axes for panel in row]


def legend_below(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """One legend under all panels, with the entries of `axes`."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(list(unique.values()), list(unique), loc="outside lower center", ncols=min(columns, len(unique)))


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """A drawing function that runs under the settings of this module and leaves matplotlib's own settings alone."""

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return inside


@styled
def save(figure: Figure, directory: Path, name: str) -> list[Path]:
    """Writes `name`.png (200 dpi) and `name`.pdf, atomically; without a date, so that equal figures are equal files."""
    paths = []
    formats: tuple[tuple[str, dict[str, Any]], ...] = (
        (".png", {"dpi": 200}),
        (".pdf", {"metadata": {"CreationDate": None}}),
    )
    for suffix, options in formats:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], **options)
        path = directory / f"{name}{suffix}"
        write_atomically(path, buffer.getvalue())
        paths.append(path)
    return paths
