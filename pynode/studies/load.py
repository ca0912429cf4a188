"""How idle the machine was while runs were timed: their load averages, in words for tables."""

from __future__ import annotations

from collections.abc import Iterable

from pynode.records.runs import Run

IDLE = 1.3
"""The highest load average of an idle machine that trains in one process on one thread; each further one adds 1."""


def highest_load(runs: Iterable[Run]) -> float | None:
    """The highest one-minute load average that any of `runs` saw; see `load_and_threads`."""
    return load_and_threads(runs)[0]


def load_and_threads(runs: Iterable[Run]) -> tuple[float | None, int]:
    """The one-minute load average of the run that saw most beside its own threads, and how many these are.

    None where a run did not record it; but what an idle machine can't have is told even where another run has none.
    """
    every = list(runs)
    loads = [(run, load) for run in every if (load := (run.summary or {}).get("load_average")) is not None]
    if not loads:
        return None, min((run.threads for run in every), default=1)
    run, load = max(loads, key=lambda seen: seen[1] - seen[0].threads)
    known = len(loads) == len(every) or not is_idle(load, run.threads)
    return float(load) if known else None, run.threads


def highest_idle(threads: int = 1) -> float:
    """The highest load average of an idle machine that trains on so many threads, of all processes together."""
    return IDLE + threads - 1


def is_idle(load: float | None, threads: int = 1) -> bool:
    """Whether a load average is known and that of a machine that does nothing but train on so many threads."""
    return load is not None and load <= highest_idle(threads)


def load_text(load: float | None, threads: int = 1) -> str:
    """A load average for a table."""
    if load is None:
        return "not recorded"
    own = f" on {threads} threads" if threads > 1 else ""
    return f"{load:.2f}{own}" if is_idle(load, threads) else f"{load:.2f}{own}, not idle"


def load_note(load: float | None, threads: int = 1) -> str | None:
    """A sentence for tables of seconds that an idle machine did not make; None where it was idle."""
    if is_idle(load, threads):
        return None
    if load is None:
        return "The load of the machine was not recorded: seconds may hold the work of other jobs."
    own = f", {threads} of it the runs' own" if threads > 1 else ""
    return f"The machine was not idle (load average up to {load:.2f}{own}): seconds hold the work of other jobs."
