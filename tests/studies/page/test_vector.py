"""Figures as SVG inside a page: what of matplotlib's file stays, and that nothing of a label is markup."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from pynode.studies.page.vector import ATTRIBUTES, ELEMENTS, MOST_CORNERS, MOST_MARKS, inline_svg
from pynode.studies.style import new_figure
from tests.studies.page.parsed import parse

pytestmark = pytest.mark.usefixtures("drawn_figures")

HOSTILE = '</text><script>alert("1")</script>&<img src=x onerror=alert(1)>'


def figure_with(label: str = "a line", marks: int = 5) -> Figure:
    figure, (axes, other) = new_figure(2)
    axes.plot(range(marks), range(marks), "o", label=label)
    axes.set_title(label)
    axes.set_xscale("log")
    axes.set_xlabel("$x_1$ in $10^{-3}$")
    other.scatter(np.arange(marks), np.arange(marks), c=np.arange(marks))
    other.legend(*axes.get_legend_handles_labels())
    return figure


def test_only_known_elements_and_attributes() -> None:
    page = parse(inline_svg(figure_with(), "what it shows").markup("one"))
    assert {name for name, _ in page.elements} <= set(ELEMENTS)
    written = {attribute for _, attributes in page.elements for attribute in attributes}
    assert written <= {name.lower() for name in (*ATTRIBUTES, "role", "aria-label")}
    first = page.elements[0][1]
    assert (first["role"], first["aria-label"]) == ("img", "what it shows")


def test_text_stays_text() -> None:
    page = parse(inline_svg(figure_with("learning rate"), "").markup("one"))
    assert "learning rate" in page.texts
    assert any(name == "text" for name, _ in page.elements)


def test_ids_have_the_prefix_and_lead_somewhere() -> None:
    page = parse(inline_svg(figure_with(), "").markup("fig-7"))
    assert page.ids
    assert all(name.startswith("fig-7-") for name in page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.references) == set(page.ids)


def test_two_drawings_share_no_id() -> None:
    drawing = inline_svg(figure_with(), "")
    assert not set(parse(drawing.markup("a")).ids) & set(parse(drawing.markup("b")).ids)


def test_a_label_is_text() -> None:
    markup = inline_svg(figure_with(HOSTILE), HOSTILE).markup(HOSTILE)
    page = parse(markup)
    assert {name for name, _ in page.elements} <= set(ELEMENTS)
    assert HOSTILE in page.texts
    assert page.elements[0][1]["aria-label"] == HOSTILE
    assert "<script" not in markup


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_label_with_control_characters() -> None:
    assert "a\ufffdb" in parse(inline_svg(figure_with("a\x07b"), "").markup("a")).texts


def test_crowds_are_images_and_the_rest_is_not() -> None:
    few, many = (inline_svg(figure_with(marks=n), "").markup("a") for n in (5, 3 * MOST_MARKS))
    assert "<image" not in few
    assert many.count("<image") == 2
    assert 'href="data:image/png;base64,' in many
    assert len(many) < 20 * len(few)
    figure, (axes,) = new_figure(1)
    (line,) = axes.plot(np.random.default_rng(0).normal(size=2 * MOST_CORNERS))
    assert "<image" in inline_svg(figure, "").markup("a")
    assert not line.get_rasterized(), "the figure is as it was"


def test_many_small_crowds_are_images_too() -> None:
    figure, (axes,) = new_figure(1)
    for _ in range(8):
        axes.plot(range(MOST_MARKS // 2), "o")
    markup = inline_svg(figure, "").markup("a")
    assert "<image" in markup
    assert len(markup) < 150_000


def test_maps_are_known() -> None:
    figure, (axes,) = new_figure(1)
    assert not inline_svg(figure, "").is_map
    axes.imshow(np.eye(3))
    assert inline_svg(figure, "").is_map


def test_equal_figures_are_equal_bytes() -> None:
    assert inline_svg(figure_with(), "x") == inline_svg(figure_with(), "x")


def test_coordinates_are_short() -> None:
    paths = re.findall(r' d="([^"]*)"', inline_svg(figure_with(), "").markup("a"))
    assert paths
    assert not [path for path in paths if re.search(r"\.\d{3}", path)]
