"""The style of all figures: colour-blind safe, legible in print, one colour for each method."""

from __future__ import annotations

import functools
import io
import itertools
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from pynode.records.files import write_atomically
from pynode.settings.known import compared, plain_methods, stands_for

# Okabe & Ito's palette, without yellow (too light on paper) and black (kept for truth and references)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
LONGEST_ENTRY = 32
"""Letters of an entry of a legend, of which three have room beside each other."""
DECADES, NARROW = 100, 4
"""Largest by smallest value of a logarithmic axis below which matplotlib's own ticks have no room, or are too few."""
LABEL_SIZE = 6.5
NAME_LENGTH = 24
"""Letters of a name in a label."""
LETTER = 0.58
"""Mean width of a letter, in font sizes."""
PLACES = tuple((right, up * line) for line in range(1, 7) for up in (1, -1) for right in (1, -1))
"""Where a label may stand: right or left of its point, and in which line above or below it, the nearest first."""

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
    given, twins = list(dict.fromkeys(names)), stands_for()
    known = [*compared(), *sorted(set(plain_methods()) - set(compared()), reverse=True)]
    order = [*known, *(n for n in given if n not in known and n not in twins)]
    style = {n: Look(PALETTE[k % 6], MARKERS[k % 6], DASHES[k % 6]) for k, n in enumerate(order)}
    for name in (n for n in given if n in twins):  # in the colour of the method that does the same elsewhere
        k = known.index(twins[name])
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


def plain(text: str) -> str:
    """A user's words (a column, a trajectory, a file) for matplotlib, which else reads what stands between two `$` as a
    formula."""
    return text.replace("$", r"\$")


def short_name(name: str) -> str:
    """A user's name for matplotlib, with its end left out where it is long."""
    return plain(name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…")


def headline(figure: Figure, text: str, *, size: float = 10) -> None:
    """The title above all panels, `text` as it is (see `plain`), in more lines where one has no room."""
    longest = int(72 * figure.get_figwidth() / (LETTER * size))
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, longest) or [""]]
    figure.suptitle(plain("\n".join(lines)), fontsize=size)


def legend_below(figure: Figure, axes: Axes, *, columns: int = 4) -> None:
    """One legend under all panels, with the entries of `axes`."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if max(map(len, unique), default=0) > LONGEST_ENTRY:
        columns = min(columns, 2)
    figure.legend(list(unique.values()), list(unique), loc="outside lower center", ncols=min(columns, len(unique)))


def log_ticks(*axes: Axis) -> None:
    """Numbers at ticks of logarithmic axes that show less than two decades; to be called when all is drawn.

    At 1, 2 and 5 of each decade, or at round numbers where even these are too few.  Matplotlib would write products
    such as 1.95 x 10^0 there, which have no room beside each other.
    """
    for axis in axes:
        low, high = axis.get_data_interval()
        low = low if low > 0 else axis.get_minpos()
        if not 0 < high < DECADES * low:
            continue
        is_narrow = high < NARROW * low
        axis.set_major_locator(MaxNLocator(5) if is_narrow else LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
        if is_narrow:
            axis.set_minor_locator(NullLocator())


@dataclass(frozen=True)
class Label:
    """A word beside a point, in coordinates of the data."""

    text: str
    at: tuple[float, float]
    color: str


def label_points(figure: Figure, axes: Axes, labels: Iterable[Label]) -> None:
    """Writes labels beside their points, each at the nearest place where it covers least of lines and other labels.

    Places are the four corners of a point, then those above and below them; a thin line leads from the point to a label
    that is farther away.  To be called when all lines of the figure are drawn and the scales are set.
    """
    figure.draw_without_rendering()  # so that the panels have their sizes
    points = figure.dpi / 72
    taken = [spot for line in axes.get_lines() for spot in _spots(axes.transData.transform(line.get_xydata()))]
    frame = axes.get_window_extent()
    boxes: list[Bbox] = []
    for label in labels:
        x, y = axes.transData.transform(label.at)
        width, height = 0.6 * LABEL_SIZE * len(label.text) * points, LABEL_SIZE * points

        def box(place: tuple[int, int]) -> Bbox:
            right, up = (points * shift for shift in _shift(place))
            left = x + right if right > 0 else x + right - width  # noqa: B023 (called at once)
            low = y + up if up > 0 else y + up - height  # noqa: B023
            return Bbox.from_bounds(left, low, width, height)  # noqa: B023

        def cost(place: tuple[int, int]) -> tuple[int, int, int]:
            inside = box(place)
            outside = not (frame.x0 <= inside.x0 and inside.x1 <= frame.x1 + width)  # noqa: B023
            outside |= not (frame.y0 <= inside.y0 and inside.y1 <= frame.y1)
            covered = sum(inside.overlaps(other) for other in boxes)
            crossed = sum(inside.x0 < a < inside.x1 and inside.y0 < b < inside.y1 for a, b in taken)
            return covered, 3 * outside + crossed + abs(place[1]) - 1, abs(place[1])

        place = min(PLACES, key=cost)
        boxes.append(box(place))
        far = abs(place[1]) > 1
        axes.annotate(
            label.text,
            label.at,
            fontsize=LABEL_SIZE,
            color=label.color,
            xytext=_shift(place),
            textcoords="offset points",
            ha="left" if place[0] > 0 else "right",
            va="bottom" if place[1] > 0 else "top",
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": label.color, "shrinkA": 0} if far else None,
        )


def _shift(place: tuple[int, int]) -> tuple[float, float]:
    """The offset in points of a label at a place: to the right or left, and in so many lines above or below."""
    right, line = place
    return 3 * right, (1 if line > 0 else -1) * (2 + (abs(line) - 1) * (LABEL_SIZE + 1))


def _spots(corners: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points along a line through `corners`."""
    listed = [(float(x), float(y)) for x, y in corners]
    parts = [k / 8 for k in range(8)]
    pairs = itertools.pairwise(listed)
    return [(x + t * (u - x), y + t * (v - y)) for (x, y), (u, v) in pairs for t in parts] + listed[-1:]


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """A drawing function that runs under the settings of this module and leaves matplotlib's own settings alone."""

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return inside


@styled
def fix_layout(figure: Figure) -> None:
    """Lays `figure` out once, for all formats that it is written in: solving for the layout takes half of the time."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


@styled
def save(figure: Figure, directory: Path, name: str) -> list[Path]:
    """Writes `name`.png (200 dpi) and `name`.pdf, atomically; without a date, so that equal figures are equal files."""
    fix_layout(figure)
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
