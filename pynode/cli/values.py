"""Reads the values of options: paths, counts, tolerances, and lists of them separated by commas."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar

import typer

import pynode.names
from pynode.arguments import check_choice
from pynode.errors import InvalidArgument
from pynode.registry import Registry

T = TypeVar("T")

MOST_STEPS = 100_000
"""Steps of one output interval: more would never end."""

MOST_THREADS = 256
"""Threads that any machine may be asked for; more only where it has as many CPUs."""

LONGEST_WAIT = 31_536_000.0
"""Seconds of a year: the longest time limit."""

NO_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ)
"""What a system says of names that no file can have."""

LARGEST_SEED = 2**63 - 1


def path(text: str | os.PathLike[str]) -> Path:
    """The path `text`; an empty one, as an unset shell variable leaves it, is refused."""
    name = os.fspath(text)
    if not name.strip():
        raise typer.BadParameter("the path is empty; is a shell variable unset?")
    if "\0" in name:
        raise typer.BadParameter("a path can't hold a null character")
    try:
        os.lstat(name)
    except OSError as error:
        if error.errno in NO_PATHS:
            raise typer.BadParameter(f"{name[:60]}: {error.strerror}; give another path") from error
    return Path(name)


def thread_limit() -> int:
    """The largest number of threads that a command may be given."""
    return max(MOST_THREADS, os.cpu_count() or 1)


def seconds(value: float) -> float:
    """A time limit; raises `BadParameter` unless it is positive and at most a year."""
    if not 0 < value <= LONGEST_WAIT:
        raise typer.BadParameter(f"{value:g} is not a number of seconds above 0 and up to a year")
    return value


def tolerance(value: float | None) -> float | None:
    """A relative tolerance; raises `BadParameter` above 1, where nothing is controlled any more."""
    if value is not None and value > 1:
        raise typer.BadParameter(f"{value:g} is above 1, so that no digit would be right; use e.g. 1e-6")
    return value


def names(argument: str, text: str) -> list[str]:
    """The comma-separated names of `text`, without repeats."""
    listed = list(dict.fromkeys(part.strip() for part in str(text).split(",") if part.strip()))
    if not listed:
        raise InvalidArgument(argument, repr(text), "empty", "give one or more, separated by commas")
    return listed


def members(registry: Registry[Any]) -> Callable[[str | None], str | None]:
    """Makes names of `registry`, separated by commas, of members in files (`my_problem.py:MyProblem`), which run."""

    def take(text: str | None) -> str | None:
        return None if text is None else ",".join(registry.name_of(name.strip()) for name in text.split(","))

    return take


def names_in(
    option: str, texts: Iterable[str], columns: Callable[[], Collection[str]] | None = None
) -> tuple[str, ...]:
    """The names in the values of an option, separated by commas; a name with a comma stands in quotation marks.

    A name with a comma that is one of `columns`, which are asked for where a comma or a quotation mark is given, needs
    none.
    """
    given = list(texts)
    known = columns() if columns is not None and any(sign in text for text in given for sign in ',"') else ()
    return pynode.names.names_in(option, given, known)


def choice(option: str, *known: str) -> Callable[[str | None], str | None]:
    """Takes one of the words `known`; raises `InvalidArgument` for any other."""

    def take(text: str | None) -> str | None:
        if text is not None:
            check_choice(option, text, known)
        return text

    return take


def numbers(argument: str, text: str, kind: Callable[[str], T]) -> list[T]:
    """The comma-separated numbers of `text`, without repeats."""
    try:
        return list(dict.fromkeys(kind(part) for part in names(argument, text)))
    except ValueError as error:
        raise InvalidArgument(argument, text, "not numbers separated by commas", "write e.g. 1,2,4") from error


def counts(argument: str, text: str, most: int = MOST_STEPS) -> list[int]:
    """The comma-separated positive integers of `text`, none above `most`."""
    listed = numbers(argument, text, int)
    for number in listed:
        if number < 1:
            raise InvalidArgument(argument, number, "not a positive integer", "use 1 or more")
        if number > most:
            raise InvalidArgument(argument, number, f"more than {most:,}", "use fewer")
    return listed


def tolerances(argument: str, text: str) -> list[float]:
    """The comma-separated tolerances of `text`, none above 1."""
    listed = numbers(argument, text, float)
    for number in listed:
        if math.isnan(number) or number > 1:
            raise InvalidArgument(argument, number, "not a tolerance of at most 1", "use e.g. 1e-3,1e-6")
    return listed


def given(**options: Any) -> dict[str, Any]:
    """Those of the options that have a value."""
    return {name: value for name, value in options.items() if value is not None}


def check_no_effect(context: typer.Context, why: str, remedy: str, *options: str) -> None:
    """Raises `InvalidArgument` where one of `options` (parameters of the command) was given: it would do nothing."""
    for name in options:
        source = context.get_parameter_source(name)
        if source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP"):
            shown = next(p.opts[0] for p in context.command.params if p.name == name)
            raise InvalidArgument(shown, context.params[name], why, remedy)
