"""What stands above the rows: names, units, more lines of a logger; and numbers that are names, or a first row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pynode.datasets.frame import read_frame
from pynode.datasets.headers import is_far
from pynode.datasets.tables import read_table
from pynode.trajectories.read import read_series

ROWS = "".join(f"{k * 0.5},{2 + k * k % 7 * 0.25}\n" for k in range(20))
VALUES = [[k * 0.5, 2 + k * k % 7 * 0.25] for k in range(20)]


def write(folder: Path, text: str) -> Path:
    (path := folder / "t.csv").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("head", "names", "units", "notices"),
    [
        ("time,conc\n(h),(mg/l)\n", ("time", "conc"), ("h", "mg/l"), ["line 2 holds units and is left out (h, mg/l)"]),
        ("time,conc\ns,10^3 cells/ml\n", ("time", "conc"), ("s", "10^3 cells/ml"), ["line 2 holds units"]),
        (",conc\n[s],[%]\n", ("", "conc"), ("s", "%"), ["line 2 holds units and is left out (s, %)"]),
        ("time,rate\n,1/min\n", ("time", "rate"), ("", "1/min"), ["line 2 holds units and is left out (1/min)"]),
        (
            *("time,conc\nh,mg/l\nSmp,Avg\n", ("time", "conc"), ("h", "mg/l")),
            ["line 2 holds units and is left out (h, mg/l)", "line 3 is no row and is left out (Smp, Avg)"],
        ),
        (
            *("time,conc\nelapsed time,of the drug\n(h),(mg/l)\n", ("time", "conc"), ("h", "mg/l")),
            ["line 2 is no row and is left out (elapsed time, of the drug)", "line 3 holds units"],
        ),
        (
            *("time,conc\nthe time,of the drug\n(h),(mg/l)\n,Avg\n", ("time", "conc"), ("h", "mg/l")),
            [
                "line 2 is no row",
                "line 3 holds units and is left out (h, mg/l)",
                "line 4 is no row and is left out (Avg)",
            ],
        ),
        (
            *("LOGGER,1234\ntime,conc\nh,mg/l\n", ("time", "conc"), ("h", "mg/l")),
            ["1 line above the table is left out (to line 1)", "line 3 holds units and is left out (h, mg/l)"],
        ),
    ],
)
def test_lines_of_units_and_others(
    tmp_path: Path, head: str, names: tuple[str, ...], units: tuple[str, ...], notices: list[str]
) -> None:
    path = write(tmp_path, head + ROWS)
    frame = read_frame(path)
    assert frame.names.names == names
    assert tuple(column.unit for column in frame.columns) == units
    np.testing.assert_array_equal(np.stack([column.values for column in frame.columns], axis=1), VALUES)
    assert [told.startswith(notice) for told, notice in zip(frame.notices, notices, strict=True)] == [True] * len(
        notices
    )
    table = read_table(path)
    np.testing.assert_array_equal(table.rows, VALUES)
    assert table.columns.names == names
    assert table.notices == frame.notices


def test_a_log_of_a_station(tmp_path: Path) -> None:
    """As Campbell's loggers write it, with a line about the logger that is as wide as the table."""
    head = '"TOA5","CR1000","12","34"\n"TIMESTAMP","RECORD","AirT","RH"\n"TS","RN","Deg C","%"\n"","","Avg","Smp"\n'
    rows = "".join(f'"2024-01-01 00:{k:02d}:00",{k},{20 + k * k % 7 / 4},{50 + k % 5}\n' for k in range(30))
    for first in (
        '"TOA5","CR1000","12","34"',
        '"TOA5","station","CR1000","1234","CR1000.Std.32","CPU:a.CR1","7","hour"',
    ):
        series = read_series(write(tmp_path, head.replace('"TOA5","CR1000","12","34"', first) + rows))
        assert series.values == ("AirT", "RH")
        assert series.axis.column == "TIMESTAMP"
        assert len(series.each[0].times) == 30
        assert "line 3 holds units and is left out (TS, RN, Deg C, %)" in series.notices


def test_a_first_row_of_words_is_no_line_of_units(tmp_path: Path) -> None:
    """Neither where others below are words, nor with a number in it."""
    frame = read_frame(write(tmp_path, "kind,x\noak,?\noak,2\nash,3\nash,4\n"))
    assert len(frame) == 4
    with pytest.raises(ValueError, match=r"line 2, column 1 \('time'\): 'h' is not a number"):
        read_frame(write(tmp_path, "time,conc\nh,3\n" + ROWS))


FRACTIONS = [[k % 5 + 0.5, k * 1.25 % 7 + 0.1, k % 3 + 0.25] for k in range(1, 20)]
BELOW = "".join(f"{a:.2f},{b:.2f},{c:.2f}\n" for a, b, c in FRACTIONS)


