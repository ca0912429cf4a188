"""Tables of numbers, dates and words as people and programs write them: kinds, names, places and notices."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynode.datasets.errors import DataError
from pynode.datasets.frame import Frame, read_frame
from pynode.datasets.sentinels import sentinels
from pynode.errors import InvalidArgument

NAN = math.nan


def frame(tmp_path: Path, text: str, encoding: str = "utf-8", **options: Any) -> Frame:
    """The frame of a text."""
    path = tmp_path / "table.csv"
    path.write_text(text, encoding=encoding, newline="")
    return read_frame(path, **options)


READ: dict[str, tuple[str, list[str], list[list[float]]]] = {
    "commas": ("a,b\n1,2\n3,4.5\n", ["a", "b"], [[1, 3], [2, 4.5]]),
    "no header": ("1,2\n3,4.5\n", ["", ""], [[1, 3], [2, 4.5]]),
    "no header, a date first": ("2024-01-01,oak\n2024-01-02,yew\n", ["", ""], [[1704067200, 1704153600], [NAN, NAN]]),
    "no header, missing first": ("A,NA,1\nB,2,3\n", ["", "", ""], [[NAN, NAN], [NAN, 2], [1, 3]]),
    "tabs": ("a\tb\n1\t2\n", ["a", "b"], [[1], [2]]),
    "aligned spaces": (" a   b\n 1   2.5\n10   3\n", ["a", "b"], [[1, 10], [2.5, 3]]),
    "bars": ("a|b\n1|2\n", ["a", "b"], [[1], [2]]),
    "delimiter at the end": ("a,b,\n1,2,\n3,4,\n", ["a", "b"], [[1, 3], [2, 4]]),
    "decimal commas": ("a;b\n1,5;2\n2,25;3\n", ["a", "b"], [[1.5, 2.25], [2, 3]]),
    "points between thousands": ("a;b\n1.013,2;2.500\n1.014,0;2.600\n", ["a", "b"], [[1013.2, 1014], [2500, 2600]]),
    "decimal points by semicolons": ("a;b\n1;2.501\n2;2.602\n", ["a", "b"], [[1, 2], [2.501, 2.602]]),
    "thousands in quotes": ('a,b\n1,"1,234"\n2,"12,345"\n', ["a", "b"], [[1, 2], [1234, 12345]]),
    "a comment that names": ("# t x\n0 1\n1 2\n", ["t", "x"], [[0, 1], [1, 2]]),
    "comments elsewhere": ("# made by hand\na,b\n1,2\n# break\n3,4\n", ["a", "b"], [[1, 3], [2, 4]]),
    "lines above": ("Station: 12\nOperator: me\n\na,b,c\n1,2,3\n4,5,6\n", ["a", "b", "c"], [[1, 4], [2, 5], [3, 6]]),
    "lines above of other lengths": ("Site;A\nMade by; me; and; others\nt;u;w\n0;1;2\n1;2;3\n", ["t", "u", "w"],
                                     [[0, 1], [1, 2], [2, 3]]),
    "a title above two columns": ("Logger 7\nt,u\n0,1\n1,2\n2,3\n", ["t", "u"], [[0, 1, 2], [1, 2, 3]]),
    "row names of R above words": ("a b\nx y NA\nz w 1\n", ["a", "b"], [[NAN, NAN], [NAN, 1]]),
    "a line of units": ("t;p\n;hPa\n0;1,5\n1;2,5\n", ["t", "p"], [[0, 1], [1.5, 2.5]]),
    "units above trailing delimiters": ("t;p;;\n;hPa;;\n0;1,5;;\n1;2,5;;\n", ["t", "p", ""],
                                        [[0, 1], [1.5, 2.5], [NAN, NAN]]),
    "units in brackets": ("t,p\n[s],[hPa]\n0,1\n1,2\n", ["t", "p"], [[0, 1], [1, 2]]),
    "units in the cells": ("t,p\n0 min,1 °C\n5 min,2 °C\n", ["t", "p"], [[0, 5], [1, 2]]),
    "percent": ("t,p\n0,10%\n1,20%\n", ["t", "p"], [[0, 1], [10, 20]]),
    "header again": ("a,b\n1,2\na,b\n3,4\n", ["a", "b"], [[1, 3], [2, 4]]),
    "missing": ("a,b\n1,NA\n.,-\nN/A,null\n4,NaN\n5,\n", ["a", "b"], [[1, NAN, NAN, 4, 5], [NAN] * 5]),
    "row names of R": ('"rownames","a"\n"1",2.5\n"2",3.5\n', ["a"], [[2.5, 3.5]]),
    "index of pandas": (",a\n0,2.5\n1,3.5\n", ["a"], [[2.5, 3.5]]),
    "words as row names": (",a\nMazda,2.5\nFiat,3.5\n", ["a"], [[2.5, 3.5]]),
    "rising numbers without a name": (",a\n0,2.5\n5,3.5\n10,1.5\n", ["", "a"], [[0, 5, 10], [2.5, 3.5, 1.5]]),
    "numbers as names": ("0,1,2\n0.5,3.5,1.5\n0.25,2.5,0.5\n", ["0", "1", "2"], [[0.5, 0.25], [3.5, 2.5], [1.5, 0.5]]),
    "a row like numbers as names": ("0,1\n0.5,3.5\n0.75,2.5\n", ["", ""], [[0, 0.5, 0.75], [1, 3.5, 2.5]]),
    "years as names": ("who,1960,1961,1962\nA,1.5,2.5,3.5\nB,2.5,1.5,0.5\n", ["who", "1960", "1961", "1962"],
                       [[NAN, NAN], [1.5, 2.5], [2.5, 1.5], [3.5, 0.5]]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_numbers_and_names(tmp_path: Path, name: str) -> None:
    """Each is read right."""
    text, names, columns = READ[name]
    table = frame(tmp_path, text)
    assert [c.name for c in table.columns] == names
    for column, values in zip(table.columns, columns, strict=True):
        np.testing.assert_array_equal(column.values, values)


def test_a_spreadsheet_of_the_continent(tmp_path: Path) -> None:
    """Semicolons, decimal commas, points between thousands, a byte order mark, a line of units: all are said."""
    rows = "".join(f"{3 + n:02d}.04.2024 10:00;1.013,{n % 10};2.50{n % 10},0\n" for n in range(12))
    table = frame(tmp_path, f"Zeit;Druck;Fluss\n;hPa;m³/h\n{rows}", encoding="utf-8-sig")
    time, pressure, flow = table.columns
    assert time.kind == "date"
    assert time.style == "%d.%m.%Y %H:%M"
    np.testing.assert_array_equal(np.diff(time.values), 86400.0)
    assert pressure.values[1] == 1013.1
    assert flow.values[3] == 2503.0
    assert (pressure.unit, flow.unit) == ("hPa", "m³/h")
    assert table.lines.tolist() == list(range(3, 15))
    for said in ("line 2 holds units", "semicolons", "decimal comma", "day, month, year, since a 13 occurs"):
        assert any(said in notice for notice in table.notices), said


def test_words_are_kept(tmp_path: Path) -> None:
    """A column of words has its cells; "none" is a word there, and NA a missing cell."""
    table = frame(tmp_path, "kind,x\noak,1\nnone,2\nNA,3\nred  oak,4\n")
    assert table.columns[0].kind == "text"
    assert table.columns[0].cells == ("oak", "none", "", "red oak")
    assert np.isnan(table.columns[0].values).all()


def test_numbers_as_words_on_request(tmp_path: Path) -> None:
    """Identifiers and classes keep their zeros."""
    table = frame(tmp_path, "id,x\n007,1\n012,2\n", words=("id",))
    assert table.columns[0].cells == ("007", "012")


def test_lines_count_what_is_left_out(tmp_path: Path) -> None:
    """A row's line is that in the file, behind comments, empty lines and quoted breaks."""
    table = frame(tmp_path, '# c\na,b\n\n1,x\n# c\n2,"y\nz"\n3,w\n')
    assert table.lines.tolist() == [4, 7, 8]
    assert table.place(0).endswith("table.csv, line 4")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    """By byte order mark, or by what the bytes are."""
    table = frame(tmp_path, "zeit;größe\n1;2,5\n2;3,5\n", encoding=encoding)
    assert [c.name for c in table.columns] == ["zeit", "größe"]
    assert table.columns[1].values.tolist() == [2.5, 3.5]


