"""Names of columns, trajectories and cells: one alone is not taken apart into its letters."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynode
from pynode.cli.values import names_in as cli_names
from pynode.datasets.frame import read_frame
from pynode.datasets.heads import column_names
from pynode.datasets.reading import Reading
from pynode.datasets.tables import load_table, split_and_standardise
from pynode.errors import InvalidArgument
from pynode.names import in_one_text, names_in, names_of
from pynode.problems.base import options_from_json
from pynode.problems.density.user_tables import FileOptions
from pynode.problems.series.user_series import SeriesOptions, UserSeries

SERIES = "site,plot,time,level,force,age,turn\n" + "\n".join(
    f"{site},{plot},{t},{t * t + ord(site)},{t % 3},{ord(site)},{(50 * t) % 360}"
    for site in "ab"
    for plot in "xy"
    for t in range(8)
)


def test_names_of() -> None:
    assert names_of("values", "level") == ("level",)
    assert names_of("values", ["level", "3"]) == ("level", "3")
    assert names_of("leave_out", (3, "b"), numbers=True) == ("3", "b")
    assert names_of("missing_values", -9.5, numbers=True) == ("-9.5",)
    assert names_of("leave_out", (np.int64(3), np.float32(0.5), 3.0, 1e20, 10**400), numbers=True) == (
        *("3", "0.5", "3"),
        "100000000000000000000",
        f"1{'0' * 400}",
    )
    assert names_of("leave_out", np.array([3.0, 4.5]), numbers=True) == ("3", "4.5")
    assert names_of("missing_values", np.int64(-9), numbers=True) == ("-9",)
    assert names_of("missing_values", (float("nan"), float("inf")), numbers=True) == ("nan", "inf")
    no_names: tuple[Any, ...] = (b"ab", (b"ab",), bytearray(b"ab"), True, np.bool_(True), [None], {"level": 1})
    for wrong in no_names:
        with pytest.raises(InvalidArgument, match=r"^leave_out = .*; give texts or numbers, e\.g\. \('A7', 3\)$"):
            names_of("leave_out", wrong, numbers=True)
    for wrong in (3, (3,), None, {"level": 1}, (True,), b"ab", (np.int64(3),)):
        with pytest.raises(InvalidArgument, match=r"^values = .*give names or numbers of columns as text"):
            names_of("values", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ({"values": "level"}, {"values": ("level",)}),
        ({"inputs": "force"}, {"inputs": ["force"]}),
        ({"covariates": "age"}, {"covariates": ("age",)}),
        ({"covariates": "none"}, {"covariates": ("none",)}),
        ({"circular": "level:90"}, {"circular": ("level:90",)}),
        ({"leave_out": "a/x"}, {"leave_out": ("a/x",)}),
        ({"missing_values": "9"}, {"missing_values": (9,)}),
        ({"id": "site,plot"}, {"id": ("site", "plot")}),
        ({"time": "time"}, {"time": ("time",)}),
    ],
    ids=str,
)
def test_read_series(tmp_path: Path, one: dict[str, Any], several: dict[str, Any]) -> None:
    (path := tmp_path / "s.csv").write_text(SERIES)
    usual: dict[str, Any] = {"time": "time", "id": "site,plot", "values": ("level",)}
    first, second = (pynode.read_series(path, **{**usual, **given}) for given in (one, several))
    assert (first.values, first.inputs, first.covariates) == (second.values, second.inputs, second.covariates)
    assert [each.name for each in first.each] == [each.name for each in second.each]
    assert first.notices == second.notices
    for given in (one, several):
        (name,) = given
        wanted = ",".join(given[name]) if name in ("id", "time") and not isinstance(given[name], str) else given[name]
        options = getattr(SeriesOptions(**given), name)
        assert options == (wanted if name in ("id", "time") else names_of(name, wanted, numbers=True))


def test_tables(tmp_path: Path) -> None:
    (path := tmp_path / "t.csv").write_text("ab,cd,a\n" + "\n".join(f"{k},{k * k % 7},{k % 3}.5" for k in range(30)))
    assert load_table(path, drop="ab").shape == (30, 2)
    assert read_frame(path, words="ab", missing_values="0").columns[0].kind == "text"
    one: Any = "ab"
    assert Reading(condition=one, classes=one) == Reading(condition=("ab",), classes=("ab",))
    assert FileOptions(drop=one, dequantise=one) == FileOptions(drop=("ab",), dequantise=("ab",))
    rows = np.stack([np.random.default_rng(0).normal(size=400), np.arange(400) % 7], axis=1)
    splits = split_and_standardise(rows, dequantise="2")
    assert splits.units is not None
    assert splits.units.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "known", "names"),
    [
        ("a,b", (), ("a", "b")),
        ("a,b", ("a", "b", "a,b"), ("a,b",)),
        ("c, a,b ,d", ("a,b", "c"), ("c", "a,b", "d")),
        ("a, b,c", ("a, b",), ("a, b", "c")),
        ("x,y,z,x,y", ("x,y", "x,y,z"), ("x,y,z", "x,y")),
        ('"a,b",c', ("b,c",), ("a,b", "c")),
        ('"a","b"', ("a,b",), ("a", "b")),
        ("a,,b,a", (), ("a", "b")),
        ('5",6', (), ('5"', "6")),
        ('"q" x', (), ('"q" x',)),
        ('"q" x', ('"q" x',), ('"q" x',)),
        ('"q"', ("q", '"q"'), ('"q"',)),
        ('"q" x,3,y', ('"q" x', "y"), ('"q" x', "3", "y")),
        ('5" pipe, flow', ('5" pipe, flow', "flow"), ('5" pipe, flow',)),
        ('a,5" pipe, flow', ('5" pipe, flow', "a"), ("a", '5" pipe, flow')),
    ],
)
def test_names_in_a_text(text: str, known: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert names_in("id", [text], known) == names


@pytest.mark.parametrize("text", ["", " , ", '"a,b'])
def test_no_names_in_a_text(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^id = "):
        names_in("id", [text])


@pytest.mark.parametrize("names", [("a",), ("a,b",), ("a", "b"), ("a,b", "c"), ('say "x"', "b"), ('"',), ("5'", "ü")])
def test_names_in_one_text_are_found_again(names: tuple[str, ...]) -> None:
    assert names_in("id", [in_one_text(names)]) == names


COMMAS = '"a,b",c,"t,s","x,y",x,"u,v"\n' + "".join(
    f'{k},"{m}, J",{t},{ord(k) + m * t % 3},{m + t * t % 5},{t % 4}\n' for k in "pq" for m in (1, 2) for t in range(8)
)
"""A table whose columns have commas in their names, and whose trajectories have."""
NAMED: dict[str, Any] = {"id": ("a,b", "c"), "time": ("t,s",), "values": ("x,y", "x"), "inputs": ("u,v",)}


def test_names_with_quotation_marks_in_a_table(tmp_path: Path) -> None:
    rows = "\n".join(f"{t},{t * t % 7},{t % 3}" for t in range(9))
    (path := tmp_path / "s.csv").write_text(f'"""q"" x",y,"5"" pipe, flow"\n{rows}\n')
    read = pynode.read_series(path, time='"q" x', values=('5" pipe, flow',))
    assert (read.axis.column, read.values) == ('"q" x', ('5" pipe, flow',))
    for text in ('5" pipe, flow', '"q" x,y'):
        assert ",".join(cli_names("--values", [text], lambda: column_names(path))) == text


