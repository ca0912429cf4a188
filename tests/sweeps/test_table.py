"""What is said about a sweep's progress."""

from __future__ import annotations

import io

from pynode.cli.console import PlainConsole
from pynode.sweeps.cells import Cell
from pynode.sweeps.driver import CellStatus
from pynode.sweeps.table import SweepTable, counts, line


def statuses() -> list[CellStatus]:
    cells = [Cell("spiral", f"disc-opt-rk4-x1-seed{k}", {"iterations": 20}) for k in range(3)]
    return [
        CellStatus(cells[0], "finished", 20, 0.125, 2, 3.25),
        CellStatus(cells[1], "running", 7, 0.5, 1, 1.0),
        CellStatus(cells[2]),
    ]


def test_lines_and_counts() -> None:
    first, second, _ = statuses()
    expected = "spiral/disc-opt-rk4-x1-seed0: finished, iteration 20 of 20, loss 0.125, 2 tries, 3.2 s"
    assert line(first) == expected
    assert line(second) == "spiral/disc-opt-rk4-x1-seed1: running, try 1"
    assert counts(statuses()[:1]) == "1 cell: 1 finished"
    assert counts(statuses()) == "3 cells: 1 running, 1 waiting, 1 finished"


def test_off_a_terminal_a_line_a_change() -> None:
    text = io.StringIO()
    watched = statuses()
    with SweepTable(PlainConsole(file=text, force_terminal=False)) as shown:
        shown.watch(watched)
        shown.watch(watched)
        watched[1].tries = 2
        shown.watch(watched)
    lines = text.getvalue().splitlines()
    assert [told.partition(": ")[2].partition(",")[0] for told in lines] == ["finished", "running", "running"]
    assert "try 2" in lines[2]


def test_on_a_terminal_what_matters_comes_first_where_there_is_little_room() -> None:
    text = io.StringIO()
    with SweepTable(PlainConsole(file=text, force_terminal=True, width=100, height=9)) as shown:
        shown.watch(statuses())
    drawn = text.getvalue()
    assert "seed1" in drawn
    assert "seed2" not in drawn
    assert "3 cells: 1 running" in drawn
