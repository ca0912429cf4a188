"""Names where one or several may be given: a text is one name, and is never taken apart into its letters.

Where a text holds several names, as on the command line, commas separate them, and a name with a comma stands in
quotation marks.
"""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
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


def names_in(argument: str, texts: Iterable[str], known: Collection[str] = ()) -> tuple[str, ...]:
    """The names in `texts`, separated by commas and each once; a name with a comma stands in quotation marks.

    A name with a comma that is one of the `known` needs none.  Raises `InvalidArgument` where there is no name, or a
    quotation mark is not closed.
    """
    given = list(texts)
    try:
        cells = [name for text in given for name in _names(text, known)]
    except csv.Error as error:
        problem = f"not a list of names ({error})"
        raise InvalidArgument(argument, ",".join(given), problem, "write a,b or '\"a, b\",c'") from error
    named = tuple(dict.fromkeys(cell for cell in cells if cell))
    if not named:
        raise InvalidArgument(argument, repr(",".join(given)), "empty", "give one or more names, separated by commas")
    return named


def _names(text: str, known: Collection[str]) -> list[str]:
    """The names in one text; raises `csv.Error` for quotation marks that are neither in known names nor around any."""
    pieces = list(_pieces(text, known))
    if '"' not in text or all(piece in known or piece.isdecimal() for piece in pieces):
        return pieces
    try:
        return [cell.strip() for row in csv.reader([text], skipinitialspace=True, strict=True) for cell in row]
    except csv.Error:
        if "," in text:
            raise
        return [text.strip()]  # one name, which begins with a quotation mark


def _pieces(text: str, known: Collection[str]) -> Iterator[str]:
    """What stands between commas; as much as possible at a time of what is one of the `known`."""
    parts, most = text.split(","), 1 + max((name.count(",") for name in known), default=0)
    while parts:
        joined = (",".join(parts[:n]).strip() for n in range(min(most, len(parts)), 1, -1))
        yield (piece := next((name for name in joined if name in known), parts[0].strip()))
        parts = parts[piece.count(",") + 1 :]


def in_one_text(names: Iterable[str]) -> str:
    """A text in which `names_in` finds these names again."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def as_argument(names: Iterable[str]) -> str:
    """`in_one_text` as messages offer it: in quotation marks where a shell would not take it as it is."""
    text = in_one_text(names)
    return text if shlex.quote(text) == text else repr(text)
