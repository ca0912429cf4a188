"""The check of everything that is read back: JSON text, its checksum, and the types of all keys (msgspec).

A record's dataclass, or the `TypedDict` of a JSON file, is its schema; `Annotated` bounds the values.  Every record
carries a checksum, so that a flipped bit is not read as another number.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
PositiveNumber = Annotated[float, msgspec.Meta(gt=0)]

_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
SHOWN = 60
"""Characters of a wrong value that a message shows."""

KEY = "checksum"

_LIKE_ONE = re.compile("[0-9a-f]{8}")


def parse(text: str) -> Any:
    """The value of a JSON text, checked against its checksum and without it; raises `ValueError`.

    Stricter than `json.loads`: numbers are finite, and no key is there twice.
    """
    if not text.strip():
        raise ValueError("it is empty")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        return unsealed(value) if isinstance(value, dict) else value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"no valid JSON ({error})") from error
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("an integer of thousands of digits") from error
        raise


def decode(content: bytes) -> str:
    """The text of UTF-8 bytes; raises `ValueError` in words."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8 text") from error


def convert(value: Any, kind: type[T]) -> T:
    """`value` (plain) as an instance of `kind`; raises `ValueError` that names the first wrong key.

    A dataclass must know all keys; a `TypedDict` may have more.
    """
    if is_dataclass(kind) and isinstance(value, Mapping) and (unknown := sorted(set(value) - _names(kind))):
        raise ValueError(f"unknown key {_shown(unknown[0])}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error), value)) from error


def check_numbers(values: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> None:
    """Raises `ValueError` unless all values but those of the `known` keys are numbers or null."""
    for key, value in values.items():
        if key not in (known or {}) and value is not None and type(value) not in (int, float):
            raise ValueError(f"{_shown(key)}: expected a number or null, got {_shown(value)}")


@lru_cache(maxsize=64)
def _names(kind: type[Any]) -> frozenset[str]:
    return frozenset(f.name for f in fields(kind))


def _in_words(message: str, value: Any) -> str:
    """msgspec's message in the words of JSON, with the key in front and the value that is there."""
    problem, _, path = message.partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    if name := re.search(r"missing required field `(.*)`", problem):
        return f"{f'{key}.' if key else ''}{name[1]} is missing"
    if problem.startswith("Invalid enum value"):
        return f"{f'{key}: ' if key else ''}unknown value {_shown(_at(value, key))}"
    expected, _, got = problem.partition(", got ")
    wanted = re.sub(r"`([^`]*)`", lambda m: " or ".join(_WORDS.get(w, w) for w in m[1].split(" | ")), expected)
    there = _shown(_at(value, key)) if "..." not in key else _WORDS.get(got.strip("`"), got) or "another value"
    return f"{f'{key}: ' if key else ''}{wanted[:1].lower()}{wanted[1:]}, got {there}"


def _at(value: Any, key: str) -> Any:
    """The part of `value` that msgspec's path `key` leads to."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key.replace("[", ".[")):
        value = value[int(index)] if index and isinstance(value, (list, tuple)) else value[name or index]
    return value


def _shown(value: Any) -> str:
    """The beginning of a value as JSON has it."""
    if isinstance(value, (dict, list)):
        return _WORDS["object" if isinstance(value, dict) else "array"]
    if type(value) is int and abs(value) >= 10**SHOWN:
        return "an integer of more than 60 digits"
    text = json.dumps(value) if not isinstance(value, float) or math.isfinite(value) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {_shown(next(key for key in keys if keys.count(key) > 1))} is there twice")
    return made


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:SHOWN]} is infinite in float64")
    return value


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """`data` (plain values) with its checksum as the last entry."""
    return {**data, KEY: checksum(data)}


def unsealed(data: dict[str, Any]) -> dict[str, Any]:
    """`data` without its checksum; raises `ValueError` where that is not the one of the content.

    Data without a checksum, from before there was one or written by hand, are taken as they are; but not where the
    last entry looks like one under another name.
    """
    if KEY not in data:
        name, last = next(reversed(data.items()), ("", None))
        if difflib.get_close_matches(name, [KEY]) or (isinstance(last, str) and _LIKE_ONE.fullmatch(last)):
            raise ValueError(f'its last entry, "{name}", should be its {KEY}')
        return data
    content = {k: v for k, v in data.items() if k != KEY}
    if data[KEY] != checksum(content):
        raise ValueError(
            "its checksum is another, so it was damaged or changed after it was written "
            f'(changed on purpose: take "{KEY}" out)'
        )
    return content


def checksum(data: dict[str, Any]) -> str:
    """CRC-32 of the JSON text of `data`, as eight hexadecimal digits."""
    return f"{zlib.crc32(json.dumps(data).encode()):08x}"
