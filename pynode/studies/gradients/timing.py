"""How long a gradient takes: repeated timings, how far they scatter, and the load of the machine meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from pynode.arguments import check_count
from pynode.clock import Clock, load_average
from pynode.studies.gradients.record import agree

FEWEST = 3
"""Repeats that have a scatter."""


@dataclass(frozen=True)
class Repeats:
    """How often a gradient is timed, and when it is timed again.

    It is timed `least` times, and more often until `seconds` have passed, but at most `most` times: the times of cheap
    gradients need many repeats to have a median.  Three times are enough once `enough` seconds have passed.  Where the
    times scatter by more than `STEADY` it is timed again after `pause` seconds, at most `again` times; the attempt that
    scatters least is kept.
    """

    least: int = 5
    most: int = 50
    seconds: float = 0.0
    enough: float = 3.0
    again: int = 0
    pause: float = 1.0

    def __post_init__(self) -> None:
        check_count("repeats", self.least)


CAREFUL = Repeats(seconds=0.05, again=3)
"""For times that are published."""


@dataclass(frozen=True)
class Timing:
    """Times of one gradient: their median, `scatter` (None for fewer than three), how many, and the machine's load."""

    seconds: float
    scatter: float | None
    repeats: int
    load: float | None

    @property
    def is_steady(self) -> bool:
        """Whether the times agree, as far as is known."""
        return agree(self.scatter)


def timed(work: Callable[[], object], clock: Clock, repeats: Repeats) -> Timing:
    """Times `work()`, which has run before (kernels are compiled, caches are warm), as `repeats` says."""
    best = _attempt(work, clock, repeats)
    for _ in range(repeats.again):
        if best.is_steady:
            break
        time.sleep(repeats.pause)
        best = min(best, _attempt(work, clock, repeats), key=lambda timing: timing.scatter or 0.0)
    return best


def _attempt(work: Callable[[], object], clock: Clock, repeats: Repeats) -> Timing:
    laps: list[float] = []
    while _wants_more(laps, repeats):
        clock.start()
        work()
        laps.append(clock.lap())
    return Timing(median(laps), scatter(laps), len(laps), load_average())


def _wants_more(laps: list[float], repeats: Repeats) -> bool:
    passed = sum(laps)
    if len(laps) >= FEWEST and passed >= repeats.enough:
        return False
    return len(laps) < repeats.least or (passed < repeats.seconds and len(laps) < repeats.most)


def scatter(seconds: Sequence[float]) -> float | None:
    """Interquartile range over median; None for fewer than three times, or where the median is 0.

    A single interruption does not show in it, as it does not show in the median.  A process that takes a share of the
    core all the while does not either: the load average tells of that.
    """
    middle = median(seconds)
    if len(seconds) < FEWEST or not middle:
        return None
    low, _, high = quantiles(seconds, n=4, method="inclusive")
    return (high - low) / middle
