"""Tables as people and programs write them: each is read right, or refused with the right reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pynode.datasets.errors import DataError
from pynode.datasets.reading import Reading
from pynode.datasets.tables import load_table, read_table
from pynode.errors import InvalidArgument

READ: dict[str, tuple[str, list[list[float]]]] = {
    # a header made of numbers
    "names 0 1 2": ("0,1,2\n5,6,7\n8,9,1\n", [[5, 6, 7], [8, 9, 1]]),
    "names 0 1 by semicolons": ("0;1\n1,5;2,5\n", [[1.5, 2.5]]),
    "names 0.0 1.0": ("0.0,1.0,2.0\n5,6,7\n", [[5, 6, 7]]),
    "name 0": ("0\n1.5\n2.5\n", [[1.5], [2.5]]),
    "names 1 2": ("1,2\n0.5,0.25\n0.125,3.5\n", [[0.5, 0.25], [0.125, 3.5]]),
    "years": ("2019,2020,2021\n0.5,1.5,2.5\n1e-3,.5,2.0\n", [[0.5, 1.5, 2.5], [0.001, 0.5, 2]]),
    "integers that are data": ("1,2\n3,4\n5,6\n", [[1, 2], [3, 4], [5, 6]]),
    "years that are data": ("2019,2020\n2021,2.5\n3.5,4.5\n", [[2019, 2020], [2021, 2.5], [3.5, 4.5]]),
    # an index
    "index of pandas": (",a,b\n0,1.5,2\n1,3,4\n", [[1.5, 2], [3, 4]]),
    "index after a filter": (",a,b\n7,1.5,2\n3,3,4\n", [[1.5, 2], [3, 4]]),
    "index and numbers as names": (",0,1\n0,1.5,2\n1,3,4\n", [[1.5, 2], [3, 4]]),
    "index read back": ("Unnamed: 0,a\n0,1.5\n1,2.5\n", [[1.5], [2.5]]),
    "index of R": ('"","a","b"\n"1",1.5,2\n"2",3,4\n', [[1.5, 2], [3, 4]]),
    "index of R without a name": ('"a","b"\n"1",1.5,2\n"2",3,4\n', [[1.5, 2], [3, 4]]),
    "row names of R by spaces": ('"a" "b"\n"1" 1.5 2\n"2" 3 4\n', [[1.5, 2], [3, 4]]),
    "rownames": ("rownames,a\n1,1.5\n2,2.5\n", [[1.5], [2.5]]),
    "no index": ("index,a\n4,1.5\n3,2.5\n", [[4, 1.5], [3, 2.5]]),
    "unnamed, but no index": (",a\n0.5,1.5\n1,2.5\n", [[0.5, 1.5], [1, 2.5]]),
    # delimiters
    "quoted delimiter in the header": ('"height; cm",b\n1.5,2.5\n2.5,1.0\n', [[1.5, 2.5], [2.5, 1]]),
    "all delimiters in the header": ('"a;b|c\td",e f\n1,2\n3,4\n', [[1, 2], [3, 4]]),
    "bare delimiter in the header": ("height; cm,b\n1.5,2.5\n", [[1.5, 2.5]]),
    "sep=;": ("sep=;\na;b;c\n1;2;3\n", [[1, 2, 3]]),
    "SEP=|": ('"SEP=|"\r\n1|2\r\n3|4\r\n', [[1, 2], [3, 4]]),
    "sep=tab after a mark": ("\ufeffsep=\t\na\tb\n1\t2\n", [[1, 2]]),
    "bars": ("a|b\n1|2\n", [[1, 2]]),
    "spaces": ("  1   2.5\n -3   4  \n", [[1, 2.5], [-3, 4]]),
    "spaces after commas": ("1, 2.5\n -3 , 4\n", [[1, 2.5], [-3, 4]]),
    "delimiter at the end of lines": ("a,b,\n1,2,\n3,4,\n", [[1, 2], [3, 4]]),
    "the same below the header alone": ("a;b\n1;2;\n3;4;\n", [[1, 2], [3, 4]]),
    "empty lines of a spreadsheet": (",,\na,b\n1,2\n,\n,\n", [[1, 2]]),
    "ends of old": ("a,b\r1,2\r3,4\r", [[1, 2], [3, 4]]),
    "line break in the header": ('"a\nb",c\n1,2\n', [[1, 2]]),
    # comments
    "comment first": ("# measured 2024\na,b\n1,2\n3,4\n", [[1, 2], [3, 4]]),
    "header of NumPy": ("# a b\n1.5 2\n3 4\n", [[1.5, 2], [3, 4]]),
    "comments between": ("a,b\n1,2\n # 3,4\n5,6\n#", [[1, 2], [5, 6]]),
    # numbers
    "decimal comma": ("a;b\n1,5;2\n-0,25;3e-1\n", [[1.5, 2], [-0.25, 0.3]]),
    "decimal comma by tabs": ("1,5\t2,5\n", [[1.5, 2.5]]),
    "decimal comma in quotes": ('a,b\n"1,5",2\n"2,25",3\n', [[1.5, 2], [2.25, 3]]),
    "decimal comma and points": ("1.234,5;2\n1.234;,5\n", [[1234.5, 2], [1234, 0.5]]),
    "thousands": ('a,b\n"1,234",2.5\n"12,345,678.5",3\n', [[1234, 2.5], [12345678.5, 3]]),
    "thousands by spaces": ("a;b\n1 234;2.5\n1\u00a0234\u00a0567;3\n", [[1234, 2.5], [1234567, 3]]),
    "thousands by apostrophes": ("a,b\n1'234.5,2\n", [[1234.5, 2]]),
    "minus of typographers": ("a,b\n\u22121.5,2\n", [[-1.5, 2]]),
    "equal names": ("a,a\n1,2\n3,5\n", [[1, 2], [3, 5]]),
    "one row": ("a,b\n1,2\n", [[1, 2]]),
}


@pytest.mark.parametrize("case", READ)
def test_read(tmp_path: Path, case: str) -> None:
    text, rows = READ[case]
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(load_table(path), rows)


REFUSED: dict[str, tuple[str, str]] = {
    # missing cells
    "NA": ("a,b\n1,NA\n2,3\n", r"line 2, column 2 \('b'\): 'NA' .* the value is missing; .*missing=drop"),
    "empty": ("a,b\n1,2\n,3\n4,\n", r"line 3, column 1 \('a'\): an empty cell .*one of 2 such cells in 2 columns"),
    "nan three times": ("1,nan\nnan,3\n4,NaN\n", r"line 1, column 2: 'nan' .*one of 3 such cells in 2 columns"),
    "error of a spreadsheet": ("a,b\n#N/A,2\n3,4\n", r"line 2, column 1 \('a'\): '#N/A' .* the value is missing"),
    "nothing in a column": ("a,b\n1,\n2,\n", r"column 2 \('b'\): an empty cell .*leave the column out \(drop=b\)"),
    "a row of delimiters": ("a,b\n1,2\n,\n3,4\n", r"line 3, column 1 \('a'\): an empty cell"),
    "missing in the first line": ("NA,NA\n1,2\n", r"line 1, column 1: 'NA' .* the value is missing"),
    "infinite": ("a,b\n1,2\n3,-inf\n", r"line 3, column 2 \('b'\): '-inf' is not a finite number;"),
    "too large": ("a\n1e400\n", r"line 2, column 1 \('a'\): '1e400' is not a finite number"),
    # no numbers
    "classes": (
        "s,x\nsetosa,1\nvirginica,2\n",
        r"line 2, column 1 \('s'\): 'setosa' .*leave the column out \(drop=s\)",
    ),
    "a note": (
        "s,x\n1,2\n3,see below\n",
        r"line 3, column 2 \('x'\): 'see below' is not a finite number; remove the row",
    ),
    "ISO dates": ("day,x\n2020-01-31,1\n", r"line 2, column 1 \('day'\): '2020-01-31' .* a date .*\(drop=day\)"),
    "dates and times": ("1,31.12.2020 10:30\n2,1\n", r"line 1, column 2: '31.12.2020 10:30' .* a date"),
    "times of day": ("t,x\n10:30,1\n", r"'10:30' is not a finite number but a date or a time"),
    "truth values": ("ok,x\nTrue,1\nFalse,2\n", r"column 1 \('ok'\): 'True' .* a truth value .* of two values has no"),
    "units": ("a,b\n5%,1\n", r"'5%' is not a finite number"),
    "comment behind": ("a,b\n1,2 # here\n", r"line 2, column 2 \('b'\): '2 # here' is not"),
    "labels of rows": (",a\nx,1\ny,2\n", r"line 2, column 1: 'x' .*leave the column out \(drop=1\)"),
    "half a header": ("x,1\n1.5,2\n", r"line 1, column 1: 'x' .*if this line is a header, say so \(header=True\)"),
    # lines
    "ragged": ("a,b\n1,2\n3,4,5\n", "line 3 has 3 cells instead of 2: give each line as many as the first has"),
    "short": ("a;b\n1;2\n3\n", "line 3 has 1 cell instead of 2"),
    "decimal comma without another delimiter": ("x\n1,5\n2,5\n", "line 2 has 2 cells instead of 1: .*decimal marks"),
    "open quote": ('a,b\n1,2\n"3,4\n5,6\n', "line 4 has 1 cell instead of 2: .*close the quote"),
    "header only": ("a,b\n", "has no rows of numbers"),
    "numbers as names only": ("0,1,2\n", "has no rows of numbers"),
    "comments only": ("# a\n# b\n", "has no rows of numbers"),
    "sep of another file": ("sep=;\na,b\n1,2\n", "names ';' in its line sep=, but no line has it: .*name ','"),
    "sep only": ("sep=;\n", "has no rows of numbers"),
    "long cell": ("a,b\n" + 200_000 * "1" + ",2\n", "a cell has more than 131,072 characters"),
    # numbers in two ways
    "both marks": (
        "a;b\n1,5;2\n3;2.5\n",
        r"mixes decimal points \(line 3: '2.5'\) with decimal commas \(line 2: '1,5'\)",
    ),
    "mark or thousands": (
        "a;b\n1,234;2\n5,678;3\n",
        r"line 2: '1,234' can be 1.234 or 1234; .*decimal=\. or decimal=,",
    ),
    "mark or thousands in quotes": ('"1,234",2\n', "line 1: '1,234' can be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    with pytest.raises(DataError, match=message) as caught:
        load_table(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


ENCODED = "gr\u00f6\u00dfe,\u00e9t\u00e9\n1.5,2\n3,4\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"]
)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(ENCODED.encode(encoding))
    table = read_table(path)
    np.testing.assert_array_equal(table.rows, [[1.5, 2], [3, 4]])
    assert table.columns.names == ("gr\u00f6\u00dfe", "\u00e9t\u00e9")


def test_encodings_in_one_file(tmp_path: Path) -> None:
    """UTF-8 and Latin-1: the numbers are the same in both."""
    path = tmp_path / "t.csv"
    path.write_bytes("gr\u00f6\u00dfe,b\n1,2\n".encode() + "# caf\u00e9\n3,4\n".encode("latin-1"))
    table = read_table(path)
    np.testing.assert_array_equal(table.rows, [[1, 2], [3, 4]])
    assert any("Latin-1" in notice for notice in table.notices)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ENCODED.encode() + bytes(40), "line 4 holds NUL bytes, as a damaged text or a binary file does"),
        (ENCODED.encode("utf-16-le")[:-1], "can't be read as a .csv text: .*truncated"),
        (b"PK\x03\x04\x00\x00\x08\x00", "is a zip archive, not a table: unpack it"),
        (ENCODED.encode("utf-16")[:-1], "can't be read as a .csv text: .*truncated"),
        (b"\xff\xfe\x00\xd8", "can't be read as a .csv text"),
    ],
    ids=["NULs at the end", "half a letter without mark", "zip", "half a letter", "half a pair"],
)
def test_no_texts(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_table(path)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"sep": ";", "decimal": ","}, {"sep": "\t"}, {"lineterminator": "\r\n"}, {"encoding": "utf-16"}]
)
@pytest.mark.parametrize("names", [[0, 1, 2], ["a", "b;c", "d,e"], [2019, 2020, 2021]], ids=str)
@pytest.mark.parametrize("shuffled", [False, True])
def test_what_pandas_writes(
    tmp_path: Path, names: list[object], options: dict[str, str], index: bool, shuffled: bool
) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=names)
    frame = frame.sample(frac=1, random_state=0) if shuffled else frame
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=index, **options)
    table = read_table(path)
    np.testing.assert_array_equal(table.rows, frame.to_numpy())
    assert table.columns.names == tuple(map(str, names))
    assert any("is an index" in notice for notice in table.notices) == index


def test_a_very_wide_table(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 20_000))
    path = tmp_path / "t.csv"
    np.savetxt(path, rows, delimiter=",", header=",".join(map(str, range(20_000))), comments="", fmt="%.17g")
    np.testing.assert_array_equal(load_table(path), rows)


@pytest.mark.parametrize(
    ("text", "options", "rows"),
    [
        ("0,1\n2,3\n", {"header": False}, [[0, 1], [2, 3]]),
        ("x,1\n2,3\n", {"header": True}, [[2, 3]]),
        (",a\n0,1.5\n1,2\n", {"index": "keep"}, [[0, 1.5], [1, 2]]),
        ("id,a\nx,1.5\ny,2\n", {"index": "drop"}, [[1.5], [2]]),
        ("0,1.5\n1,2\n", {"index": "drop"}, [[1.5], [2]]),
        ("1,234;2\n", {"decimal": ","}, [[1.234, 2]]),
        ("1,234;2\n", {"decimal": "."}, [[1234, 2]]),
        ("a,b\n1,NA\n2,3\n,4\ninf,5\n", {"missing": "drop"}, [[2, 3]]),
        ("a,b,c\n1,x,3\n", {"drop": ("b",)}, [[1, 3]]),
        ("a,b,c\n1,x,3\n", {"drop": ("2", "c")}, [[1]]),
        ("a,a\n1,2\n", {"drop": ("2",)}, [[1]]),
    ],
)
def test_options(tmp_path: Path, text: str, options: dict[str, object], rows: list[list[float]]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    np.testing.assert_array_equal(load_table(path, **options), rows)


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("a,b\n1,x\n2,3\n", {"missing": "drop"}, DataError, "line 2, column 2 .*'x' is not"),
        ("a,b\nNA,1\n2,NA\n", {"missing": "drop"}, DataError, "no rows of numbers"),
        ("a,b\n1,2\n", {"drop": ("c",)}, InvalidArgument, r"drop = 'c': no column .*columns 1 \('a'\), 2 \('b'\)"),
        ("a,a\n1,2\n", {"drop": ("a",)}, InvalidArgument, "2 columns have this name; use a number"),
        ("a,b\n1,2\n", {"drop": ("1", "2")}, DataError, "all columns are left out"),
        ("1;2,5\n", {"decimal": "."}, DataError, "'2,5' is not a finite number"),
        ("1;2\n", {"decimal": "x"}, InvalidArgument, "decimal = 'x': unknown"),
        ("1;2\n", {"index": "first"}, InvalidArgument, "index = 'first': unknown"),
        ("1;2\n", {"missing": None}, InvalidArgument, "missing = None: unknown"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, text: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(error, match=message):
        load_table(path, **options)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"drop": ("2",)}, [[0, 5], [1, np.nan], [3, 6]]),
        ({"missing": "drop"}, [[0, 1, 5], [3, 7, 6]]),
        ({"missing": "drop", "index": "drop"}, [[1, 5], [7, 6]]),
    ],
)
def test_options_of_npy(tmp_path: Path, options: dict[str, object], rows: list[list[float]]) -> None:
    np.save(tmp_path / "t.npy", np.array([[0, 1, 5], [1, np.inf, np.nan], [3, 7, 6]]))
    if np.isfinite(rows).all():
        np.testing.assert_array_equal(load_table(tmp_path / "t.npy", **options), rows)
    else:
        with pytest.raises(DataError, match="row 2, column 3: nan is not a finite number"):
            load_table(tmp_path / "t.npy", **options)


def test_npy_says_how_many(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([[0, 1], [np.nan, np.inf], [3, np.nan]]))
    with pytest.raises(DataError, match=r"row 2, column 1: nan .*one of 3 such values in 2 columns.*missing=drop"):
        load_table(tmp_path / "t.npy")
    with pytest.raises(InvalidArgument, match="decimal = ,: an option of text files"):
        load_table(tmp_path / "t.npy", decimal=",")


def test_a_line_of_units(tmp_path: Path) -> None:
    """Is left out and said, and rows keep their lines; a word in one row of numbers is refused as ever."""
    path = tmp_path / "t.csv"
    path.write_text("Umfang;Höhe;Art\n cm;m;\n20,5;1.300,0;Eiche\n21,5;1.310,5;Ulme\n", encoding="latin-1")
    table = read_table(path, Reading(condition=("Art",)))
    np.testing.assert_array_equal(table.rows, [[20.5, 1300.0], [21.5, 1310.5]])
    assert table.place(0) == "line 3"
    assert "line 2 holds units and is left out (cm, m)" in table.notices
    path.write_text("a,b\n1,2\nx,3\n4,5\n")
    with pytest.raises(DataError, match="line 3, column 1"):
        load_table(path)


def test_years_beside_words_are_a_header(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As in tables of the World Bank, whose years are no first row of the data."""
    path = tmp_path / "wide.csv"
    path.write_text("country,code,1960,1961,1962\nAruba,ABW,4.82,4.65,4.47\nChad,TCD,6.3,,6.2\nCuba,CUB,4.1,3.9,4.5\n")
    table = read_table(path, Reading(drop=("country", "code"), missing="drop"))
    assert table.columns.names == ("1960", "1961", "1962")
    np.testing.assert_array_equal(table.rows, [[4.82, 4.65, 4.47], [4.1, 3.9, 4.5]])
    assert "line 1 is read as a header: country, code, 1960, 1961, ..." in caplog.text


def test_numbers_beside_words_are_rows(tmp_path: Path) -> None:
    """Counts are no years, nor are other whole numbers above fractions: the first line is one like the others."""
    path = tmp_path / "t.csv"
    for text in (
        "Ann,1,2,3\nBob,2,5,4\nCat,1,7,9\n",
        "setosa,5,6,7\nversicolor,5.1,6.2,7.3\nvirginica,5.5,6.5,7.5\n",
        "a,2199,2200,2202\nb,2.5,3.5,4.5\nc,3.5,4.5,5.5\n",
        "a,1499,1500,1501\nb,2.5,3.5,4.5\nc,3.5,4.5,5.5\n",
    ):
        path.write_text(text)
        assert len(read_table(path, Reading(drop=("1",))).rows) == 3


def test_names_in_single_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("'popul'\t'vote share'\t5'\n0\t1.5\t7\n190\t2.5\t8\n")
    assert read_table(path).columns.names == ("popul", "vote share", "5'")
