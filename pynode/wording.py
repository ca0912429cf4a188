"""Counts in sentences: "1 step", "2 steps"."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`number` and what it counts; `plural` is for nouns that take more than an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def verb(number: int, one: str, several: str) -> str:
    """`one` or `several`, which go with what `counted` gives: "is" or "are"."""
    return one if number == 1 else several