@pytest.mark.parametrize("first", ["2,3,1", "1,1,2", "1,3,4", "0,2,3", "2,3,4"])
def test_integers_that_may_be_a_row_are_one(tmp_path: Path, first: str) -> None:
    path = write(tmp_path, f"{first}\n{BELOW}")
    expected = [[float(cell) for cell in first.split(",")], *FRACTIONS]
    np.testing.assert_allclose(read_table(path).rows, expected, atol=0.006)
    np.testing.assert_allclose(np.stack([c.values for c in read_frame(path).columns], axis=1), expected, atol=0.006)
    named = read_frame(path, header=True)
    assert named.names.names == tuple(first.split(","))
    assert len(named) == 19


@pytest.mark.parametrize("first", ["0,1,2", "1,2,3", "100,200,300", "2001,2002,2003", "2,20,30"])
def test_integers_that_can_not_be_a_row_are_names(tmp_path: Path, first: str) -> None:
    """They count the columns, or stand far outside the numbers below."""
    path = write(tmp_path, f"{first}\n{BELOW}")
    told = f"line 1 is read as a header: {first.replace(',', ', ')} (header=False if it is a row)"
    for read in (read_table(path), read_frame(path)):
        assert told in read.notices
    assert read_frame(path).names.names == tuple(first.split(","))
    assert len(read_frame(path, header=False)) == 20


def test_names_that_count_above_an_index(tmp_path: Path) -> None:
    """As pandas writes columns without names, also where a column rises from row to row."""
    lines = [f"{k},{k + 1.5},{k * k % 7 + 0.25}" for k in range(12)]
    frame = read_frame(write(tmp_path, "\n".join([",0,1", *lines])))
    assert frame.names.names == ("0", "1")
    assert len(frame) == 12


def test_a_column_alone_is_a_value(tmp_path: Path) -> None:
    """And no time, also where it rises."""
    for head in ("", "0\n", "height\n"):
        series = read_series(write(tmp_path, head + "".join(f"{k * 0.3 + 0.1:.2f}\n" for k in range(20))))
        assert len(series.values) == 1
        assert series.axis.column == "row"


LINES = [(k * 0.5, 2 + k * k % 7 * 0.25) for k in range(20)]


@pytest.mark.parametrize("rule", ["---{0}---", "--{0}--", "---------{0}---", ":--{0}--:", "==={0}==="])
@pytest.mark.parametrize("delimiter", [" ", ",", " | ", "\t", ";"])
def test_a_line_drawn_below_the_header_is_no_row(tmp_path: Path, rule: str, delimiter: str) -> None:
    """Dashes are missing values only below a row."""
    rows = "".join(f"{t}{delimiter}{x}\n" for t, x in LINES)
    path = write(tmp_path, f"depth{delimiter}x1\n{rule.format(delimiter)}\n{rows}")
    frame = read_frame(path)
    assert frame.names.names == ("depth", "x1")
    assert tuple(column.unit for column in frame.columns) == ("", "")
    np.testing.assert_array_equal(np.stack([column.values for column in frame.columns], axis=1), VALUES)
    np.testing.assert_array_equal(read_table(path).rows, VALUES)
    assert read_series(path).axis.column == "depth"


def test_a_line_drawn_below_years_is_no_row(tmp_path: Path) -> None:
    text = "country | 2001 | 2002 | 2003\n--- | --- | ---: | ---\nA | 0.5 | 1.5 | 2.5\nB | 1.5 | 0.25 | 3.5\n"
    frame = read_frame(write(tmp_path, text))
    assert frame.names.names == ("country", "2001", "2002", "2003")
    np.testing.assert_array_equal(frame.columns[2].values, [1.5, 0.25])


def test_a_row_of_dashes_is_missing(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, "time,x\n0,1.5\n--,--\n2,3.5\n3,---\n"))
    np.testing.assert_array_equal(frame.columns[1].values, [1.5, np.nan, 3.5, np.nan])
    alone = read_frame(write(tmp_path, "x\n--\n0.5\n--\n1.5\n"))
    np.testing.assert_array_equal(alone.columns[0].values, [np.nan, 0.5, np.nan, 1.5])


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (("Jan 2020", "Feb 2020", "Mar 2020"), "Apr 2020"),
        (("1 January 2020", "2 January 2020", "3 January 2020"), "4 January 2020"),
        (("2020-01-01", "2020-01-02", "2020-01-03"), "2020-01-04"),
        (("s00", "s01", "s02"), "s03"),
        (("1", "2", "3"), "4"),
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("flag", ["1", "2.5", "x"])
def test_first_rows_with_a_wrong_word_are_not_units(
    tmp_path: Path, first: tuple[str, ...], later: str, rows: int, flag: str
) -> None:
    """Dates, identifiers, numbers of rows and flags stand in them as below; the word is named."""
    flags = ("0", "1") if flag == "1" else (flag, flag)
    wrong = "".join(f"{key},offline,{flag}\n" for key in first[:rows])
    right = "".join(f"{later},{0.14 + k * k % 7 / 8},{flags[k % 2]}\n" for k in range(9))
    with pytest.raises(ValueError, match=r"line 2, column 2 \('x'\): 'offline' is not a number"):
        read_frame(write(tmp_path, f"date,x,flag\n{wrong}{right}"))


