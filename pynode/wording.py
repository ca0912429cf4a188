"""Parts of sentences: counts ("1 step", "2 steps"), and the command line as the user types it."""

from __future__ import annotations

from pathlib import Path

_RUN = Path(__file__).resolve().parents[1] / "experiments" / "run.py"

COMMAND = "python experiments/run.py" if _RUN.is_file() else "pynode"
"""The command line's program: in a clone, or where pynode is installed."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """`number` and what it counts; `plural` is for nouns that take more than an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def verb(number: int, one: str, several: str) -> str:
    """`one` or `several`, which go with what `counted` gives: "is" or "are"."""
    return one if number == 1 else several
