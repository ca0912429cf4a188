"""The published benchmarks, and how each was made: command, machine, commit, load."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from experiments.benchmarks.load import load_of
from experiments.benchmarks.records import FAILED, REFUSED, SKIPPED, Benchmark, Status, read
from experiments.study.page.markdown import EMPTY, wrapped
from experiments.study.page.problem_tables import command_of, commits_of
from experiments.study.page.published import place_of
from experiments.study.page.words import word

LEFT_OUT: dict[Status, str] = {
    SKIPPED: "Not installed",
    REFUSED: "Computed something else",
    FAILED: "Broke down",
}
"""What is said of entrants that a table lacks; `tables.md` of the record has the reasons."""


def benchmark(folder: str) -> Benchmark | None:
    """The published benchmark of this name; None where there is none."""
    place = place_of(folder)
    return None if place is None else _read(place)


@cache
def _read(place: Path) -> Benchmark:
    return read(place)


def made(folder: str) -> str:
    """By which command, on which machine, from which commit, how busy the machine was, and who is missing."""
    published = benchmark(folder)
    if published is None:
        return EMPTY
    if not published.environment:
        return "How this was made is not recorded."
    made_by, machine = command_of(published.environment), machine_of(published.environment)
    how = f"Made by {made_by} on {machine}, {commits_of([published.environment])}."
    return wrapped(" ".join([how, load_of(published).note, *left_out(published)]))


def left_out(published: Benchmark) -> list[str]:
    """A sentence for each reason why entrants were not timed on a workload that they were entered for."""
    said = []
    for status, words in LEFT_OUT.items():
        if names := list(dict.fromkeys(e.entrant for e in published.entries if e.status == status)):
            said.append(f"{words}: {listed(names)}.")
    return said


def machine_of(environment: Mapping[str, Any]) -> str:
    """Cores and processor: `two cores (AMD EPYC)`."""
    cores, processor = environment.get("cores"), environment.get("processor")
    counted = f"{word(cores)} core{'s' * (cores > 1)}" if cores else "a machine"
    return f"{counted} ({processor})" if processor else counted


def threads_text(threads: int) -> str:
    """Threads in words."""
    return f"{word(threads)} thread{'s' * (threads > 1)}"


def listed(items: list[str]) -> str:
    """`a, b and c`."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
