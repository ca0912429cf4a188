"""Values of axes: how texts are read, and which types fit."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from pynode.errors import InvalidArgument
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.sweeps.values import kinds_of, parse, values_of


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
    found = parse("--grid x", text)
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


@pytest.mark.parametrize("text", ["", "1,,2", ",", "1,"])
def test_empty_values_are_told(text: str) -> None:
    with pytest.raises(InvalidArgument, match="an empty value"):
        parse("--grid x", text)


def test_a_list_is_an_axis_but_for_what_is_a_list_itself() -> None:
    assert values_of("steps", [1, 2], int | tuple[int, ...]) == [1, 2]
    assert values_of("hidden", [32, 32], tuple[int, ...] | None) == [[32, 32]]
    assert values_of("hidden", [[32, 32], [64]], tuple[int, ...] | None) == [[32, 32], [64]]
    assert values_of("rtol", 1, float) == [1.0]


@pytest.mark.parametrize(
    ("given", "hint", "said"),
    [
        ([], int, "an axis without values"),
        ([1, 1], int, "1 stands there twice"),
        ([1, 1.0], float, "1.0 stands there twice"),
        (True, int, "not a whole number"),
        (0.5, int, "not a whole number"),
        ("much", float, "not a number"),
        ("yes", bool, "not true or false"),
        ({"a": 1}, float, "not a number"),
        ([["a"]], tuple[int, ...], "not a list of whole numbers"),
    ],
)
def test_values_of_another_type_are_told(given: Any, hint: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        values_of("axis", given, hint)


def test_every_option_of_every_method_and_problem_has_a_type_that_axes_know() -> None:
    """So that no wrong value of an axis gets as far as a comparison that Python refuses."""
    for method in METHODS.load_all().values():
        hints = get_type_hints(method)
        assert all(kinds_of(hints[name]) for name in method.option_names()), method.name
    for problem in PROBLEMS.load_all().values():
        assert all(kinds_of(hint) for hint in get_type_hints(problem.Options).values()), problem.name
