"""Tables of doses: routes in columns and in words, and columns of the programs that write such tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pynode.datasets.errors import DataError
from pynode.trajectories.alike import aligned
from pynode.trajectories.data import Trajectories
from pynode.trajectories.dosing import dose_column
from pynode.trajectories.read import read_series

ROUTES = ("oral", "iv")


def series(path: Path, text: str, **options: object) -> Trajectories:
    (path / "t.csv").write_text(text)
    return read_series(path / "t.csv", **options)  # type: ignore[arg-type]


def body(k: int, dose: str, level: str) -> str:
    """Rows of one body: two doses, the first by a route of its own, and four samples."""
    first, second = ROUTES[k % 2], ROUTES[k // 2 % 2]
    cells = [(0, dose, first), (1.5, level, ""), (3, level, ""), (8, dose, second), (9, level, ""), (12, level, "")]
    return "".join(
        f"{k},{t},{cell.format(value=10 * k + n, route=route)}\n" for n, (t, cell, route) in enumerate(cells)
    )


WORDS = "id,h,conc,dose,route\n" + "".join(body(k, ",{value},{route}", "{value},,") for k in range(1, 7))
NUMBERS = WORDS.replace("oral", "1").replace("iv", "2")


@pytest.mark.parametrize("options", [{}, {"values": ("conc",), "inputs": ("dose",)}])
@pytest.mark.parametrize(("text", "names"), [(WORDS, ("iv", "oral")), (NUMBERS, ("1", "2"))])
def test_routes_in_a_column(tmp_path: Path, text: str, names: tuple[str, ...], options: dict[str, object]) -> None:
    """Doses of each route are an input of their own, since the same dose acts otherwise by another route."""
    result = series(tmp_path, text, **options)
    assert result.inputs == tuple(f"dose(route={name})" for name in names)
    assert (result.values, result.input_kinds, result.covariates) == (("conc",), ("jumps", "jumps"), ())
    assert any("doses are told apart by column 5 ('route')" in notice for notice in result.notices)
    by_mouth = result.each[1].inputs[result.inputs.index(f"dose(route={'oral' if 'oral' in names else 1})")]
    assert (by_mouth.times.tolist(), by_mouth.values.tolist()) == ([0.0], [20.0])
    assert {dose_column(name) for name in result.inputs} == {"dose"}


def test_a_route_that_is_named_as_a_covariate_is_one(tmp_path: Path) -> None:
    text = "id,h,conc,dose,route\n" + "".join(body(k, ",{value},{route}", "{value},,") for k in (3, 4, 7, 8))
    assert series(tmp_path, text, covariates=("route",)).inputs == ("dose",)


def test_a_word_for_few_doses_is_a_remark(tmp_path: Path) -> None:
    text = WORDS.replace(",oral", ",").replace(",iv", ",", 5)
    assert series(tmp_path, text).inputs == ("dose",)


def test_a_new_file_has_the_routes_of_the_model(tmp_path: Path) -> None:
    """Also those that it does not use; another one is refused, with its line."""
    model = series(tmp_path, WORDS)
    options = {"values": ("conc",), "inputs": ("dose",), "like": model}
    new = series(tmp_path, "id,h,conc,dose,route\n1,0,,5,oral\n1,1,3,,\n1,2,4,,\n", **options)
    (one,) = aligned(model, new)
    assert [each.times.tolist() for each in one.inputs] == [[], [0.0]]
    with pytest.raises(DataError, match=r"line 2, column 5 \('route'\): 'sc' is no route .* iv, oral"):
        series(tmp_path, "id,h,conc,dose,route\n1,0,,5,sc\n1,1,3,,\n1,2,4,,\n", **options)


def test_routes_in_columns_of_their_own(tmp_path: Path) -> None:
    """Empty but for few doses; some bodies have none by one of the routes."""
    rows = []
    for k in range(8):
        for n, t in enumerate((0, 1, 2, 4, 5, 8)):
            given = n in (0, 3)
            by_mouth = k % 3 != 0
            rows.append(
                f"{k},{t},{'' if given else t + k},{7 if given and by_mouth else ''},{9 if given and k % 2 else ''}"
            )
    for columns in ("oral_mg,iv_mg", "tablet,drip"):
        text = f"id,h,conc,{columns}\n" + "\n".join(rows) + "\n"
        result = series(tmp_path, text, values=("conc",), inputs=tuple(columns.split(",")))
        assert result.input_kinds == ("jumps", "jumps"), columns
    assert series(tmp_path, text.replace("tablet,drip", "oral_mg,iv_mg")).inputs == ("oral_mg", "iv_mg")


HEAD = "ID,TIME,AMT,CMT,EVID,MDV,ADDL,DV\n"


def event(k: int, t: float, *, dose: bool, further: int = 0) -> str:
    marks = f"{1 if dose else 2},{int(dose)},{int(dose)},{further}"
    return f"{k},{t},{100 if dose else '.'},{marks},{'.' if dose else k + t}\n"


def test_columns_that_mark_rows_are_no_values(tmp_path: Path) -> None:
    text = HEAD + "".join(event(k, t, dose=t in (0, 12)) for k in range(1, 5) for t in (0, 1, 3, 8, 12, 14, 20))
    result = series(tmp_path, text)
    assert (result.values, result.inputs, result.input_kinds) == (("DV",), ("AMT",), ("jumps",))
    assert not result.constants


def test_zeros_in_marked_rows_are_no_values(tmp_path: Path) -> None:
    """Such tables have a cell in each column; without the mark, a 0 is a measurement."""
    text = HEAD + "".join(event(k, t, dose=t in (0, 12)) for k in range(1, 5) for t in (0, 1, 3, 8, 12, 14, 20))
    text = text.replace(",.", ",0")
    result = series(tmp_path, text)
    assert (result.values, result.inputs, result.input_kinds) == (("DV",), ("AMT",), ("jumps",))
    assert [each.times.tolist() for each in result.each] == [[1, 3, 8, 14, 20]] * 4
    assert any("('DV'): zeros in rows that EVID and MDV mark are no values" in notice for notice in result.notices)


def test_a_dose_in_a_row_with_a_value(tmp_path: Path) -> None:
    """Of a column that is called so and has few of them: the value is that before the dose."""
    rows = "".join(f"{k},{t},{100 if t == 0 else ''},{k + t}\n" for k in (1, 2) for t in (0, 1, 2, 4, 8, 12))
    result = series(tmp_path, "id,h,dose,conc\n" + rows)
    assert (result.values, result.inputs, result.input_kinds) == (("conc",), ("dose",), ("jumps",))


def test_doses_that_are_given_slowly(tmp_path: Path) -> None:
    """Are added at once, which is said; a rate without doses is a value."""
    rows = [(t, 100 if t == 0 else 0, 25 if t == 0 else 0, "." if t == 0 else t * t) for t in (0, 1, 3, 8, 12)]
    text = "ID,TIME,AMT,RATE,DV\n" + "".join(f"{k},{t},{a},{r},{v}\n" for k in (1, 2) for t, a, r, v in rows)
    result = series(tmp_path, text)
    assert (result.values, result.inputs) == (("DV",), ("AMT",))
    assert any("('RATE') is left out of account: doses are added at once" in notice for notice in result.notices)
    assert series(tmp_path, text.replace("AMT", "level")).values == ("level", "RATE", "DV")


def test_a_row_that_stands_for_several_doses_is_refused(tmp_path: Path) -> None:
    text = HEAD + "".join(event(k, t, dose=t == 0, further=3 * (t == 0)) for k in (1, 2) for t in (0, 1, 3, 8))
    with pytest.raises(DataError, match=r"line 2, column 7 \('ADDL'\): 3 stands for further doses.*a row for each"):
        series(tmp_path, text)


def test_marks_without_doses_are_values(tmp_path: Path) -> None:
    text = "h,ss,x\n" + "".join(f"{n},{n * n % 7},{n % 5}\n" for n in range(12))
    assert series(tmp_path, text).values == ("ss", "x")


WAVES = [(n, round(5 + math.sin(n / 3), 3), round(3 + math.cos(n / 4), 3)) for n in range(40)]


@pytest.mark.parametrize("names", ["amount,rate", "pulse,rate", "alum dose,ss", "amount,dur", "dose,cmt"])
def test_full_columns_that_are_called_so_are_values(tmp_path: Path, names: str) -> None:
    text = f"time,{names}\n" + "".join(f"{n},{a},{b}\n" for n, a, b in WAVES)
    assert series(tmp_path, text).values == tuple(names.split(","))


@pytest.mark.parametrize("name", ["Oral temp", "pulse", "IV", "po", "im", "amount"])
def test_values_in_few_rows_are_no_doses(tmp_path: Path, name: str) -> None:
    """Where rows have other values too, unless a column is surely called a dose."""
    text = f"time,x,{name}\n" + "".join(f"{n},{a},{b if n % 6 == 0 else ''}\n" for n, a, b in WAVES)
    result = series(tmp_path, text)
    assert (result.values, result.inputs) == (("x", name), ())


def test_a_measured_rate_beside_doses_is_a_value(tmp_path: Path) -> None:
    text = "time,rate,dose\n" + "".join(f"{n},{b},{5 if n % 10 == 0 else ''}\n" for n, _, b in WAVES)
    result = series(tmp_path, text)
    assert (result.values, result.inputs) == (("rate",), ("dose",))


def test_suspended_solids_are_no_steady_state(tmp_path: Path) -> None:
    text = "hour,turbidity,ss,dose\n" + "".join(f"{n},{a},{b},{3 if n % 12 == 0 else ''}\n" for n, a, b in WAVES)
    for options in ({}, {"values": ("turbidity", "ss"), "inputs": ("dose",)}):
        result = series(tmp_path, text, **options)
        assert (result.values, result.inputs) == (("turbidity", "ss"), ("dose",))


def test_zeros_of_an_input_are_levels_in_marked_rows_too(tmp_path: Path) -> None:
    rows = [
        (t, "" if t in (0, 4) else 9 - t, 100 if t in (0, 4) else 0, int(t in (0, 4)), int(t < 4)) for t in range(8)
    ]
    text = "id,h,dv,amt,evid,fed\n" + "".join(f"{k}," + ",".join(map(str, row)) + "\n" for k in (1, 2) for row in rows)
    result = series(tmp_path, text, inputs=("amt", "fed"))
    fed = result.each[0].inputs[1]
    assert (fed.times.tolist(), fed.values.tolist()) == (list(range(8)), [1.0] * 4 + [0.0] * 4)


def test_a_word_that_is_no_route_leaves_doses_together(tmp_path: Path) -> None:
    text = WORDS.replace("route", "nurse")
    assert series(tmp_path, text).inputs == ("dose",)


def test_an_empty_route_is_named(tmp_path: Path) -> None:
    options = {"values": ("conc",), "inputs": ("dose",), "like": series(tmp_path, WORDS)}
    with pytest.raises(DataError, match=r"line 2, column 5 \('route'\): is empty; it knows iv, oral"):
        series(tmp_path, "id,h,conc,dose,route\n1,0,,5,\n1,1,3,,\n1,2,4,3,iv\n", **options)
