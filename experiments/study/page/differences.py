"""The published records of the spiral's differences, read once."""

from __future__ import annotations

from functools import cache

from experiments.study.page.published import place_of
from experiments.study.spiral_differences.records import Differences, read
from pynode.errors import UsageError


@cache
def differences() -> Differences:
    """All variants of the spiral; raises `UsageError` where none are published."""
    place = place_of("spiral-differences")
    if place is None:
        raise UsageError("no variants of the spiral are published; take them out of the page")
    return read(place)
