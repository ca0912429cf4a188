"""Values that users give for options: read from text and from TOML, and checked against what the option declares."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

from pynode.arguments import check_count, check_tolerance
from pynode.engines import AUTO, ENGINES
from pynode.errors import InvalidArgument, UnknownName, UsageError
from pynode.names import names_in
from pynode.registry import Registry
from pynode.schemes import SCHEMES
from pynode.settings.declared import Kind

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    list: "a list",
    type(None): "nothing",
}
"""What a value of each kind is called."""

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

REGISTRIES: dict[str, tuple[Registry[Any], tuple[str, ...]]] = {
    "Scheme": (SCHEMES, ()),
    "EngineName": (ENGINES, (AUTO,)),
}
"""Where the members are registered that an option takes by name, and what it takes beside them."""

LARGEST = 1_000_000
"""Bytes of a file of options."""

PIECE = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|\[[^\]]*\])\s*(?=,|$)|[^,]*""")
"""What stands between two commas; those within quotation marks or brackets do not count."""


def from_text(argument: str, text: str, kind: Kind) -> Any:
    """The value that `text` stands for where the option takes values of `kind`; raises a `UsageError`."""
    text = text.strip()
    if bool in kind.types:
        if text.lower() not in TRUTH:
            raise InvalidArgument(argument, repr(text), "neither true nor false", "write true or false")
        return TRUTH[text.lower()]
    numbers = [number for number in (int, float) if number in kind.types]
    if list in kind.types and str in kind.parts and ("," in text or not numbers):
        return names_in(argument, (text,)) if text.strip(" ,") else ()
    if list in kind.types and ("," in text or not numbers):
        return tuple(_number(argument, part.strip(), int) for part in text.split(",") if part.strip())
    if numbers and str not in kind.types:
        return _number(argument, text, numbers[0])
    text = _member(text, kind)
    check_value(argument, text, kind)
    return text


def _number(argument: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidArgument(argument, repr(text), f"not {WORDS[kind]}", "give a number") from error


def _member(text: str, kind: Kind) -> str:
    """The name of a member that is in a file, where the option takes members; else the text."""
    return REGISTRIES[kind.member][0].name_of(text) if kind.member in REGISTRIES else text


def check_value(argument: str, value: Any, kind: Kind, owner: str = "") -> None:
    """Raises `UnknownName`, with the nearest match, for a word that an option of `kind` (of `owner`) does not know."""
    words = words_of(kind)
    if isinstance(value, str) and words and value not in words:
        what = f"value of {argument}{f' for {owner}' if owner else ''}"
        raise UnknownName(REGISTRIES[kind.member][0].kind if kind.member in REGISTRIES else what, value, words)


def words_of(kind: Kind) -> tuple[str, ...]:
    """The words that an option takes; empty where it takes any text."""
    if kind.member not in REGISTRIES:
        return kind.words
    registry, others = REGISTRIES[kind.member]
    return (*others, *registry.names(), *registry.outside())


def check_number(argument: str, value: Any) -> None:
    """Raises `InvalidArgument` for what is no number of things, or no tolerance: all whole numbers are counts."""
    if "tol" in argument:
        check_tolerance(argument, value)
    for number in value if isinstance(value, tuple) else (value,):
        if type(number) is int:
            check_count(argument, number)


def parse(argument: str, text: str) -> list[Any]:
    """The values in `1e-3,1e-5`, `disc-opt,opt-disc` or `[32,32],[64,64]`, each as in TOML; other words are strings.

    Raises `InvalidArgument` where one is empty.
    """
    pieces = [piece.strip() for piece in _pieces(text)]
    if not all(pieces):
        raise InvalidArgument(argument, repr(text), "an empty value", "write NAME=VALUE or NAME=VALUE,VALUE,...")
    return [_literal(piece) for piece in pieces]


def _pieces(text: str) -> list[str]:
    pieces, at = [], -1
    while at < len(text):
        piece = PIECE.match(text, at + 1)
        assert piece is not None, "it matches the empty text, too"
        pieces.append(piece.group())
        at = piece.end()
    return pieces


def _literal(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return value if isinstance(value, (bool, int, float, str, list)) else text


def values_of(name: str, given: Any, kind: Kind) -> list[Any]:
    """The values of the axis `name`, of `kind`; `given` is one value or a list of them.

    A list of numbers for something that is a list itself (widths) is one value.  Raises `InvalidArgument` for an empty
    axis, for a value of another type and for one that stands there twice.
    """
    whole = list in kind.types and int not in kind.types and isinstance(given, list)
    whole = whole and not any(isinstance(value, list) for value in given)
    listed = given if isinstance(given, list) and not (whole and given) else [given]
    if not listed:
        raise InvalidArgument(name, "[]", "an axis without values", "give one or more, or leave it out")
    values = [typed(name, value, kind) for value in listed]
    for k, value in enumerate(values):
        if value in values[:k]:
            raise InvalidArgument(name, shown(given), f"{shown(value)} stands there twice", "give each value once")
    return values


def typed(name: str, value: Any, kind: Kind) -> Any:
    """`value` as an option of `kind` wants it: whole numbers become floats where only these fit.

    Raises `InvalidArgument` for a value of another type, and `UnknownName` for a word that the option does not know.
    """
    if list in kind.types and str in kind.parts:
        parts = value if isinstance(value, list) else [value]
        return [part if isinstance(part, str) else shown(part) for part in parts]
    if type(value) is int and float in kind.types and int not in kind.types:
        value = float(value)
    if type(value) not in kind.types:
        wanted = " or ".join(WORDS[each] for each in WORDS if each in kind.types and each is not type(None))
        raise InvalidArgument(name, shown(value), f"not {wanted}", f"give {wanted}")
    if isinstance(value, list) and any(type(part) is not int for part in value):
        raise InvalidArgument(name, shown(value), "not a list of whole numbers", "give e.g. [64, 64]")
    if isinstance(value, str):
        value = _member(value, kind)
    check_value(name, value, kind)
    return value


def shown(value: Any) -> str:
    """A value as a user would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(shown(part) for part in value)}]"
    return str(value)


def read_toml(file: Path, shown: str) -> dict[str, Any]:
    """The values of a TOML file, which may begin with a byte order mark; raises `UsageError` in the name `shown`."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise UsageError(f"{shown}: not a regular file; give the path of a TOML file")
        if os.path.getsize(file) > LARGEST:
            raise UsageError(f"{shown}: larger than {LARGEST:,} bytes; give the path of a TOML file")
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{shown}: can't be read ({error.strerror}); give the path of a TOML file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown}: no valid TOML (it is not UTF-8: {error.reason}); save it as UTF-8") from error
    except RecursionError as error:
        raise UsageError(f"{shown}: no valid TOML (nested too deeply); correct the file") from error
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise UsageError(f"{shown}: no valid TOML ({error}); correct the file") from error
