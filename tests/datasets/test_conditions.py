"""Columns that a density is conditioned on: what is read of them, how they are encoded, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pynode.datasets.conditions import Conditions, fitted
from pynode.datasets.errors import DataError
from pynode.datasets.reading import HeldColumn, Reading, as_text
from pynode.datasets.tables import read_table, split_and_standardise
from pynode.errors import InvalidArgument

TREES = "kind,girth,age,height\n" + "\n".join(
    f"{kind},{i + 0.25},{20 + i},{300.5 - 2.3 * i * i}" for i, kind in enumerate(["oak", "beech", "oak", "yew"] * 15)
)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def held(name: str, *cells: str) -> HeldColumn:
    numbers = all(cell.replace(".", "").isdigit() for cell in cells)
    return HeldColumn(1, f"column 1 ('{name}')", name, name, cells, np.array(cells, float) if numbers else None)


def conditions(*columns: HeldColumn) -> Conditions:
    return fitted("t.csv", columns, np.arange(len(columns[0].cells)))[0]


def test_words_and_numbers_beside_the_values(tmp_path: Path) -> None:
    table = read_table(written(tmp_path / "t.csv", TREES), Reading(condition=("kind", "3")))
    assert table.columns.names == ("girth", "height")
    words, numbers = table.held
    assert (words.name, words.number, words.cells[:4], words.values) == (
        "kind",
        1,
        ("oak", "beech", "oak", "yew"),
        None,
    )
    np.testing.assert_array_equal(numbers.values, np.arange(20, 80))
    assert table.place(2) == "line 4"


def test_numbers_that_name_classes(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "a,b\n1.5,1\n2.5,1.0\n3.25,2\n")
    table = read_table(path, Reading(condition=("b",), classes=("b",)))
    assert table.held[0].cells == ("1", "1", "2")
    assert table.held[0].values is None


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("k,a\noak,1\n,2\nyew,3\n", {}, "line 3, column 1 ('k'): the value is missing; .*missing=drop"),
        ("k,a\noak,1\noak,\nyew,3\n", {}, "line 3, column 2 ('a'): an empty cell"),
        ("k,a\noak,1\n", {"drop": ("k",)}, "left out as well (drop)"),
        (
            "k,a\noak,1\n",
            {"condition": ("nosuch",)},
            "condition = 'nosuch': no column of the table; it has columns 1 ('k')",
        ),
        ("k,a\noak,1\n", {"condition": ("k", "1")}, "named twice"),
        ("k\noak\n", {}, "all columns are left out"),
    ],
)
def test_refused_columns(tmp_path: Path, text: str, options: dict[str, tuple[str, ...]], said: str) -> None:
    path = written(tmp_path / "t.csv", text)
    with pytest.raises((DataError, InvalidArgument)) as caught:
        read_table(path, Reading(**{"condition": ("k",), **options}))  # type: ignore[arg-type]
    for part in said.split(".*"):
        assert part in str(caught.value)


def test_rows_without_a_condition_are_left_out(tmp_path: Path) -> None:
    table = read_table(
        written(tmp_path / "t.csv", "k,a\noak,1\nNA,2\nyew,\noak,4\n"), Reading(condition=("k",), missing="drop")
    )
    assert table.held[0].cells == ("oak", "oak")
    np.testing.assert_array_equal(table.rows, [[1], [4]])
    assert [table.place(row) for row in (0, 1)] == ["line 2", "line 5"]


def test_columns_of_words_are_named_with_both_remedies(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_table(written(tmp_path / "t.csv", "a,kind,site\n1,oak,A\n2,yew,B\n3,oak,B\n"))
    assert "leave out columns 2 ('kind'), 3 ('site')" in str(caught.value)
    assert "(drop=kind,site), or condition the density on the words (condition=kind,site)" in str(caught.value)


def test_encoding_and_back() -> None:
    known = conditions(held("kind", *["oak", "yew", "beech"] * 10), held("age", *map(str, range(30))))
    assert known.width == 4
    assert known.keys == ("kind", "age")
    assert known.described.startswith("kind (3 classes: beech, oak, yew); age (a number, 14.5 on average")
    context = known.encode((held("kind", "yew", "oak"), held("age", "14.5", "23")))
    np.testing.assert_array_equal(context[:, :3], [[0, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(context[:, 3], [0, 8.5 / np.arange(30).std()])
    assert known.decode(context) == [["yew", "oak"], ["14.5", "23"]]
    np.testing.assert_array_equal(known.one("--condition", {"age": "23", "kind": "oak"})[0], context[1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "elm", "age": "3"}, "'elm': no class of the training; use beech, oak, yew"),
        ({"kind": "oak"}, "no value for age; add age=VALUE"),
        ({"kind": "oak", "age": "old"}, "age is a number"),
        ({"kind": "oak", "age": "3", "site": "A"}, "'site': no column of the condition; it has kind, age"),
    ],
)
def test_conditions_that_are_asked_for(given: dict[str, str], said: str) -> None:
    known = conditions(held("kind", *["oak", "yew", "beech"] * 10), held("age", *map(str, range(30))))
    with pytest.raises(InvalidArgument) as caught:
        known.one("--condition", given)
    assert said in str(caught.value)


def test_what_was_never_seen() -> None:
    known = conditions(held("kind", *["oak", "yew"] * 10), held("age", *map(str, range(20))))
    with pytest.raises(DataError, match=r"line 2, column 1 \('kind'\): 'elm' is no class .*; it knows oak, yew"):
        known.encode((held("kind", "oak", "elm"), held("age", "1", "2")), lambda row: f"line {row + 1}")
    with pytest.raises(DataError, match=r"line 1, column 1 \('age'\): 'old' is not a number"):
        known.encode((held("kind", "oak"), held("age", "old")), lambda row: f"line {row + 1}")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (held("k", *["oak"] * 20), "is 'oak' in every row"),
        (held("k", *["3"] * 20), "= 3 in every training row"),
        (
            held("k", *[f"tree {i}" for i in range(20)]),
            "20 words in 20 rows, too many for classes; leave it out (drop=k)",
        ),
        (held("k", *[str(i) for i in range(19)], "many"), "'many' is not a number"),
    ],
)
def test_columns_that_are_no_condition(column: HeldColumn, said: str) -> None:
    with pytest.raises(DataError) as caught:
        conditions(column)
    assert said in str(caught.value)


def test_classes_of_few_rows() -> None:
    column = held("k", *["oak"] * 60, *["yew"] * 20)
    assert fitted("t.csv", [column], np.arange(80))[1] == [
        "column 1 ('k'): classes of few training rows, whose density is uncertain: yew 20"
    ]
    with pytest.raises(DataError, match="'yew' has 20 rows, none of them among the training rows"):
        fitted("t.csv", [column], np.arange(60))


def test_contexts_go_with_their_rows(tmp_path: Path) -> None:
    table = read_table(written(tmp_path / "t.csv", TREES), Reading(condition=("kind", "age")))
    splits = split_and_standardise(table.rows, columns=table.columns, held=table.held)
    assert splits.conditions is not None
    for part in ("train", "validation", "test"):
        girth = splits.unstandardised(getattr(splits, part))[:, 0]
        kinds, ages = splits.conditions.decode(splits.contexts[part])
        np.testing.assert_allclose([float(age) - 20 + 0.25 for age in ages], girth, atol=1e-4)
        assert kinds == [["oak", "beech", "oak", "yew"][round(value - 0.25) % 4] for value in girth]


def test_a_column_that_is_constant_in_a_class() -> None:
    rows = np.column_stack((np.random.default_rng(0).normal(size=80), [0.5] * 10 + list(np.linspace(1, 2, 70) ** 2)))
    with pytest.raises(DataError, match=r"column 2 of table = 0\.5 in all 10 rows of the class 'oak'"):
        split_and_standardise(rows, held=[held("k", *["oak"] * 10, *["yew"] * 70)])


def test_long_numbers_stay_apart(tmp_path: Path) -> None:
    """Times in seconds since 1970, and identifiers, have more than nine digits."""
    times = [1700000001, 1700000002, 1700000003]
    lines = [f"{times[i % 3]},{i + 0.25}" for i in range(60)]
    path = written(tmp_path / "t.csv", "time,a\n" + "\n".join(lines) + "\n")
    words = read_table(path, Reading(condition=("time",), classes=("time",))).held[0]
    assert sorted(set(words.cells)) == ["1700000001", "1700000002", "1700000003"]


@pytest.mark.parametrize("cells", [(1700000001, 1700000002, 1700000003), (0.1, 0.7, 1234.5678901234), (3, 4, 9)])
def test_numbers_of_a_context_are_those_of_the_file(cells: tuple[float, ...]) -> None:
    each = conditions(held("x", *map(str, cells)))
    context = each.encode([held("x", *map(str, cells))])
    assert each.decode(context) == [[str(cell) for cell in cells]]
    assert each.decode(context + 1e-3)[0] != [str(cell) for cell in cells]


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (0.1, "0.1"), (1700000001.5, "1700000001.5"), (1e22, "1e+22"), (-0.0, "0")]
)
def test_numbers_as_text(value: float, text: str) -> None:
    assert as_text(value) == text
    assert float(text) == value


def test_columns_asked_for_in_another_order_keep_their_names(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "a,b,c\n1.5,2.5,3.5\n4.5,5.5,6.5\n")
    table = read_table(path, Reading(only=("c", "a")))
    assert table.columns.names == ("a", "c")
    np.testing.assert_array_equal(table.rows, [[1.5, 3.5], [4.5, 6.5]])


def test_numbers_that_may_be_codes_of_classes() -> None:
    """Are numbers unless the user says otherwise, which is said; measurements are not asked about."""
    for cells, asked in ((("1", "2", "3", "1"), True), (("0", "1", "0", "1"), False), (("10", "20", "30"), False)):
        column = held("group", *cells)
        notices = fitted("t.csv", (column,), np.arange(len(cells)))[1]
        assert notices == (
            [
                "column 1 ('group') is taken as a number; if its 3 values name classes, say so (classes=group)",
            ]
            if asked
            else []
        )
