"""Checks of single options: one value each, with an error that names it and the remedy."""

from __future__ import annotations

import re
import sys

from pynode.errors import InvalidArgument, nearest

UNITS = {
    "B": 1,
    **{f"{k}B": 1000**n for n, k in enumerate("kMGT", 1)},
    **{f"{k}iB": 1024**n for n, k in enumerate("KMGT", 1)},
}
"""Bytes in a unit of memory."""

SMALLEST_RTOL = 1e-15
"""Relative tolerances below this can't be met: steps would shrink until the time stands still."""


def check_choice(argument: str, value: str, known: tuple[str, ...]) -> None:
    """Raises `InvalidArgument` unless `value` is one of `known`."""
    if value not in known:
        match = nearest(value, known) if isinstance(value, str) else None
        guess = f"did you mean '{match}'? " if match else ""
        listed = ", ".join(
            word if word[:1].isalnum() else repr(word) for word in known
        )  # of "." and "," the marks show
        raise InvalidArgument(argument, repr(value), "unknown", f"{guess}use one of {listed}")


def check_flag(argument: str, value: bool) -> None:
    """Raises `InvalidArgument` unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InvalidArgument(argument, value, "neither True nor False", "use one of them")


def check_tolerance(argument: str, value: float) -> None:
    """Raises `InvalidArgument` unless `value` is a positive number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max:
        raise InvalidArgument(argument, value, "not a positive number", "use e.g. 1e-6")
    if "rtol" in argument and value < SMALLEST_RTOL:
        raise InvalidArgument(
            argument, value, "below the rounding error of float64", f"use {SMALLEST_RTOL:.0e} or more"
        )


def check_count(argument: str, value: int, most: int = 2**63 - 1) -> None:
    """Raises `InvalidArgument` unless `value` is a positive integer, at most `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument(argument, value, "not a positive integer", "use 1 or more")
    if value > most:
        raise InvalidArgument(argument, f"{value:.3g}" if value < 1e300 else "huge", f"more than {most:,}", "use fewer")


def memory_bytes(argument: str, value: int | str) -> int:
    """The bytes that `value` stands for: a number of them, or text such as "4GiB" or "500 MB".

    Raises `InvalidArgument` for everything else, and for less than one byte.
    """
    count = float(value) if isinstance(value, int) and not isinstance(value, bool) else 0.0
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)):
        units = {unit.lower(): size for unit, size in UNITS.items()}
        count = float(match[1]) * units.get(match[2].lower() or "b", 0)
    if not 1 <= count < 2**63:
        remedy = f"use a number of bytes, or one with a unit ({', '.join(UNITS)}) such as 4GiB"
        raise InvalidArgument(argument, repr(value), "not an amount of memory", remedy)
    return value if isinstance(value, int) else int(count)
