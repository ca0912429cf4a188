"""Inputs in files: which columns are some, and how they go on between their rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pynode.errors import InvalidArgument
from tests.trajectories.tables import rows, said, series


def test_an_input_at_its_own_rows(tmp_path: Path) -> None:
    """Empty cells are neither 0 nor dropped: inputs go on where no value is."""
    result = series(
        tmp_path,
        "hour,room,outdoor\n0,15.0,11.5\n1,,13.25\n1.3,15.5,\n2,,14.5\n3,,16\n",
        values=("room",),
        inputs=("outdoor",),
    )
    (trajectory,) = result.each
    assert trajectory.times.tolist() == [0, 1.3]
    assert trajectory.inputs[0].times.tolist() == [0, 1, 2, 3]
    assert trajectory.inputs[0].values.tolist() == [11.5, 13.25, 14.5, 16]
    assert result.input_kinds == ("interpolated",)


def test_doses(tmp_path: Path) -> None:
    """Doses in rows without values are jumps, guessed and given; a trajectory may have one value beside them."""
    first = "1,1.4,0,25,\n1,1.4,2,,17.3\n1,1.4,12,3.5,\n1,1.4,20,,31\n"
    text = f"Subject,Wt,time,dose,conc\n{first}2,1.5,0,15,\n2,1.5,2,,9.7\n"
    for options in ({}, {"values": ("conc",), "inputs": ("dose",)}):
        result = series(tmp_path, text, **options)
        assert (result.values, result.inputs, result.input_kinds) == (("conc",), ("dose",), ("jumps",))
        assert result.each[0].inputs[0].times.tolist() == [0, 12]
        assert result.each[0].inputs[0].values.tolist() == [25, 3.5]
        assert [len(t.times) for t in result.each] == [2, 1]
        assert result.covariates == ("Wt",)


def test_a_value_called_dose(tmp_path: Path) -> None:
    """Is a value, where each row has one."""
    assert series(tmp_path, "h,cells,dose\n" + rows(9, "{n},{w},0.00{n}{n}1")).values == ("cells", "dose")


def test_a_dose_and_a_value_at_one_time(tmp_path: Path) -> None:
    """Two rows of one time that fill other cells are one point, which is said."""
    text = "ID,TIME,AMT,DV\n" + "".join(
        f"{k},0,100,.\n{k},0,.,{k}.5\n{k},1,.,3\n{k},1,50,.\n{k},4,.,7\n" for k in (1, 2)
    )
    result = series(tmp_path, text)
    assert (result.values, result.inputs, result.input_kinds) == (("DV",), ("AMT",), ("jumps",))
    assert result.each[0].times.tolist() == [0, 1, 4]
    assert result.each[0].inputs[0].times.tolist() == [0, 1]


INPUTS = {
    "steps": "t,x,u\n" + "".join(f"{n},{n % 5},{(n // 8) % 3}\n" for n in range(40)),
    "interpolated": "t,x,u\n" + "".join(f"{n},{n % 5},{np.sin(n / 4):.3f}\n" for n in range(40)),
    "jumps": "t,x,u\n" + "".join(f"{n},{'' if n % 10 == 0 else n % 5},{5 if n % 10 == 0 else 0}\n" for n in range(40)),
    "jumps beside another grid": "t,x,v,u\n" + "".join(
        f"{n},{'' if n % 3 else n % 5},{n % 7},{5 if n in (1, 20, 31) else 0}\n" for n in range(40)
    ),
    "steps where it is switched": "t,x,u\n" + "".join(
        f"{n},{'' if n % 5 == 0 else n % 3},{n // 5 % 2 if n % 5 == 0 else ''}\n" for n in range(45)
    ),
    "steps of a pump's speeds": "t,x,u\n" + "".join(
        f"{n},{'' if n % 5 == 0 else n % 3},{(0, 3, 0, 5.5, 0, 4.2)[n // 5 % 6] if n % 5 == 0 else ''}\n"
        for n in range(55)
    ),
    "steps of set points": "t,x,u\n" + "".join(
        f"{n},{'' if n % 5 == 0 else n % 3},{(20, 22, 18)[n // 5 % 3] if n % 5 == 0 else ''}\n" for n in range(55)
    ),
    "steps of a valve of five positions": "t,x,u\n" + "".join(
        f"{n},{'' if n % 5 == 0 else n % 3},{25 * (n // 5 * 3 % 5) if n % 5 == 0 else ''}\n" for n in range(125)
    ),
    "jumps of one size": "t,x,u\n" + "".join(
        f"{n},{'' if n % 9 == 0 else n % 3},{40 if n % 9 == 0 else ''}\n" for n in range(55)
    ),
    "interpolated on another grid": "t,x,u\n" + "".join(
        f"{n},{'' if n % 5 == 0 else n % 3},{np.sin(n / 9):.1f}\n" for n in range(55)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_kinds_of_inputs(tmp_path: Path, name: str) -> None:
    """Seen from the values, and said; an option overrules them."""
    kind = name.partition(" ")[0]
    result = series(tmp_path, INPUTS[name], values=("x",), inputs=("u",))
    assert result.input_kinds == (kind,)
    again = series(tmp_path, INPUTS[name], values=("x",), inputs=("u",), input_kind="steps")
    assert again.input_kinds == ("steps",)


def test_cells_of_one_number_here_and_there(tmp_path: Path) -> None:
    """Beside values are doses, where they are named as an input, which is offered."""
    text = "t,x,carbs\n" + "".join(f"{n},{n % 5},{50 if n % 9 == 4 else ''}\n" for n in range(40))
    assert series(tmp_path, text, values=("x",), inputs=("carbs",)).input_kinds == ("jumps",)
    assert said(series(tmp_path, text), "its 4 cells are doses or the like, name it as an input (inputs=carbs)")


def test_kinds_of_inputs_one_by_one(tmp_path: Path) -> None:
    """Others are seen from the values."""
    text = "t,x,u,v,w\n" + "".join(f"{n},{n % 5},{n * n % 9},{np.sin(n / 4):.3f},{n // 8 % 3}\n" for n in range(40))
    inputs = ("u", "v", "w")
    result = series(tmp_path, text, values=("x",), inputs=inputs, input_kind="u:jumps, v:steps")
    assert result.input_kinds == ("jumps", "steps", "steps")
    for wrong, told in {
        "x:steps": "x is no input; inputs are: u, v, w",
        "u:often": "unknown",
        "often": "unknown",
    }.items():
        with pytest.raises(InvalidArgument, match=told):
            series(tmp_path, text, values=("x",), inputs=inputs, input_kind=wrong)


def test_a_level_that_is_logged_where_it_changes(tmp_path: Path) -> None:
    """By its name, where each level is another one; without such a name the other kinds are offered."""
    body = "".join(f"{n},{'' if n % 9 == 0 else n % 3},{20 + n * n % 17 if n % 9 == 0 else ''}\n" for n in range(60))
    assert series(tmp_path, "t,x,setpoint\n" + body, values=("x",), inputs=("setpoint",)).input_kinds == ("steps",)
    result = series(tmp_path, "t,x,u\n" + body, values=("x",), inputs=("u",))
    assert result.input_kinds == ("interpolated",)
    assert said(result, "if it stays as it is until its next row, or if its rows are doses, say so")


def test_a_last_row_may_repeat_the_level_to_say_until_when_it_is_known(tmp_path: Path) -> None:
    """As the remedy asks for where a forecast is to go beyond the last change."""
    levels = [50, 75, 0, 75, 100, 25, 0, 25, 0, 75, 50, 75, 25, 50, 100, 25, 75, 0, 25, 100, 0, 25, 100]
    changes = [(10 * n + n % 3, "", level) for n, level in enumerate(levels)] + [(250, "", levels[-1])]
    rows = sorted([*changes, *((n + 0.5, 20 + n % 7, "") for n in range(220))])
    text = "".join(f"{t},{x},{u}\n" for t, x, u in rows)
    for name in ("u", "valve"):
        result = series(tmp_path, f"t,x,{name}\n" + text, values=("x",), inputs=(name,))
        assert result.input_kinds == ("steps",)


@pytest.mark.parametrize("words", [("on", "off"), ("Open", "closed"), ("TRUE", "FALSE"), ("auf", "zu")])
def test_on_and_off_as_input(tmp_path: Path, words: tuple[str, str]) -> None:
    """Are 1 and 0."""
    text = "t,T,heater\n" + "".join(f"{n},{20 + n % 3},{words[n % 8 >= 4]}\n" for n in range(16))
    result = series(tmp_path, text, values=("T",), inputs=("heater",))
    assert result.each[0].inputs[0].values[:6].tolist() == [1, 1, 1, 1, 0, 0]


def test_a_value_of_two_levels(tmp_path: Path) -> None:
    """Is said: it is more likely known than modelled."""
    text = "t,T,valve\n" + "".join(f"{n},{20 + n % 3},{int(n % 9 < 4)}\n" for n in range(40))
    told = "('valve') has two values only and is modelled as it changes by itself; if it is known beforehand"
    assert said(series(tmp_path, text), told)
    assert not said(series(tmp_path, text, inputs=("valve",)), told)
    assert not said(series(tmp_path, text, values=("valve",)), told)
