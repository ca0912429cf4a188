"""How idle the machine was while runs were timed: their load averages, in words for tables."""

from __future__ import annotations

from collections.abc import Iterable

from pynode.records.runs import Run

IDLE = 1.3
"""The highest load average of an idle machine that trains in one process on one thread."""


def highest_load(runs: Iterable[Run]) -> float | None:
    """The highest one-minute load average that any of `runs` saw; None where a run did not record it.

    A value above `IDLE` is told even where another run has none.
    """
    loads = [(run.summary or {}).get("load_average") for run in runs]
    known = [float(load) for load in loads if load is not None]
    if not known or (len(known) < len(loads) and max(known) <= IDLE):
        return None
    return max(known)


def is_idle(load: float | None) -> bool:
    """Whether a load average is known and that of an idle machine."""
    return load is not None and load <= IDLE


def load_text(load: float | None) -> str:
    """A load average for a table."""
    if load is None:
        return "not recorded"
    return f"{load:.2f}" if is_idle(load) else f"{load:.2f}, not idle"


def load_note(load: float | None) -> str | None:
    """A sentence for tables of seconds that an idle machine did not make; None where it was idle."""
    if is_idle(load):
        return None
    if load is None:
        return "The load of the machine was not recorded: seconds may hold the work of other jobs."
    return f"The machine was not idle (load average up to {load:.2f}): seconds hold the work of other jobs."
