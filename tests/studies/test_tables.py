"""Tables and labels where room is scarce: no broken words, no label on a line or on another label."""

from __future__ import annotations

import io

import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from pynode.cli import main
from pynode.cli.console import PlainConsole
from pynode.studies.base import Table
from pynode.studies.style import Label, label_points, new_figure

COLUMNS = ["", "ad-adaptive", "disc-opt", "opt-disc", "opt-disc-fixed", "less time"]
ROWS = [
    ["best validation loss", "41.4", "40.8", "41.4", "47.3", "-13.8 %"],
    ["  extrapolation MSE", "1.22", "1.27", "1.22", "1.26", "61.3 %"],
]


def printed(width: int) -> list[str]:
    out = io.StringIO()
    table = Table("RQ1 Quality", COLUMNS, ROWS, ["one seed; validation solves the continuous problem accurately"])
    PlainConsole(file=out, width=width).print(table)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [36, 44, 60, 80, 120])
def test_no_word_or_number_is_broken(width: int) -> None:
    lines = printed(width)
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.translate(str.maketrans("│┃", "  ")).split()}
    assert {"ad-adaptive", "opt-disc-fixed", "validation", "extrapolation"} <= words
    for number in ("-13.8 %", "61.3 %", "1.27"):
        assert any(number in line for line in lines)


def test_columns_without_room_follow_below_with_the_names_of_the_rows() -> None:
    assert sum("┏" in line for line in printed(120)) == 1
    narrow = printed(44)
    assert sum("┏" in line for line in narrow) > 1
    assert sum("extrapolation" in line for line in narrow) == sum("┏" in line for line in narrow)
    assert sum("RQ1" in line for line in narrow) == 1
    assert sum("one seed" in line for line in narrow) == 1


def test_markdown_keeps_the_indentation_of_rows_and_bars_in_names() -> None:
    """Markdown trims the spaces of a cell, and a bar would end it."""
    table = Table("t", ["", "a|b"], [["RMSE", "1"], ["  over its deviation", "2"], ["    of |x|", "3"]], code=("a|b",))
    lines = table.markdown().splitlines()
    assert lines[2:] == [
        r"|  | a\|b |",
        "|---|--:|",
        "| RMSE | `1` |",
        "| &emsp;over its deviation | `2` |",
        r"| &emsp;&emsp;of \|x\| | `3` |",
    ]


def test_labels_stand_apart() -> None:
    """Four points close to each other, on a line that goes up to the right."""
    figure, (axes,) = new_figure(1)
    places = [(0.5, 0.5), (0.51, 0.51), (0.52, 0.49), (0.49, 0.52)]
    axes.plot([0, 1], [0, 1])
    label_points(figure, axes, [Label("1e-10", place, "black") for place in places])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(label) for label in axes.texts]  # without the lines that lead to their points
    assert len(boxes) == 4
    overlaps = [Bbox.intersection(a, b) is not None for k, a in enumerate(boxes) for b in boxes[:k]]
    assert sum(overlaps) == 0
    corners = {(text.get_horizontalalignment(), text.get_verticalalignment()) for text in axes.texts}
    assert len(corners) == 4


def test_labels_of_one_place_do_not_overlap() -> None:
    """Of the curves of four adjoints that begin alike, with the names of a fifth and sixth beside them."""
    figure, (axes,) = new_figure(1)
    xs = [[100.0, 400.0], [104.0, 900.0], [100.0, 700.0], [108.0, 950.0], [101.0, 300.0], [99.0, 500.0]]
    for x in xs:
        axes.plot(x, [1e-3, 1e-9], marker="o")
    axes.set_xscale("log")
    axes.set_yscale("log")
    label_points(figure, axes, [Label("1e-01", (x, 1e-3), "black") for x, _ in xs])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(label) for label in axes.texts]  # without the lines that lead to their points
    assert len(boxes) == 6
    assert not [1 for k, a in enumerate(boxes) for b in boxes[:k] if Bbox.intersection(a, b) is not None]


def test_a_run_of_one_iteration_is_drawn(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whose loss never falls, so that nothing is known of the cost of reaching one."""
    out = tmp_path_factory.mktemp("one") / "x"
    assert main(["compare", "spiral", "--iterations", "1", "--no-checks", "--out", str(out)]) == 0
    assert {path.stem for path in (out / "figures").iterdir()} == {"loss", "cost", "extrapolation"}
