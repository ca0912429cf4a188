"""Files as instruments, spreadsheets and databases write them: read as a reader would, or refused with a remedy."""

from __future__ import annotations

import math
import shlex
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from pynode.cli.as_typed import as_typed
from pynode.datasets.errors import DataError
from pynode.datasets.tables import read_table
from pynode.names import as_argument
from pynode.trajectories.ahead import times_ahead
from pynode.trajectories.data import Trajectories
from pynode.trajectories.read import read_series

WAVES = [[round(3 + math.sin(k / 4 + j), 2) for j in range(4)] for k in range(30)]
ROWS = "".join(f"{k},{wave[0]}\n" for k, wave in enumerate(WAVES))


def series(folder: Path, text: str) -> Trajectories:
    (path := folder / "t.csv").write_text(text, encoding="utf-8")
    return read_series(path)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(DataError) as caught:
        series(folder, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mark", ["%", "//", "!", "*", ";", "--"])
def test_comments_above_the_header(tmp_path: Path, mark: str) -> None:
    """Also where they have as many cells as the table."""
    text = f"{mark} instrument XY\n{mark} gain 3, offset 2\ntime,conc\n{ROWS}"
    read = series(tmp_path, text)
    assert (read.values, read.axis.column, len(read.each[0].times)) == (("conc",), "time", 30)
    assert "2 lines above the table are left out (to line 2)" in read.notices
    assert read_table(tmp_path / "t.csv").columns.names == ("time", "conc")


@pytest.mark.parametrize(
    ("head", "names"),
    [("% time,conc", ("time", "conc")), ("%RH,conc", ("%RH", "conc")), ("%RH,conc\n(%),(mg/l)", ("%RH", "conc"))],
)
def test_a_header_that_begins_as_comments_do(tmp_path: Path, head: str, names: tuple[str, ...]) -> None:
    read = series(tmp_path, f"{head}\n{ROWS}")
    assert (read.axis.column, *read.values) == names
    assert len(read.each[0].times) == 30


def test_a_sheet_with_sums(tmp_path: Path) -> None:
    """Semicolons, decimal commas, points between thousands, empty rows and columns; a row of sums is named."""
    start = datetime(2024, 1, 1)
    lines = [f"{start + timedelta(k):%d.%m.%Y};1.{200 + k},50;{800 - k},25;;" for k in range(30)]
    text = "Datum;Umsatz;Kosten;;\n" + "\n".join(lines) + "\n"
    read = series(tmp_path, text + ";;;;\n;;;;\n")
    assert read.values == ("Umsatz", "Kosten")
    assert read.each[0].values[1].tolist() == [1201.5, 799.25]
    told = refused(tmp_path, text + "Summe;36.435,00;23.565,00;;\n;;;;\n")
    assert told.endswith(
        "line 32, column 1 ('Datum'): 'Summe' is not a date; correct the cell, or empty it if the value "
        "is missing, or remove the line if it is a total or a note"
    )
    told = refused(tmp_path, f"time,conc\n{ROWS}Total,90.1\nMean,3.0\n")
    assert told.endswith("or remove the lines if they are totals or notes")


@pytest.mark.parametrize("code", ["n.a.", "N.D.", "k.A.", "---", "\\N", "#N/A", "NULL", "-"])
def test_usual_words_for_missing_values(tmp_path: Path, code: str) -> None:
    lines = [f"{k},{code if k % 9 == 4 else wave[0]},{wave[1]}" for k, wave in enumerate(WAVES)]
    read = series(tmp_path, "time,a,b\n" + "\n".join(lines) + "\n")
    assert np.flatnonzero(np.isnan(read.each[0].values[:, 0])).tolist() == [4, 13, 22]


def test_other_words_for_missing_values_are_offered(tmp_path: Path) -> None:
    """Several at once, and those with a comma in quotation marks."""
    words = ["BDL", "ERR", '"off, broken"']
    lines = [f"{k},{words[k % 3] if k % 5 == 2 else wave[0]}" for k, wave in enumerate(WAVES)]
    told = refused(tmp_path, "time,a\n" + "\n".join(lines) + "\n")
    assert "line 4, column 2 ('a'): 'off, broken' is not a number (one of 6 such cells)" in told
    assert told.endswith(
        "if 'off, broken' and 'ERR' and 'BDL' stand for missing values everywhere, say so "
        "(missing_values='\"off, broken\",ERR,BDL')"
    )
    read = read_series(tmp_path / "t.csv", missing_values=("BDL", "ERR", "off, broken"))
    assert len(read.each[0].times) == 24


@pytest.mark.parametrize(
    ("word", "offered"),
    [("not measured", "'not measured'"), ("'no'", "\"'no'\""), ("***", "'***'"), ("BDL", "BDL"), ("$a", "'$a'")],
)
def test_words_are_offered_as_a_shell_takes_them(tmp_path: Path, word: str, offered: str) -> None:
    lines = [f"{k},{word if k % 5 == 2 else wave[0]}" for k, wave in enumerate(WAVES)]
    told = refused(tmp_path, "time,a\n" + "\n".join(lines) + "\n")
    assert told.endswith(f"everywhere, say so (missing_values={offered})")
    typed = shlex.split(as_typed(told, "series").partition(" (--missing-values ")[2][:-1])
    assert len(typed) == 1
    assert len(read_series(tmp_path / "t.csv", missing_values=typed).each[0].times) == 24


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ((0,), "line 2 is a header or holds units, remove it"),
        ((0, 1), "lines 2 and 3 are headers or hold units, remove"),
    ],
)
def test_words_in_the_first_rows_are_no_missing_values(tmp_path: Path, at: tuple[int, ...], told: str) -> None:
    rows = "".join(f"{k},{'A' if k in at else wave[0]}\n" for k, wave in enumerate(WAVES))
    said = refused(tmp_path, f"time,a\n{rows}")
    assert f"; if {told}" in said
    assert "missing_values" not in said
    later = "".join(f"{k},{'A' if k == 3 else wave[0]}\n" for k, wave in enumerate(WAVES))
    said = refused(tmp_path, f"time,a\n{later}")
    assert "; if line 5 is a header or holds units, remove it; if 'A' stands for a missing value everywhere" in said


