"""Values of axes: how texts are read, and which types fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pynode.errors import InvalidArgument, UnknownName, UsageError
from pynode.settings.declared import kind_of
from pynode.settings.values import from_text, parse, values_of

HERE = Path(__file__)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,1e-5", [1e-3, 1e-5]),
        ("0,1, 2", [0, 1, 2]),
        ("disc-opt,opt-disc", ["disc-opt", "opt-disc"]),
        ("8gaussians,2spirals", ["8gaussians", "2spirals"]),
        ("true,false", [True, False]),
        ("[32,32],[64,64]", [[32, 32], [64, 64]]),
        ("2026-01-01", ["2026-01-01"]),
        ('"1"', ["1"]),
        ('"a,b",c', ["a,b", "c"]),
        ("'a,b' , \"c,d\"", ["a,b", "c,d"]),
        ("o'neil.csv,o'brien.csv", ["o'neil.csv", "o'brien.csv"]),
    ],
)
def test_texts_become_values(text: str, values: list[Any]) -> None:
    parsed = parse("--grid x", text)
    assert parsed == values
    assert [type(v) for v in parsed] == [type(v) for v in values]


@pytest.mark.parametrize("text", ["", "1,,2", ",", "1,"])
def test_empty_values_are_told(text: str) -> None:
    with pytest.raises(InvalidArgument, match="an empty value"):
        parse("--grid x", text)


def test_a_list_is_an_axis_but_for_what_is_a_list_itself() -> None:
    counts, widths = kind_of("int | tuple[int, ...]", HERE), kind_of("tuple[int, ...] | None", HERE)
    assert values_of("steps", [1, 2], counts) == [1, 2]
    assert values_of("steps", [[1, 2]], counts) == [[1, 2]]
    assert values_of("hidden", [32, 32], widths) == [[32, 32]]
    assert values_of("hidden", [[32, 32], [64]], widths) == [[32, 32], [64]]
    assert values_of("rtol", 1, kind_of("float", HERE)) == [1.0]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ([], "int", "an axis without values"),
        ([1, 1], "int", "1 stands there twice"),
        ([1, 1.0], "float", "1.0 stands there twice"),
        (True, "int", "not a whole number"),
        (0.5, "int", "not a whole number"),
        ("much", "float", "not a number"),
        ("yes", "bool", "not true or false"),
        ({"a": 1}, "float", "not a number"),
        ([["a"]], "tuple[int, ...]", "not a list of whole numbers"),
        ("sotre", 'Literal["store", "recompute"]', "did you mean 'store'?"),
    ],
)
def test_values_of_another_type_are_told(given: Any, kind: str, said: str) -> None:
    with pytest.raises((InvalidArgument, UnknownName), match=said.replace("?", r"\?")):
        values_of("axis", given, kind_of(kind, HERE))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", "int", 3),
        (" 1e-3 ", "float | None", 1e-3),
        ("4", "int | Sequence[int]", 4),
        ("4,5", "int | Sequence[int]", (4, 5)),
        ("4", "tuple[int, ...]", (4,)),
        ("a, 3", "tuple[str, ...]", ("a", "3")),
        ("Yes", "bool", True),
        ("false", "bool | None", False),
        (",", 'Literal[".", ","]', ","),
        ("x", "str", "x"),
    ],
)
def test_texts_of_single_values(text: str, kind: str, value: Any) -> None:
    taken = from_text("--x", text, kind_of(kind, HERE))
    assert (taken, type(taken)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("x", "int", "--x = 'x': not a whole number"),
        ("1,x", "int | Sequence[int]", "not a whole number"),
        ("maybe", "bool", "neither true nor false"),
        ("b", 'Literal["a", "c"]', "unknown value of --x 'b'"),
        ("x", "float", "not a number"),
    ],
)
def test_texts_that_are_no_value(text: str, kind: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        from_text("--x", text, kind_of(kind, HERE))