def test_one_name_each_holds_commas(tmp_path: Path) -> None:
    """An item of a list is one name, also where the options of a problem keep it; so is a whole trajectory's."""
    (path := tmp_path / "s.csv").write_text(COMMAS)
    read = pynode.read_series(path, **NAMED)
    assert (read.values, read.inputs, read.id_columns, read.time_columns) == (
        *(("x,y", "x"), ("u,v",), ("a,b", "c"), ("t,s",)),
    )
    posed = UserSeries(options=SeriesOptions(data=str(path), **NAMED, leave_out=("q/2, J",), held_out=("p/2, J",)))
    assert (posed.series.values, posed.series.id_columns) == (read.values, read.id_columns)
    assert [each.name for each in posed.series.each] == ["p/1, J", "p/2, J", "q/1, J"]
    assert [bool(mask.any()) for mask in posed.parts.training] == [True, False, True]
    stored = json.loads(json.dumps(asdict(posed.options)))
    assert options_from_json(UserSeries, stored) == posed.options
    with pytest.raises(InvalidArgument, match=r"^id = 'a,c': no column of the table"):
        pynode.read_series(path, id=("c", "a,c"))
    with pytest.raises(InvalidArgument, match=r"^values = 'x,c': no column of the table"):
        pynode.read_series(path, values="x,c")


@pytest.mark.parametrize(
    ("id", "held_out"), [("a,b,c", "p/2, J"), ('"a,b",c', '"p/2, J"'), ("c,a,b", "id:2, J/p"), ("c,1", "2, J/p,2, J/q")]
)
def test_a_name_with_a_comma_in_a_text(tmp_path: Path, id: str, held_out: str) -> None:
    (path := tmp_path / "s.csv").write_text(COMMAS)
    options = SeriesOptions(data=str(path), time="t,s", id=id, held_out=held_out)
    posed = UserSeries(options=options)
    assert set(posed.series.id_columns) == {"a,b", "c"}
    assert posed.series.time_columns == ("t,s",)
    out = [each.name for each, mask in zip(posed.series.each, posed.parts.training, strict=True) if not mask.any()]
    assert len(out) == held_out.count(" J")
    with pytest.raises(InvalidArgument, match=r'no trajectory of the file; it has "p/1, J", "p/2, J", '):
        pynode.read_series(path, id="a,b,c", time="t,s", leave_out=("p/2", " J"))