def test_a_first_row_of_words_for_missing_numbers_is_no_unit(tmp_path: Path) -> None:
    rows = "".join(f"{k},{k * k % 7 / 4},{k % 3 + 0.5}\n" for k in range(2, 12))
    with pytest.raises(ValueError, match=r"line 2, column 3 \('y'\): 'low' is not a number"):
        read_frame(write(tmp_path, f"step,x,y\n1,none,low\n{rows}"))


def test_a_ratio_has_the_unit_1(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, "time,ratio\nh,1\n" + ROWS))
    assert tuple(column.unit for column in frame.columns) == ("h", "1")


def test_a_column_of_counts_that_begins_at_0_has_no_header(tmp_path: Path) -> None:
    path = write(tmp_path, "0\n3\n0\n5\n7\n0\n2\n1\n0\n4\n")
    counts = [0, 3, 0, 5, 7, 0, 2, 1, 0, 4]
    np.testing.assert_array_equal(read_frame(path).columns[0].values, counts)
    np.testing.assert_array_equal(read_table(path).rows[:, 0], counts)
    np.testing.assert_array_equal(read_frame(path, header=True).columns[0].values, counts[1:])


def test_numbers_that_are_names_are_not_repeated(tmp_path: Path) -> None:
    """A line with the same numbers is a row; one with the same words is the header again."""
    path = write(tmp_path, "x,0\n0.5,1.5\nx,0\n2.5,3.5\n")
    assert len(read_frame(path, header=True)) == 2
    path.write_text("0,1\n0.5,1.5\n0,1\n2.5,3.5\n", encoding="utf-8")
    np.testing.assert_array_equal(read_frame(path, header=True).columns[0].values, [0.5, 0, 2.5])


@pytest.mark.parametrize(
    ("header", "names", "line"),
    [
        ("*time,*temp", ("*time", "*temp"), "seconds,celsius"),
        ("* time,* temp", ("time", "temp"), "seconds,celsius"),
        ("'time','temp'", ("time", "temp"), "elapsed,measured"),
        ("%time,temp", ("%time", "temp"), "s,K"),
    ],
)
def test_marks_at_names_are_no_comments(tmp_path: Path, header: str, names: tuple[str, ...], line: str) -> None:
    frame = read_frame(write(tmp_path, f"{header}\n{line}\n{ROWS}"))
    assert frame.names.names == names
    assert tuple(column.unit for column in frame.columns) == tuple(line.split(","))


def test_a_comment_of_another_program_is_above_the_names(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, f"%% made by a program, today\nhours,conc\n{ROWS}"))
    assert frame.names.names == ("hours", "conc")
    assert frame.notices == ("1 line above the table is left out (to line 1): %% made by a program, today",)


def test_a_line_above_the_names_is_quoted(tmp_path: Path) -> None:
    """As it may be the one that names them."""
    rows = "".join(f"{k / 2},{0.9**k:.3f},{0.8**k:.3f}\n" for k in range(9))
    path = write(tmp_path, f"time,101,102\nsubject,placebo,drug\n{rows}")
    for read in (read_frame(path), read_table(path)):
        assert "1 line above the table is left out (to line 1): time, 101, 102" in read.notices


@pytest.mark.parametrize("first", ["3,20,500", "0,1000", "0,1,500"])
def test_a_first_state_far_in_one_column_is_a_row(tmp_path: Path, first: str) -> None:
    """As where one of several quantities decays."""
    start = [float(cell) for cell in first.split(",")]
    rows = [[*(v + 0.31 * k for v in start[:-1]), start[-1] * 0.3**k] for k in range(1, 12)]
    text = "\n".join([first, *(",".join(f"{v:.5f}" for v in row) for row in rows)])
    path = write(tmp_path, text)
    np.testing.assert_array_equal(read_table(path).rows[0], start)
    np.testing.assert_array_equal([column.values[0] for column in read_frame(path).columns], start)


def test_zero_with_a_decimal_comma_is_a_number_below() -> None:
    assert not is_far(3, [["0,0"], ["5,0"]], 0)
    assert is_far(30, [["0,0"], ["5,0"]], 0)
    assert is_far(3, [["0,0"], ["0,0"]], 0)