@pytest.mark.parametrize(
    ("head", "cell"),
    [
        ("week", "{year}-W{week:02d}"),
        ("Woche", "KW {week:02d}/{year}"),
        ("KW", "KW{week} {year}"),
        ("yearweek", "{year}{week:02d}"),
        ("week", "{year} week {week}"),
        ("year,week", "{year},{week}"),
    ],
)
def test_weeks_over_a_new_year(tmp_path: Path, head: str, cell: str) -> None:
    weeks = [(2022 + k // 52, k % 52 + 1) for k in range(80)]
    lines = [f"{cell.format(year=y, week=w)},{30 + k % 7}" for k, (y, w) in enumerate(weeks)]
    read = series(tmp_path, f"{head},cases\n" + "\n".join(lines) + "\n")
    assert read.axis.kind == "date"
    np.testing.assert_array_equal(np.diff(read.each[0].times), 7 * 86400)
    for time in read.each[0].times[[0, 51, 52]].tolist():
        assert read.axis.parse(read.axis.text(time)) == time


@pytest.mark.parametrize("head", ["epiweek", "epi_week", "MMWRweek"])
def test_weeks_of_epidemiologists(tmp_path: Path, head: str) -> None:
    """Begin on Sundays: those of 2014 are 53, in the year 2020 as well, and 201501 begins on January 4."""
    weeks = [*(f"2014{k:02d}" for k in range(1, 54)), *(f"2015{k:02d}" for k in range(1, 53))]
    read = series(tmp_path, f"{head},cases\n" + "".join(f"{week},{30 + k % 7}\n" for k, week in enumerate(weeks)))
    times = read.each[0].times
    np.testing.assert_array_equal(np.diff(times), 7 * 86400)
    assert times[53] == datetime(2015, 1, 4, tzinfo=timezone.utc).timestamp()
    assert [read.axis.text(time) for time in times.tolist()] == weeks
    assert [read.axis.parse(week) for week in weeks] == times.tolist()


@pytest.mark.parametrize("cell", ["W{}-2019", "W{}/2019", "2019-W{}"])
@pytest.mark.parametrize("given", [None, "day"])
def test_names_that_look_like_weeks(tmp_path: Path, cell: str, given: str | None) -> None:
    rows = "".join(f"{cell.format(well)},{day},{wave[well]}\n" for well in (1, 2, 3) for day, wave in enumerate(WAVES))
    (path := tmp_path / "t.csv").write_text(f"well,day,x\n{rows}")
    read = read_series(path, time=given)
    assert (read.axis.column, [each.name for each in read.each]) == ("day", [cell.format(well) for well in (1, 2, 3)])
    one = "".join(f"{cell.format(k + 1)},{wave[0]},{wave[1]}\n" for k, wave in enumerate(WAVES))
    assert series(tmp_path, f"when,load,x\n{one}").axis.kind == "date"
    assert series(tmp_path, f"KW,day,x\n{one}").axis.kind == "date"
    assert series(tmp_path, f"label,load,x\n{one}").axis.kind == "date"


def test_weeks_are_written_as_the_file_has_them(tmp_path: Path) -> None:
    lines = [f"{2022 + k // 52}{k % 52 + 1:02d},{30 + k % 7}" for k in range(104)]
    read = series(tmp_path, "yearweek,cases\n" + "\n".join(lines) + "\n")
    (ahead,) = times_ahead(read.axis, read.each, read.axis.parse("202403"), None, ())
    assert [read.axis.text(time) for time in ahead] == ["202401", "202402", "202403"]


@pytest.mark.parametrize(
    "names", ["0h,1h,2h,4h", "day1,day2,day3,day4", "visit 1,visit 2,visit 3,visit 4", "0.5 min,1 min,5 min,9 min"]
)
def test_times_in_the_names_of_columns(tmp_path: Path, names: str) -> None:
    """Would be values beside each other, or one of them the time."""
    rows = "".join(f"P{k},{9 - k / 10},{7 - k / 10},{5 - k / 10},{1 + k / 100}\n" for k in range(8))
    first, second = names.split(",")[:2]
    told = refused(tmp_path, f"id,{names}\n{rows}")
    assert f"t.csv has times in its header ({first}, {second}, ...): give each time a row (transpose the table)" in told
    assert told.endswith(f"; if each row holds them for one time, name them (values={as_argument(names.split(','))})")
    read = read_series(tmp_path / "t.csv", values=names.split(","))
    assert (read.values, read.axis.column) == (tuple(names.split(",")), "row")


@pytest.mark.parametrize(
    "names",
    ["Tag1,Tag2,Tag3,Tag4", "year1,year2,year3,year4", "1s,2s,3s,4s", "1min,5min,15min,60min", "1 d,2 d,3 d,4 d"],
)
@pytest.mark.parametrize("first", ["", "n,", "frame,", "host,"])
def test_names_that_may_be_times_of_sensors(tmp_path: Path, first: str, names: str) -> None:
    """Without a row for each of several names they are values, which is said where no column is the time."""
    cells = {"": "", "host,": "web,"}
    rows = "".join(f"{cells.get(first, f'{k},')}{','.join(map(str, wave))}\n" for k, wave in enumerate(WAVES))
    read = series(tmp_path, f"{first}{names}\n{rows}")
    assert read.values == tuple(names.split(","))
    assert len(read.each[0].times) == 30
    one, two = names.split(",")[:2]
    said = f"the columns '{one}', '{two}', ... are taken as values of one time each row; if they are times, transpose"
    untimed = first not in ("n,", "frame,") and one != "Tag1"
    assert any(notice.startswith(said) for notice in read.notices) is untimed


def test_years_as_names_of_given_values(tmp_path: Path) -> None:
    rows = "".join(f"{','.join(map(str, wave))}\n" for wave in WAVES)
    assert "has times in its header (2001, 2002, ...)" in refused(tmp_path, f"2001,2002,2003,2004\n{rows}")
    read = read_series(tmp_path / "t.csv", values=("2001", "2002", "2003", "2004"))
    assert (len(read.values), read.axis.column) == (4, "row")


@pytest.mark.parametrize("names", ["1h,2h,4h,8h", "0.5m,1m,2m,4m", "x1,x2,x3,x4", "day4,day3,day2,day1"])
def test_numbers_in_names_beside_a_time(tmp_path: Path, names: str) -> None:
    rows = "".join(f"{k},{','.join(map(str, wave))}\n" for k, wave in enumerate(WAVES))
    assert series(tmp_path, f"time,{names}\n{rows}").values == tuple(names.split(","))


def test_a_column_for_each_mouse(tmp_path: Path) -> None:
    """May be trajectories beside each other, which is said."""
    rows = "".join(f"{k},{','.join(map(str, wave[:3]))}\n" for k, wave in enumerate(WAVES))
    said = "the columns 'mouse1', 'mouse2', ... are modelled together, as values of one trajectory; if each is a "
    assert any(n.startswith(said) for n in series(tmp_path, f"time,mouse1,mouse2,mouse3\n{rows}").notices)
    for names in ("x1,x2,x3", "mouse1,rat2,mouse3"):
        assert not any("modelled together" in n for n in series(tmp_path, f"time,{names}\n{rows}").notices)


def test_tables_that_databases_print(tmp_path: Path) -> None:
    cells = "".join(f"| {k} | {wave[0]} |\n" for k, wave in enumerate(WAVES))
    rule = "+------+------+\n"
    read = series(tmp_path, f"{rule}| time | val  |\n{rule}{cells}{rule}")
    assert (read.values, read.axis.column, len(read.each[0].times)) == (("val",), "time", 30)
    lines = "".join(f" {k} | {wave[0]}\n" for k, wave in enumerate(WAVES))
    told = refused(tmp_path, f" time | val \n------+------\n{lines}(30 rows)\n")
    assert "line 33 has 1 cell instead of 2: remove it if it is a note, or give each line as many as the first" in told


def test_a_half_of_the_day(tmp_path: Path) -> None:
    start = datetime(2024, 3, 1, 8)
    times = [start + timedelta(hours=k) for k in range(30)]
    for style in ("%m/%d/%Y %I:%M %p", "%d-%b-%Y,%I:%M:%S %p"):
        head = "Date,Time,temp" if "," in style else "when,temp"
        rows = "".join(f"{time.strftime(style)},{wave[0]}\n" for time, wave in zip(times, WAVES, strict=True))
        read = series(tmp_path, f"{head}\n{rows}")
        np.testing.assert_array_equal(np.diff(read.each[0].times), 3600)
        assert read.axis.text(float(read.each[0].times[0])).endswith("08:00")


@pytest.mark.parametrize("name", ["", "*.csv"])
def test_several_files(tmp_path: Path, name: str) -> None:
    told = "not a file: give one table; join the files of several trajectories into one, with a column that names"
    for read in (read_series, read_table):
        with pytest.raises(DataError, match=told):
            read(tmp_path / name)
