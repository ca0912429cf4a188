"""Figures as SVG inside an HTML page.

Matplotlib writes SVG files for themselves: with style attributes, which a strict content security policy blocks, with
ids that repeat from file to file, and with metadata.  Here they are written again with what a page needs: the elements
and attributes listed below, text as text, ids with a prefix, coordinates to a hundredth of a point.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.artist import Artist
from matplotlib.collections import Collection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from pynode.studies.style import RC, fix_layout

MOST_MARKS, MOST_CORNERS = 600, 4_000
"""Marks of a scatter plot, and corners of a line, that are still drawn as vectors."""

MOST_IN_ALL, FEW_MARKS = 2_000, 50
"""Marks of all plots of a figure beyond which only plots of so few marks are drawn as vectors."""

IMAGE_DPI = 160
"""Resolution of what has more of them."""

ENLARGED = 1.6
"""CSS pixels of a point of the figure: letters of 9 points are as large as those of the page."""

ELEMENTS = ("svg", "g", "defs", "clipPath", "path", "rect", "use", "text", "tspan", "image", "pattern")

ATTRIBUTES = (
    "id", "viewBox", "transform", "d", "x", "y", "width", "height", "href", "clip-path", "patternUnits",
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linecap",
    "stroke-linejoin", "stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit", "opacity", "text-anchor",
    "font-size", "font-style", "font-weight", "image-rendering",
)  # fmt: skip

CUT = "<>"
"""Stands where an id gets its prefix: all text is escaped, so it stands nowhere else."""

_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LONG = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"(?:(?P<style>italic|oblique) )?(?:(?P<weight>bold|\d{3}) )?(?P<size>[\d.]+px) ")


@dataclass(frozen=True)
class Drawing:
    """An `<svg>` element, cut where an id gets its prefix; a map shows values by colours, which must stay."""

    pieces: tuple[str, ...]
    is_map: bool = False

    def markup(self, prefix: str) -> Markup:
        """The element, with ids that begin with `prefix`."""
        return Markup(str(escape(prefix)).join(self.pieces))


def inline_svg(figure: Figure, label: str) -> Drawing:
    """`figure` as an `<svg>` element; `label` is what a screen reader says of it."""
    fix_layout(figure)
    buffer = io.BytesIO()
    with mpl.rc_context({**RC, "svg.fonttype": "none"}), _crowds_as_images(figure):
        figure.savefig(buffer, format="svg", dpi=IMAGE_DPI, transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(_NO_XML.sub("\ufffd", buffer.getvalue().decode()))
    is_map = any(isinstance(artist, (AxesImage, QuadMesh)) for axes in figure.axes for artist in axes.get_children())
    return Drawing(tuple("".join(_Writer(root).written(label)).split(CUT)), is_map)


@contextmanager
def _crowds_as_images(figure: Figure) -> Iterator[None]:
    """Draws what has thousands of marks as an image, which is a tenth of the size; axes and text stay vectors."""
    artists = [artist for axes in figure.axes for artist in axes.get_children()]
    is_full = sum(map(_marks, artists)) > MOST_IN_ALL
    crowds = [artist for artist in artists if _is_crowd(artist, FEW_MARKS if is_full else MOST_MARKS)]
    for artist in crowds:
        artist.set_rasterized(True)
    try:
        yield
    finally:
        for artist in crowds:
            artist.set_rasterized(False)


def _is_crowd(artist: Artist, most: int) -> bool:
    """Whether an artist has more than `most` marks, or corners that a line can't have as a vector."""
    if artist.get_rasterized():
        return False
    corners = np.size(artist.get_xdata(orig=False)) if isinstance(artist, Line2D) else 0
    return _marks(artist) > most or corners > MOST_CORNERS


def _marks(artist: Artist) -> int:
    """The number of marks that an artist consists of."""
    if isinstance(artist, Line2D):
        return np.size(artist.get_xdata(orig=False)) if artist.get_marker() not in ("None", None, "", " ") else 0
    if isinstance(artist, QuadMesh):
        array = artist.get_array()
        return 0 if array is None else int(array.size)
    if isinstance(artist, Collection):
        return max(np.shape(artist.get_offsets())[0], len(artist.get_paths()))
    return 0


class _Writer:
    """Writes an SVG document of matplotlib's again, for a page."""

    def __init__(self, root: ElementTree.Element) -> None:
        self.root = root
        targets = [name for element in root.iter() for name in _references(element)]
        self.numbers = {name: k for k, name in enumerate(dict.fromkeys(targets))}

    def written(self, label: str) -> Iterator[str]:
        """The pieces of the `<svg>` element."""
        box = self.root.get("viewBox", "0 0 1 1")
        width, height = (round(ENLARGED * float(side)) for side in box.split()[2:])
        yield Markup(
            '<svg viewBox="{}" width="{}" height="{}" role="img" aria-label="{}" '
            'stroke-linejoin="round" stroke-linecap="butt">'
        ).format(box, width, height, label)
        for child in self.root:
            yield from self._element(child)
        yield "</svg>"

    def _element(self, element: ElementTree.Element) -> Iterator[str]:
        name = _local(element.tag)
        if name not in ELEMENTS:
            return
        text = element.text if name in ("text", "tspan") and element.text else ""
        inside: list[str] = [escape(text)] if text.strip() else []
        for child in element:
            inside += self._element(child)
        attributes = "".join(self._attributes(element))
        if not inside and name in ("g", "defs", "text", "tspan"):
            return
        if name == "g" and not attributes:
            yield from inside
            return
        yield f"<{name}{attributes}>" if inside else f"<{name}{attributes}/>"
        if inside:
            yield from inside
            yield f"</{name}>"

    def _attributes(self, element: ElementTree.Element) -> Iterator[str]:
        own = {_local(name): value for name, value in element.attrib.items() if _local(name) != "style"}
        for name, value in {**own, **_declarations(element.get("style", ""))}.items():
            kept = self._value(name, value)
            if name in ATTRIBUTES and kept is not None:
                yield f' {name}="{CUT.join(map(escape, kept.split(CUT)))}"'

    def _value(self, name: str, value: str) -> str | None:
        """The value of an attribute in the page; None where it is left out."""
        if name == "id":
            return self._id(value) if value in self.numbers else None
        if name == "href":
            if value.startswith("#"):
                return f"#{self._id(value[1:])}"
            return "".join(value.split()) if value.startswith("data:image/png;base64,") else None
        if name in ("d", "x", "y", "stroke-dasharray", "stroke-width"):
            return " ".join(_LONG.sub(_shorter, value).split())
        return _REFERENCE.sub(lambda match: f"url(#{self._id(match[1])})", value)

    def _id(self, name: str) -> str:
        return f"{CUT}-{self.numbers[name]}"


def _local(name: str) -> str:
    """The name of an element or attribute without its namespace."""
    return name.rpartition("}")[2]


def _references(element: ElementTree.Element) -> Iterator[str]:
    """The ids that an element refers to."""
    for name, value in element.attrib.items():
        if _local(name) == "href" and value.startswith("#"):
            yield value[1:]
        yield from _REFERENCE.findall(value)


def _declarations(style: str) -> dict[str, str]:
    """The declarations of a style attribute as attributes; fonts lose their family, which the page gives."""
    pairs = [part.split(":", 1) for part in style.split(";") if ":" in part]
    declared = {name.strip(): value.strip() for name, value in pairs}
    if match := _FONT.match(declared.pop("font", "")):
        fonts = {f"font-{part}": value for part, value in match.groupdict().items() if value is not None}
        declared.update(fonts)
    return declared


def _shorter(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".") or "0"
