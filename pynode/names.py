"""Names where one or several may be given: a text is one name, and is never taken apart into its letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from pynode.errors import InvalidArgument


def names_of(argument: str, given: str | float | Iterable[str | float], *, numbers: bool = False) -> tuple[str, ...]:
    """The names in `given`, one alone or several; with `numbers` also numbers, as text, whole ones without a point.

    Raises `InvalidArgument` for anything else, such as a column's number that is no text, or bytes.
    """
    if isinstance(given, str):
        return (given,)
    example = "give names or numbers of columns as text, e.g. ('speed', '3')"
    if numbers:
        example = "give texts or numbers, e.g. ('A7', 3)"
    if isinstance(given, (Mapping, bytes, bytearray)) or not isinstance(given, Iterable):
        if numbers and _is_number(given):
            return (_text(given),)
        raise InvalidArgument(argument, repr(given), "not names", example)
    names = []
    for name in given:
        if not isinstance(name, str) and not (numbers and _is_number(name)):
            raise InvalidArgument(argument, repr(given), f"{name!r} is not a name", example)
        names.append(_text(name))
    return tuple(names)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)  # NumPy's numbers are Real as well


def _text(name: object) -> str:
    """A name as it is; a number as files have it: 3 also where it is 3.0."""
    whole = isinstance(name, Real) and not isinstance(name, Integral) and float(name).is_integer()
    return f"{name:.0f}" if whole else str(name)
