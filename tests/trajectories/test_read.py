"""Series as files hold them: which column is what, and the numbers of each trajectory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynode.errors import InvalidArgument
from pynode.trajectories.read import read_series
from tests.trajectories.tables import rows, said, series


def test_one_trajectory(tmp_path: Path) -> None:
    """The time by its name, all other numbers as values; row names are left out with a word."""
    result = series(tmp_path, "rownames,hour,a,b\n1,0,1.5,10\n2,0.5,2.5,NA\n3,2,,\n4,3,4,40\n")
    (trajectory,) = result.each
    assert (result.values, result.id_column, trajectory.name) == (("a", "b"), None, "table")
    assert trajectory.times.tolist() == [0, 0.5, 3]
    np.testing.assert_array_equal(trajectory.values, [[1.5, 10], [2.5, np.nan], [4, 40]])
    assert trajectory.lines.tolist() == [2, 3, 5]
    assert (result.axis.column, result.axis.kind, result.axis.unit) == ("hour", "number", "hours")
    assert said(result, "'rownames', names the rows and is left out")
    assert said(result, "column 'hour' is taken as the time (hours)")


def test_trajectories_one_below_the_other(tmp_path: Path) -> None:
    """By a column called like a name; what is constant over each is a covariate, numbers of classes are classes."""
    head = "rownames,weight,Time,Rat,Diet,Dose\n"
    lines = [(r, t) for r in range(1, 7) for t in (1, 8, 15)]
    text = head + "".join(
        f"{n + 1},{240 + 7 * r + t % 5},{t},{r},{(r + 1) // 2},{r * 0.5}\n" for n, (r, t) in enumerate(lines)
    )
    result = series(tmp_path, text)
    assert (result.values, result.id_column) == (("weight",), "Rat")
    assert result.covariates == ("Diet=1", "Diet=2", "Diet=3", "Dose")
    assert [t.name for t in result.each] == ["1", "2", "3", "4", "5", "6"]
    np.testing.assert_array_equal(result.each[3].covariates, [0, 1, 0, 2.0])
    assert result.each[3].times.tolist() == [1, 8, 15]
    none = series(tmp_path, text, covariates=("none",))
    assert none.covariates == ()
    assert said(none, "columns 5 ('Diet'), 6 ('Dose') are left out")


def test_words_as_covariates(tmp_path: Path) -> None:
    """Words that several trajectories share are classes; other text is left out with a word."""
    text = "id,t,sex,note,x\n" + "".join(
        f"{k},{t},{'fm'[k % 2]},n{t}{k},{k + t % 3}\n" for k in range(4) for t in range(4)
    )
    result = series(tmp_path, text)
    assert result.covariates == ("sex=f", "sex=m")
    assert [t.covariates.tolist() for t in result.each] == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert said(result, "column 4 ('note') is left out (text)")


def test_interleaved_trajectories_with_names_as_the_file_has_them(tmp_path: Path) -> None:
    """In the order in which they first occur, zeros kept."""
    result = series(tmp_path, "t,sensor,x\n" + "".join(f"{t},{s},{t % 3}\n" for t in range(5) for s in ("007", "012")))
    assert [t.name for t in result.each] == ["007", "012"]
    assert result.each[1].lines.tolist() == [3, 5, 7, 9, 11]


def test_names_in_two_columns(tmp_path: Path) -> None:
    """Guessed where one is not enough, and as given."""
    text = "batch,well,hour,od\n" + "".join(
        f"{b},{w},{h},{b * h + len(w)}.5\n" for b in (1, 2) for w in "AB" for h in range(4)
    )
    for options in ({}, {"id": "batch,well"}):
        result = series(tmp_path, text, **options)
        assert [t.name for t in result.each] == ["1/A", "1/B", "2/A", "2/B"]
        assert result.id_column == "batch,well"
        assert (result.id_columns, result.each[1].identity) == (("batch", "well"), ("1", "B"))


def taking_turns(name: str, *, shuffled: bool = False) -> str:
    """Three smooth trajectories, each at times of its own, with their rows in order of time or in none."""
    rng = np.random.default_rng(0)
    lines = [
        (t, f"{t:.3f},{word},{shift + np.cos(t / 20 + k) + 0.02 * rng.standard_normal():.4f}")
        for k, (word, shift) in enumerate((("left", 0.0), ("middle", 0.5), ("right", -0.4)))
        for t in rng.uniform(0, 600, 150).tolist()
    ]
    texts = [line for _, line in sorted(lines)]
    if shuffled:
        rng.shuffle(texts)
    return f"t,{name},x\n" + "\n".join(texts) + "\n"


def test_trajectories_whose_rows_take_turns(tmp_path: Path) -> None:
    """No time occurs twice, and yet they are several: by a name that says so, or with a question."""
    for options in ({}, {"values": ("x",)}):
        result = series(tmp_path, taking_turns("device"), **options)
        assert sorted(len(t.times) for t in result.each) == [150] * 3
        assert result.id_column == "device"
    for shuffled in (False, True):
        result = series(tmp_path, taking_turns("rig", shuffled=shuffled))
        assert len(result.each) == 1
        assert said(result, "name trajectories whose rows take turns, say so (id=rig)")


def test_words_that_name_no_trajectories(tmp_path: Path) -> None:
    """Marks at random, and modes that last: the values go on from row to row as smoothly as within them."""
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 600, 300)).tolist()
    for name, words in (
        ("device", [("a", "b")[int(n)] for n in rng.integers(0, 2, 300)]),
        ("station", [("a", "b")[int(t // 50) % 2] for t in times]),
    ):
        text = f"t,{name},x\n" + "".join(
            f"{t:.3f},{w},{np.cos(t / 20):.4f}\n" for t, w in zip(times, words, strict=True)
        )
        result = series(tmp_path, text)
        assert (len(result.each), result.id_column) == (1, None)
        assert not said(result, "take turns")


def test_names_in_the_first_row_only(tmp_path: Path) -> None:
    """As in the merged cells of a spreadsheet."""
    text = "who,t,x\n" + "".join(f"{f'P{k}' if t == 0 else ''},{t},{t % 2}\n" for k in range(2) for t in range(3))
    result = series(tmp_path, text, id="who")
    assert [(t.name, len(t.times)) for t in result.each] == [("P0", 3), ("P1", 3)]


def test_names_of_quantities(tmp_path: Path) -> None:
    """A table with a row for each quantity and time is one of trajectories, with a word on what that means."""
    text = "t,variable,value\n" + "".join(
        f"{n},{name},{n * k % 7}\n" for n in range(9) for k, name in ((2, "a"), (3, "b"))
    )
    told = "if the words of column 2 ('variable') name quantities, they are modelled as trajectories of one"
    assert said(series(tmp_path, text), told)
    assert not said(series(tmp_path, text.replace("variable", "plant")), "name quantities")
    assert not said(series(tmp_path, text, id="variable"), "name quantities")


def test_columns_that_are_no_values(tmp_path: Path) -> None:
    """Constants are carried on; counters, empty columns, parts of the date and text are left out, each with a word."""
    text = "no,date,year,month,x,set,empty,word\n" + "".join(
        f"{n + 1},{2000 + n // 12}-{n % 12 + 1:02d}-01,{2000 + n // 12},{n % 12 + 1},{n % 5},37.0,,w{n}\n"
        for n in range(30)
    )
    result = series(tmp_path, text)
    assert result.values == ("x",)
    assert dict(result.constants) == {"set": 37.0}
    for notice in ("('no') numbers the rows", "('year') is a part", "('month') is a part", "('empty') has no values",
                   "column 8 ('word') is left out (text)", "('set') is always 37: it is carried on"):  # fmt: skip
        assert said(result, notice), notice


def test_a_column_of_few_values(tmp_path: Path) -> None:
    """Is left out, unless it is named."""
    text = "t,x,rare\n" + "".join(f"{n},{n % 5},{n if n in (3, 7) else ''}\n" for n in range(40))
    guessed = series(tmp_path, text)
    assert guessed.values == ("x",)
    assert said(guessed, "('rare') has 2 values only and is left out")
    assert series(tmp_path, text, values=("x", "rare")).values == ("x", "rare")


def test_angles(tmp_path: Path) -> None:
    """Seen where neighbours jump by nearly a turn, or named with their period; -999 among them is missing."""
    text = "t,dir,h,x\n" + "".join(
        f"{n},{-999 if n % 20 == 3 else (300 + 7 * n) % 360},{(0.5 * n) % 24},{n % 5}\n" for n in range(120)
    )
    result = series(tmp_path, text, circular=("h:24",))
    assert dict(result.periods) == {"dir": 360.0, "h": 24.0}
    assert np.isnan(result.each[0].values[3, 0])
    assert said(result, "'dir' is taken as an angle with period 360")
    assert said(result, "-999 in 6 cells (first in line 5)")


def test_an_angle_as_input(tmp_path: Path) -> None:
    """Is given by its cosine and sine, which do not jump."""
    text = "t,x,wind_dir\n" + "".join(f"{n},{n % 5},{(300 + 7 * n) % 360}\n" for n in range(120))
    result = series(tmp_path, text, values=("x",), inputs=("wind_dir",))
    assert result.inputs == ("cos(wind_dir)", "sin(wind_dir)")
    cosine, sine = result.each[0].inputs
    np.testing.assert_allclose(cosine.values[:2], np.cos(np.deg2rad([300, 307])))
    np.testing.assert_allclose(sine.values[:2], np.sin(np.deg2rad([300, 307])))


def test_columns_without_names(tmp_path: Path) -> None:
    """Without a header the first rising column is the time; columns are called by their numbers."""
    result = series(tmp_path, rows(9, "A {n}.5 {w}") + rows(9, "B {n}.5 {w}"))
    assert (result.axis.column, result.values, result.id_column) == ("2", ("3",), "1")
    assert [t.name for t in result.each] == ["A", "B"]
    same = series(tmp_path, rows(9, "{n}.5\t{w}"), time="1", values=("2",))
    assert same.each[0].times[:2].tolist() == [0.5, 1.5]


def test_rows_without_times(tmp_path: Path) -> None:
    """Are taken as equally spaced, which is said."""
    result = series(tmp_path, "a,b\n" + rows(6, "{w},-{w}"))
    assert result.axis.unit == "rows"
    assert result.each[0].times.tolist() == [0, 1, 2, 3, 4, 5]
    assert said(result, "no column holds times: the rows are taken as equally spaced")


def test_rows_of_trajectories_without_times(tmp_path: Path) -> None:
    """Are counted within each of them, where these are named."""
    result = series(
        tmp_path, "subject,x\n" + "".join(f"s{k},{k + n % 3}.5\n" for k in range(2) for n in range(4)), id="subject"
    )
    assert [t.times.tolist() for t in result.each] == [[0, 1, 2, 3]] * 2


def test_rows_in_another_order(tmp_path: Path) -> None:
    """From the latest to the earliest they are turned round, in no order they are sorted; both are said."""
    turned = series(tmp_path, "t,x\n" + "".join(f"{9 - n},{n % 4}\n" for n in range(10)))
    assert turned.each[0].times.tolist() == list(range(10))
    assert turned.each[0].lines[0] == 11
    assert said(turned, "are turned round")
    order = np.random.default_rng(0).permutation(20)
    shuffled = series(tmp_path, "t,x\n" + "".join(f"{n},{n % 4}\n" for n in order))
    assert shuffled.each[0].values[:, 0].tolist() == [n % 4 for n in range(20)]
    assert said(shuffled, "are not in order of time (first in line")


def test_arrays(tmp_path: Path) -> None:
    """Of NumPy, without names and with them."""
    t = np.array([0.0, 0.5, 2.0, 3.0])
    np.save(tmp_path / "a.npy", np.c_[t, [1, 3, 2, 5], [0, 1, 0, 1]])
    np.savez(tmp_path / "a.npz", t=t, y=np.c_[[1, 3, 2, 5], [0, 1, 0, 1]])
    assert read_series(tmp_path / "a.npy").values == ("2", "3")
    named = read_series(tmp_path / "a.npz")
    assert (named.axis.column, named.values) == ("t", ("y1", "y2"))
    np.testing.assert_array_equal(named.each[0].times, t)
    stack = np.random.default_rng(0).normal(size=(3, 4, 2))
    np.savez(tmp_path / "b.npz", t=t, y=stack)
    several = read_series(tmp_path / "b.npz")
    assert (several.id_column, several.values, len(several.each)) == ("trajectory", ("y1", "y2"), 3)
    np.testing.assert_array_equal(several.each[2].values, stack[2])


def test_trajectories_left_out(tmp_path: Path) -> None:
    """By name; the others keep their order."""
    text = "id,t,x\na,0,1\na,1,2\nb,0,3\nc,0,4\nc,2,5\n"
    assert [t.name for t in series(tmp_path, text, leave_out=("b",)).each] == ["a", "c"]


@given(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 99), st.integers(1, 50)), min_size=2, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int, int]]) -> None:
    """Trajectories of any lengths and times come back as they were."""
    path = tmp_path_factory.mktemp("series") / "t.csv"
    grids = [[first + step * n * (n + 1) for n in range(count)] for count, first, step in shapes]
    lines = [f"g{k},{t / 64},{k + n % 3}.5" for k, grid in enumerate(grids) for n, t in enumerate(grid)]
    path.write_text("id,t,x\n" + "\n".join(lines) + "\n")
    result = read_series(path, time="t", id="id", values=("x",))
    for k, (grid, trajectory) in enumerate(zip(grids, result.each, strict=True)):
        assert trajectory.times.tolist() == [t / 64 for t in grid]
        assert trajectory.values[:, 0].tolist() == [k + n % 3 + 0.5 for n in range(len(grid))]


def test_columns_of_names_that_hold_commas(tmp_path: Path) -> None:
    """A list has one name each, as it stands; commas separate within a text alone."""
    text = '"a,b",c,t,x\n' + "".join(
        f"{k},{m},{t},{ord(k) + m * t % 3}\n" for k in "pq" for m in (1, 2) for t in range(5)
    )
    result = series(tmp_path, text, id=("a,b", "c"), time=["t"])
    assert [each.name for each in result.each] == ["p/1", "p/2", "q/1", "q/2"]
    assert (result.id_columns, result.id_column) == (("a,b", "c"), "a,b,c")
    again = read_series(tmp_path / "table.csv", id=result.id_columns, values=result.values, like=result)
    assert [each.identity for each in again.each] == [each.identity for each in result.each]
    with pytest.raises(InvalidArgument, match=r"^id = 'a': no column of the table"):
        series(tmp_path, text, id="a,c")


@pytest.mark.parametrize(
    ("head", "header", "id", "found"),
    [
        ("id,t,id,1,t", True, "id.1", "id.1"),
        ("id,t,id,k,x", True, "1", "1"),
        ("id,t,k,1,x", True, "id", "id"),
        (",t,k,1,x", True, ".1", ".1"),
        (",t,k,y,x", True, "1", "1"),
    ],
)
def test_columns_of_names_that_share_theirs(tmp_path: Path, head: str, header: bool, id: str, found: str) -> None:
    """The column that was named is the one whose words are read, and the one that is found in the next file."""
    text = f"{head}\n" + "".join(f"{k // 6:03},{k},{k % 4 + 3},{(k * k) % 5},{k % 3}\n" for k in range(12))
    result = series(tmp_path, text, header=header, id=id, time="2")
    assert [each.name for each in result.each] == ["000", "001"]
    assert result.id_columns == (found,)
    again = read_series(tmp_path / "table.csv", header=header, id=result.id_columns, values=result.values, like=result)
    assert [each.name for each in again.each] == ["000", "001"]


def test_a_guessed_column_of_names_that_shares_its_name(tmp_path: Path) -> None:
    lines = [f"{k // 7},{k},{k},2024-01-{k + 1:02},{k * k % 5}" for k in range(14)]
    result = series(tmp_path, "\n".join(["id,t,id,1,t", *lines]), header=True)
    assert (result.id_columns, [each.name for each in result.each]) == (("id.1",), ["0", "1"])
