"""Names where one or several may be given: a text is one name, and is never taken apart into its letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pynode.errors import InvalidArgument


def names_of(argument: str, given: str | float | Iterable[str | float], *, numbers: bool = False) -> tuple[str, ...]:
    """The names in `given`, one alone or several; with `numbers` also numbers, as text.

    Raises `InvalidArgument` for anything else, such as a column's number that is no text.
    """
    if isinstance(given, str):
        return (given,)
    example = "give names or numbers of columns as text, e.g. ('speed', '3')"
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        if numbers and _is_number(given):
            return (str(given),)
        raise InvalidArgument(argument, repr(given), "not names", example)
    names = tuple(str(name) if numbers and _is_number(name) else name for name in given)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise InvalidArgument(argument, repr(given), f"{wrong[0]!r} is not a name", example)
    return names


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
