"""Settings timed against each other: in rounds, so that a load of the machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from pynode.clock import Clock, load_average
from pynode.studies.gradients.timing import scatter

K = TypeVar("K", bound=Hashable)

FEWEST, MOST = 5, 60
"""Rounds that every setting takes part in at least, and at most."""

BEHIND = 1.6
"""A setting that is slower than the fastest by this factor leaves after the first rounds."""

SHORTEST = 2e-3
"""Seconds of one lap at least: cheaper work is repeated within it."""


@dataclass(frozen=True)
class Raced:
    """Times of one setting in the rounds: median seconds, their scatter, how many, and the ratio to the fastest.

    The ratio is that of the lower quartiles over the same rounds, which interruptions leave as they are;
    `ratio_scatter` is how far it differs between the even and the odd rounds.
    """

    seconds: float
    scatter: float | None
    repeats: int
    ratio: float
    ratio_scatter: float | None = None


@dataclass(frozen=True)
class Rounds(Generic[K]):
    """The times of all settings, and the load average of the machine, least and most."""

    raced: dict[K, Raced]
    load: tuple[float, float] | None


def race(
    works: Mapping[K, Callable[[], object]],
    clock: Clock,
    seconds: float,
    groups: Mapping[K, Hashable] | None = None,
) -> Rounds[K]:
    """Times `works` (each has run before) in rounds, for `seconds` or until there are enough.

    After the first rounds those leave that are far behind the fastest of their group (all are one without `groups`).
    """
    end = time.perf_counter() + seconds
    laps: dict[K, list[float]] = {key: [] for key in works}
    repeats = {key: _repeats(work, clock) for key, work in works.items()}
    running, loads = list(works), [load_average()]
    for number in range(MOST):
        if number >= FEWEST and time.perf_counter() > end:
            break
        if number and time.perf_counter() > end + seconds:  # far too slow for this machine
            break
        # forwards and backwards in turn: what grows within a round favours nobody
        for key in running if number % 2 == 0 else reversed(running):
            clock.start()
            for _ in range(repeats[key]):
                works[key]()
            laps[key].append(clock.lap() / repeats[key])
        loads.append(load_average())
        if number + 1 == FEWEST:
            running = _close(running, laps, groups or {})
    known = [load for load in loads if load is not None]
    fastest = min(running, key=lambda key: lower(laps[key])) if running else None
    raced = {
        key: Raced(median(mine), scatter(mine), len(mine), *_ratio(mine, laps[fastest]))
        for key, mine in laps.items()
        if mine and fastest is not None
    }
    return Rounds(raced, (min(known), max(known)) if known else None)


def _repeats(work: Callable[[], object], clock: Clock) -> int:
    clock.start()
    work()
    once = clock.lap()
    return max(1, min(20, round(SHORTEST / max(once, 1e-6))))


def _close(running: list[K], laps: Mapping[K, list[float]], groups: Mapping[K, Hashable]) -> list[K]:
    fastest: dict[Hashable, float] = {}
    for key in running:
        group, mine = groups.get(key), lower(laps[key])
        fastest[group] = min(mine, fastest.get(group, mine))
    return [key for key in running if lower(laps[key]) <= BEHIND * fastest[groups.get(key)]]


def _ratio(mine: list[float], others: list[float]) -> tuple[float, float | None]:
    """The ratio of the lower quartiles over the same rounds, and how far it differs between every other one."""
    n = min(len(mine), len(others))

    def of(start: int, step: int) -> float:
        return lower(mine[start:n:step]) / lower(others[start:n:step])

    whole = of(0, 1)
    return whole, abs(of(0, 2) - of(1, 2)) / whole if n >= FEWEST else None


def lower(laps: Sequence[float]) -> float:
    """The lower quartile of times: what they are where nothing interrupts."""
    return sorted(laps)[(len(laps) - 1) // 4]
