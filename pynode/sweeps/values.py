"""Values of axes: from text on the command line, and checked against the types of what they set."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

from pynode.errors import InvalidArgument
from pynode.schemes.base import Scheme

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


def parse(argument: str, text: str) -> list[Any]:
    """The values in `1e-3,1e-5`, `disc-opt,opt-disc` or `[32,32],[64,64]`, each as in TOML; other words are strings.

    Raises `InvalidArgument` where one is empty.
    """
    pieces = [piece.strip() for piece in _pieces(text)]
    if not all(pieces):
        raise InvalidArgument(argument, repr(text), "an empty value", "write NAME=VALUE or NAME=VALUE,VALUE,...")
    return [_literal(piece) for piece in pieces]


PIECE = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|\[[^\]]*\])\s*(?=,|$)|[^,]*""")
"""What stands between two commas; those within quotation marks or brackets do not count."""


def _pieces(text: str) -> list[str]:
    found, at = [], -1
    while at < len(text):
        piece = PIECE.match(text, at + 1)
        assert piece is not None, "it matches the empty text, too"
        found.append(piece.group())
        at = piece.end()
    return found


def _literal(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return value if isinstance(value, (bool, int, float, str, list)) else text


def values_of(name: str, given: Any, hint: Any) -> list[Any]:
    """The values of the axis `name`, of the type `hint`; `given` is one value or a list of them.

    A list of numbers for something that is a list itself (widths) is one value.  Raises `InvalidArgument` for an empty
    axis, for a value of another type and for one that stands there twice.
    """
    kinds = kinds_of(hint)
    whole = (
        list in kinds and int not in kinds and isinstance(given, list) and not any(isinstance(v, list) for v in given)
    )
    values = given if isinstance(given, list) and not (whole and given) else [given]
    if not values:
        raise InvalidArgument(name, "[]", "an axis without values", "give one or more, or leave it out")
    found = [typed(name, value, hint) for value in values]
    for k, value in enumerate(found):
        if value in found[:k]:
            raise InvalidArgument(name, shown(given), f"{shown(value)} stands there twice", "give each value once")
    return found


def typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as `hint` wants it: whole numbers become floats where only these fit; raises `InvalidArgument`."""
    kinds = kinds_of(hint)
    if list in kinds and _holds_text(hint):
        parts = value if isinstance(value, list) else [value]
        return [part if isinstance(part, str) else shown(part) for part in parts]
    if type(value) is int and float in kinds and int not in kinds:
        value = float(value)
    if type(value) not in kinds:
        wanted = " or ".join(WORDS[kind] for kind in WORDS if kind in kinds and kind is not type(None))
        raise InvalidArgument(name, shown(value), f"not {wanted}", f"give {wanted}")
    if isinstance(value, list) and any(type(part) is not int for part in value):
        raise InvalidArgument(name, shown(value), "not a list of whole numbers", "give e.g. [64, 64]")
    return value


def kinds_of(hint: Any) -> set[type]:
    """The plain types that a value of the type `hint` may have in a file; lists stand for tuples and sequences."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return set().union(*(kinds_of(part) for part in get_args(hint)))
    if origin is Literal:
        return {type(value) for value in get_args(hint)}
    if origin in (tuple, list, Sequence):
        return {list}
    if hint is Scheme:  # by its name
        return {str}
    return {hint} & set(WORDS)


def _holds_text(hint: Any) -> bool:
    """Whether a list of this type is one of words, such as names of columns."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_holds_text(part) for part in get_args(hint))
    return get_origin(hint) in (tuple, list, Sequence) and str in get_args(hint)


def shown(value: Any) -> str:
    """A value as a user would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(shown(part) for part in value)}]"
    return str(value)