def test_codes_of_missing_values(tmp_path: Path) -> None:
    """-999 far outside the rest is missing, which is said with its line; other codes are named."""
    rows = "".join(f"{n},{-999 if n in (3, 7) else 20 + n},{77 if n == 5 else n}\n" for n in range(10))
    table = frame(tmp_path, f"t,temp,x\n{rows}", missing_values=("77",))
    assert np.flatnonzero(np.isnan(table.columns[1].values)).tolist() == [3, 7]
    assert np.flatnonzero(np.isnan(table.columns[2].values)).tolist() == [5]
    assert any(
        "-999 in 2 cells (first in line 5) lies far outside the rest; it is taken as missing" in notice
        for notice in table.notices
    )


def test_what_is_no_code() -> None:
    """Numbers like codes within the range of the others stay, and so do those of times."""
    assert sentinels(np.array([990.0, 999.0, 999.0, 1010.0, 1003.0, 1001.0, 995.0])) == []
    assert sentinels(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 9999.0])) == []
    assert sentinels(np.array([3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 9999.0, 9999.0])) == [9999.0]
    assert sentinels(np.array([3000.0, 10.0, 2.0, 4.0, 5.0, 6.0, -999.0, -999.0])) == [-999.0]
    assert sentinels(np.array([1.0, 0.0, -999.0, 1.0, -999.0, 0.0])) == [-999.0]
    assert sentinels(np.array([1.0, 0.0, 99.0, 1.0, 99.0, 0.0])) == []
    turn = [10.0, 350.0, 180.0, 90.0, 270.0, 45.0]
    assert sentinels(np.array([*turn, 999.0, 999.0])) == [999.0]
    assert sentinels(np.array([*turn, 999.0])) == sentinels(np.array([*turn, 500.0, 999.0, 999.0])) == []
    for code in (-999.25, 65535.0, 4294967295.0, 1.70141e38):
        assert sentinels(np.array([20.5, 21.0, 19.0, code, 20.0, 22.0, code])) == [code]
    once = np.array([20.0, 400.0, 100.0, -999.0, 300.0, 200.0])
    assert sentinels(once) == []
    assert sentinels(once, (-999.0,)) == [-999.0]


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a word among numbers": ("a,b\n1,2\n3,oops\n4,5\n", {}, "line 3, column 2 ('b'): 'oops' is not a number; correct"),
    "a total below the rows": (
        "a,b\n1,2\n3,4\nTotal,6\n",
        {},
        "'Total' is not a number; correct the cell, or empty it if the value is missing, or remove the line if it is",
    ),
    "a value below a limit": (
        "a,b\n1,2\n3,<0.5\n4,5\n",
        {},
        "line 3, column 2 ('b'): '<0.5' is not a number; write a n",
    ),
    "no such day": ("d,x\n2024-02-28,1\n2024-02-30,2\n", {}, "line 3, column 1 ('d'): '2024-02-30' is not a date"),
    "either order": ("d,x\n1/2/2024,1\n1/3/2024,2\n", {}, "can be day, month, year or month, day, year: write them"),
    "both orders": ("d,x\n13/2/2024,1\n1/13/2024,2\n", {}, "a day above 12 in the first place and some in the second"),
    "both marks": ("a;b\n1,5;2\n2.5;3\n", {}, "mixes decimal points (line 3: '2.5') with decimal commas"),
    "thousands or fractions": ("a;b\n950;1\n1.010;2\n1.020;3\n", {}, "line 3: '1.010' can be 1010 or 1.01; say which"),
    "more cells": ("a,b\n1,2\n2,3,4\n", {}, "line 3 has 3 cells instead of 2"),
    "no rows": ("a,b\n", {}, "has a header, but no rows"),
    "JSON": ('{"a": [1, 2]}', {}, "looks like JSON, not a table: save it as .csv"),
    "HTML": ("<html>", {}, "looks like HTML or XML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(tmp_path: Path, name: str) -> None:
    """One line with the file, the place and a remedy."""
    text, options, said = REFUSED[name]
    with pytest.raises(DataError) as error:
        frame(tmp_path, text, **options)
    assert said in str(error.value)
    assert "table.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_lenient_reading_keeps_the_trouble(tmp_path: Path) -> None:
    """For those who may not need the column."""
    table = frame(tmp_path, "a,b\n1,2\n3,oops\n4,5\n", lenient=True)
    assert "'oops' is not a number" in table.columns[1].trouble
    assert not table.columns[0].trouble


def test_names_that_are_not_there(tmp_path: Path) -> None:
    """The message has those that are; a number names a column, too."""
    table = frame(tmp_path, "a,b\n1,2\n3,4\n")
    assert table.column("time", "2").name == "b"
    with pytest.raises(
        InvalidArgument, match=r"time = 'c': no column of the table; it has columns 1 \('a'\), 2 \('b'\)"
    ):
        table.column("time", "c")


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=4, max_size=30),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float]], delimiter: str, header: bool
) -> None:
    """Numbers as Python writes them, with any delimiter, with and without a header."""
    path = tmp_path_factory.mktemp("table") / "t"
    lines = ["first" + delimiter + "second"] * header + [delimiter.join(f"{v:.6f}" for v in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    table = read_frame(path)
    expected = np.array([[float(f"{v:.6f}") for v in row] for row in rows])
    assert len(table) == len(rows)
    kept = [np.isnan(c.values) | (c.values == expected[:, n]) for n, c in enumerate(table.columns)]
    assert all(k.all() for k in kept)
    assert [c.name for c in table.columns] == (["first", "second"] if header else ["", ""])
