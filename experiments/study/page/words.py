"""Numbers in words, for sentences."""

from __future__ import annotations

WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def word(count: int) -> str:
    """A small number as a word."""
    return WORDS[count] if count < len(WORDS) else f"{count:,}"
