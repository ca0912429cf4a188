"""Numbers in words, for sentences."""

from __future__ import annotations

from collections.abc import Sequence

WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: `a, b and c`."""
    *first, last = names or ("",)
    return f"{', '.join(first)} and {last}" if first else last


def word(count: int) -> str:
    """A small number as a word."""
    return WORDS[count] if count < len(WORDS) else f"{count:,}"
