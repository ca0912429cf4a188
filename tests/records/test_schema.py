"""Reading JSON strictly: what is refused, in which words, and what a checksum notices."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest

from pynode.records.schema import (
    Count,
    NonNegative,
    Positive,
    PositiveNumber,
    check_numbers,
    checksum,
    convert,
    decode,
    parse,
    sealed,
    unsealed,
)


@dataclass(frozen=True)
class Row:
    """A record with every bounded kind of value."""

    count: Count = 0
    positive: Positive = 1
    least: NonNegative = 0.0
    above: PositiveNumber = 1.0
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    text: str | None = None
    numbers: list[float] | None = None


class Keys(TypedDict):
    """A file that may have more keys."""

    inner: dict[str, list[int]]


def refusal(value: Any, kind: type[Any] = Row) -> str:
    """The message of a conversion that fails."""
    with pytest.raises(ValueError, match=r".") as caught:
        convert(value, kind)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("{", "no valid JSON ("),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number of JSON"),
        ('{"a": 1e999}', "the number 1e999 is infinite in float64"),
        ("1" * 400 + ".5", f"the number {'1' * 60} is infinite in float64"),
        ('{"a": 1, "b": 2, "b": 1}', 'the key "b" is there twice'),
        ("9" * 5000, "an integer of thousands of digits"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_text_that_is_no_json_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert str(caught.value).startswith(said)


def test_text_that_is_json_is_read() -> None:
    assert parse(' {"a": [1, 2.5, null, true, "x"]} ') == {"a": [1, 2.5, None, True, "x"]}
    assert parse("[1, 2]") == [1, 2]
    assert parse("3") == 3


def test_bytes_that_are_no_text_are_named() -> None:
    assert decode("é☃".encode()) == "é☃"
    with pytest.raises(ValueError, match="byte 2 is no UTF-8 text"):
        decode(b"ab\xff\xfe")


def test_values_within_their_bounds_are_taken() -> None:
    row = {"count": 0, "positive": 1, "least": 0, "above": 1e-300, "flag": True, "kind": "b", "numbers": [1, 2]}
    assert convert(row, Row) == Row(0, 1, 0.0, 1e-300, True, "b", None, [1.0, 2.0])
    assert convert({"inner": {"x": [1]}, "more": 1}, Keys) == {"inner": {"x": [1]}}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"count": -1}, "count: expected an integer >= 0, got -1"),
        ({"positive": 0}, "positive: expected an integer >= 1, got 0"),
        ({"least": -0.5}, "least: expected a number >= 0.0, got -0.5"),
        ({"above": 0}, "above: expected a number > 0.0, got 0"),
        ({"flag": 1}, "flag: expected true or false, got 1"),
        ({"kind": "c"}, 'kind: unknown value "c"'),
        ({"text": 3}, "text: expected text or null, got 3"),
        ({"text": [1]}, "text: expected text or null, got a list"),
        ({"text": {"a": 1}}, "text: expected text or null, got an object"),
        ({"numbers": [1, None]}, "numbers[1]: expected a number, got null"),
        ({"count": "x" * 58}, f'count: expected an integer, got "{"x" * 58}"'),
        ({"count": "x" * 59}, f'count: expected an integer, got "{"x" * 59}...'),
        ({"flag": 10**60}, "flag: expected true or false, got an integer of more than 60 digits"),
        ({"flag": -(10**60)}, "flag: expected true or false, got an integer of more than 60 digits"),
        ({"flag": 10**60 - 1}, f"flag: expected true or false, got {'9' * 60}"),
        ({"flag": float("inf")}, "flag: expected true or false, got inf"),
        ({"zz": 1, "colour": 2}, 'unknown key "colour"'),
        ([], "expected an object, got a list"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_value_is_told_with_its_key(value: Any, said: str) -> None:
    assert refusal(value) == said


def test_the_place_within_a_file_is_told() -> None:
    assert refusal({}, Keys) == "inner is missing"
    assert refusal({"inner": {"x": [1, 2, "3"]}}, Keys) == "inner[...][2]: expected an integer, got text"

    class Outer(TypedDict):
        rows: list[Keys]

    assert refusal({"rows": [{"inner": {}}, {}]}, Outer) == "rows[1].inner is missing"
    assert refusal({"rows": [{"inner": {}}, {"inner": 0.5}]}, Outer) == "rows[1].inner: expected an object, got 0.5"


def test_metrics_are_numbers_or_null() -> None:
    check_numbers({"a": 1, "b": 2.5, "c": None})
    check_numbers({"a": "x"}, known={"a": str})
    for wrong, shown in (("x", '"x"'), (True, "true"), ([1], "a list")):
        with pytest.raises(ValueError, match="expected a number or null") as caught:
            check_numbers({"known": "x", "wrong": wrong}, known={"known": str})
        assert str(caught.value) == f'"wrong": expected a number or null, got {shown}'


def test_the_checksum_is_crc32_of_the_text_without_it() -> None:
    data = {"b": 1, "a": [0.1, None]}
    text = b'{"b": 1, "a": [0.1, null]}'
    expected = f"{zlib.crc32(text):08x}"
    assert checksum(data) == expected
    assert list(sealed(data)) == ["b", "a", "checksum"]
    assert sealed(data)["checksum"] == expected
    assert unsealed(sealed(data)) == data
    assert parse(json.dumps(sealed(data))) == data
    assert len(checksum({"n": 24})) == 8


def test_a_checksum_has_eight_digits_always() -> None:
    small = next(n for n in range(1000) if zlib.crc32(json.dumps({"n": n}).encode()) < 16**7)
    assert checksum({"n": small})[0] == "0"
    assert len(checksum({"n": small})) == 8


def test_damage_is_noticed() -> None:
    good = sealed({"loss": 0.25, "iteration": 3})
    with pytest.raises(ValueError, match=r'its checksum is another.*take "checksum" out'):
        unsealed({**good, "loss": 0.5})
    with pytest.raises(ValueError, match="its checksum is another"):
        unsealed({**good, "checksum": "00000000"})


def test_data_without_a_checksum_are_taken_unless_its_name_is_damaged() -> None:
    for plain in ({}, {"a": 1}, {"a": "deadbeef0"}, {"a": "DEADBEEF"}, {"a": "deadbeef", "b": 1}):
        assert unsealed(plain) == plain
    for damaged in ({"a": 1, "checksun": "x"}, {"a": 1, "#": "deadbeef"}):
        with pytest.raises(ValueError, match=r"its last entry, .*, should be its checksum"):
            unsealed(damaged)
