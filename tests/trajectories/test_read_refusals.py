"""What is refused before any training: one line with file, line and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pynode.datasets.errors import DataError
from pynode.errors import InvalidArgument
from pynode.trajectories.read import read_series

CLOCKS = "clocks were put back then, and local times name an hour twice: write the times in UTC, or with their offset"

REFUSED: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "times that go back": (
        "t,x\n" + "".join(f"{t},{t % 3}\n" for t in (0, 1, 2, 3, 2.5, 5, 6, 7)),
        {},
        ("line 6: the time goes back from 3 to 2.5", "(id=COLUMN)"),
    ),
    "times that go back in one trajectory": (
        "id,t,x\n" + "".join(f"a,{t},1{t}\n" for t in range(8)) + "".join(f"b,{t},{t}.5\n" for t in (0, 1, 5, 3, 6)),
        {"id": "id"},
        ("line 13: the time of trajectory 'b' goes back from 5 to 3; correct the line, or sort the rows by time",),
    ),
    "several trajectories without a name": (
        "t,x\n" + "".join(f"{t},{k * t % 7}\n" for k in range(1, 4) for t in range(10)),
        {},
        ("line 12: the time goes back from 9 to 0; if the file holds several trajectories", "(id=COLUMN)"),
    ),
    "days of the year over two of them": (
        "doy,x\n" + "".join(f"{day},{day % 9}\n" for day in (*range(300, 366, 5), *range(2, 60, 5))),
        {"time": "doy"},
        (
            "line 16: the time goes back from 365 to 2; if a year ends there, name the column of it as well "
            "(time=year,doy); if the file holds several trajectories",
        ),
    ),
    "times of whole seconds, four rows in each": (
        "time,x\n" + "".join(f"2024-03-01 10:00:{k // 4:02},{k % 7}.5\n" for k in range(60)),
        {},
        (
            "lines 2 and 3: the time 2024-03-01 10:00:00 occurs twice",
            "if times are rounded, write them with more digits",
        ),
    ),
    "a column for each year": (
        "country,code,1960,1961,1962,1963,1964\n" + "".join(f"c{k},C{k},1.5,2.5,,4.5,{k}.5\n" for k in range(9)),
        {},
        ("has times in its header (1960, 1961, ...)", "give each time a row"),
    ),
    "a time twice": ("t,x\n0,1\n1,2\n1,3\n2,5\n", {}, ("lines 3 and 4: the time 1 occurs twice", "(id=COLUMN)")),
    "a time twice in one trajectory": (
        "id,t,x\na,0,1\na,1,2\nb,0,1\nb,3,2\nb,3,4\n",
        {"id": "id"},
        ("lines 5 and 6: the time 3 of trajectory 'b' occurs twice; remove one of the rows",),
    ),
    "an hour twice": (
        "time,x\n" + "".join(f"27.10.2024 {h:02d}:00,{n}\n" for n, h in enumerate((0, 1, 2, 2, 3, 4))),
        {},
        ("lines 4 and 5: the time 27.10.2024 02:00 occurs twice", CLOCKS),
    ),
    "an hour twice in halves": (
        "time,x\n"
        + "".join(f"2024-10-27 {h},{n}\n" for n, h in enumerate(("1:30", "2:00", "2:30", "2:00", "2:30", "3:00"))),
        {},
        ("line 5: the time goes back from 2024-10-27 02:30 to 2024-10-27 02:00", CLOCKS),
    ),
    "an hour twice in America": (
        "time,x\n"
        + "".join(f"2024-11-03T0{h},{n}\n" for n, h in enumerate(("0:58:13", "1:59:00", "1:07:11", "2:01:00"))),
        {},
        ("line 4: the time goes back from 2024-11-03T01:59:00 to 2024-11-03T01:07:11", CLOCKS),
    ),
    "an offset in some times": (
        "time,x\n" + "".join(f"2024-01-0{n} 10:00{'+01:00' if n < 3 else ''},{n % 3}\n" for n in range(1, 8)),
        {},
        ("column 1 ('time'): '2024-01-01 10:00+01:00' has an offset from UTC, or a zone, and '2024-01-03 10:00' has",),
    ),
    "years in the header": (
        "country,1960,1961,1962,1963\nA,1.5,2.5,3.5,1.25\nB,2.5,1.5,0.5,0.25\nC,2.5,1.5,0.5,0.75\n",
        {},
        ("has times in its header (1960, 1961, ...): give each time a row (transpose the table), or name the column",),
    ),
    "dates in the header": (
        "place," + ",".join(f"2024-01-0{n}" for n in range(1, 8)) + "\n" + "A,1,2,3,5,6,7,8\nB,3,4,5,6,7,8,9\n",
        {},
        ("has times in its header (2024-01-01, 2024-01-02, ...)",),
    ),
    "dates without marks in the header": (
        "place," + ",".join(f"2024010{n}" for n in range(1, 5)) + "\n" + "A,1.5,2.5,3.5,5.5\nB,3.5,4.5,5.5,6.5\n",
        {},
        ("has times in its header (20240101, 20240102, ...)",),
    ),
    "times in the first row": (
        "time,0,0.5,1,1.5,2\nx,1,2,3,5,6\ny,3,4,5,6,7\n",
        {},
        ("line 1 has the times, one in each column: give each time a row (transpose the table)",),
    ),
    "a word among values": (
        "t,x\n" + "".join(f"{t},{'oops' if t == 5 else t % 3}\n" for t in range(10)),
        {},
        ("line 7, column 2 ('x'): 'oops' is not a number; correct the cell", "(missing_values=oops)"),
    ),
    "words as values": (
        "t,kind,x\n0,oak,1\n1,yew,2\n",
        {"values": ("kind",)},
        ("line 2, column 2 ('kind'): 'oak' is text, and a value is a number; name columns of numbers as values",),
    ),
    "an infinite value": (
        "t,x\n" + "".join(f"{t},{'inf' if t == 4 else t % 3}\n" for t in range(9)),
        {},
        ("line 6, column 2 ('x'): the value is infinite; correct the cell",),
    ),
    "one point": (
        "patient,hours,c\nP1,0,9\nP1,1,8\nP4,0.5,7\nP5,0,6\nP5,2,3\n",
        {"time": "hours", "id": "patient"},
        ("line 4: trajectory 'P4' has one point only; give at least two, or leave it out (leave_out=P4)",),
    ),
    "one row": ("t,x\n1,2\n", {"time": "t"}, ("line 2: the file has one point only; give at least two",)),
    "a unit that is none": (
        "time,x\n0 parsec,1\n1 parsec,2\n",
        {},
        ("line 2, column 1 ('time'): '0 parsec' has no unit of time ('parsec'); write numbers in one unit",),
    ),
    "a unit that is none, in a longer name": (
        "time [parsec],x\n0 pc,1\n1 pc,2\n2 pc,4\n",
        {},
        ("line 2, column 1 ('time [parsec]'): '0 pc' has no unit of time ('pc'); write numbers in one unit",),
    ),
    "units that differ": (
        "time,x\n0 min,1\n1 h,2\n",
        {},
        ("line 2, column 1 ('time'): '0 min' has a unit that other cells don't have ('min')",),
    ),
    "words as times": (
        "time,x\nsoon,1\nlater,2\n",
        {},
        ("line 2, column 1 ('time'): 'soon' is neither a number nor a date; write times as numbers",),
    ),
    "a date that is none": (
        "date,x\n2024-02-27,1\n2024-02-28,2\n2024-02-30,3\n",
        {},
        ("line 4, column 1 ('date'): '2024-02-30' is not a date",),
    ),
    "a day or a month": (
        "date,x\n" + "".join(f"0{n}/02/2024,{n * n % 5}\n" for n in range(1, 7)),
        {},
        (
            "column 1 ('date'): dates such as 01/02/2024 can be day, month, year or month, day, year: write them as",
            "(date_order=dmy)",
        ),
    ),
    "a time that is missing": (
        "t,x\n0,1\n,2\n2,3\n",
        {"time": "t"},
        ("line 3, column 1 ('t'): the time is missing; write",),
    ),
    "a name that is missing": (
        "id,t,x\na,0,1\na,1,2\n,2,3\na,3,4\n",
        {"id": "id"},
        ("line 4, column 1 ('id'): the name of the trajectory is missing; write it in each row",),
    ),
    "a covariate that changes": (
        "id,t,w,x\na,0,1,1\na,1,2,2\nb,0,4,3\nb,2,3,4\n",
        {"covariates": ("w",)},
        ("line 3, column 3 ('w'): the covariate changes within trajectory 'a'; make it an input (inputs=w)",),
    ),
    "a covariate that is missing": (
        "id,t,w,x\na,0,1,1\na,1,1,2\nb,0,,3\nb,2,,4\n",
        {"covariates": ("w",)},
        ("line 4, column 3 ('w'): the covariate is missing in all rows of trajectory 'b'", "(leave_out=b)"),
    ),
    "nothing that changes": ("t,x\n0,1\n1,1\n2,1\n", {}, ("no value changes over time; give a column that does",)),
    "nothing but times": ("t,word\n0,a\n1,b\n2,c\n", {}, ("has no column of values beside times and names",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(tmp_path: Path, name: str) -> None:
    """Each names the file, the place and what to do."""
    text, options, texts = REFUSED[name]
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_series(path, **options)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for said in texts:
        assert said in message


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown time": (
        {"time": "tt"},
        r"time = 'tt': no column of the table; it has columns 1 \('id'\), 2 \('t'\), 3 \('x'\)",
    ),
    "unknown value": ({"values": ("y",)}, r"values = 'y': no column of the table"),
    "unknown input": ({"inputs": ("y",)}, r"inputs = 'y': no column of the table"),
    "unknown kind": (
        {"input_kind": "linear"},
        r"input_kind = 'linear': unknown; use one of auto, interpolated, steps, jumps",
    ),
    "unknown order": (
        {"date_order": "day"},
        r"date_order = 'day': no order of day, month and year; use one of dmy, mdy",
    ),
    "unknown trajectory": ({"leave_out": ("c",)}, r"leave_out = 'c': no trajectory of the file; it has a, b"),
    "all left out": ({"leave_out": ("a", "b")}, r"all trajectories; keep at least one"),
    "no period": (
        {"circular": ("x:round",)},
        r"circular = 'x:round': its period is no positive number; write NAME:360",
    ),
    "no angle": ({"circular": ("t:24",)}, r"circular = 't:24': neither a value nor an input"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(tmp_path: Path, name: str) -> None:
    """Each names the option and what there is."""
    options, said = OPTIONS[name]
    path = tmp_path / "table.csv"
    path.write_text("id,t,x\na,0,1\na,1,2\nb,0,3\nb,2,1\n")
    with pytest.raises(InvalidArgument, match=said):
        read_series(path, **options)
