"""Finds the coarsest setting of a family that meets given errors, by bisection over its accuracies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

STEPS = (*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
"""Step counts of an output interval: neighbours differ by 25 % at most from 4 on."""

TOLERANCES = tuple(float(f"{10.0 ** (-k / 2):.0e}") for k in range(2, 21))
"""Tolerances in half decades, 1e-1, 3e-2, ... to 1e-10: neighbours differ by some 25 % in their steps."""


@dataclass(frozen=True)
class Outcome:
    """What is known of one place of a ladder: errors of its gradient and of its loss as a share of the fit (None where
    it failed, or where nothing was fitted), and its cost."""

    error: float | None
    bias: float | None
    cost: float


Aim = Callable[[Outcome], bool]
"""Whether an outcome is good enough for some purpose."""


def error_below(target: float) -> Aim:
    """The aim of a gradient whose relative error is at most `target`."""
    return lambda outcome: outcome.error is not None and outcome.error <= target


def bias_below(share: float, otherwise: float) -> Aim:
    """The aim of a loss that is off by at most `share` of the fit; where that is not known, of a gradient's error."""

    def aim(outcome: Outcome) -> bool:
        if outcome.error is None:
            return False
        return outcome.error <= otherwise if outcome.bias is None else outcome.bias <= share

    return aim


class Ladder(Generic[T]):
    """The settings of one family from the coarsest to the finest, each measured at most once.

    `measure` gives the outcome of a setting.
    """

    def __init__(self, settings: Sequence[T], measure: Callable[[T], Outcome]) -> None:
        self.settings, self._measure = list(settings), measure
        self.outcomes: dict[int, Outcome] = {}

    def at(self, place: int) -> Outcome:
        """The outcome of the setting at `place`."""
        if place not in self.outcomes:
            self.outcomes[place] = self._measure(self.settings[place])
        return self.outcomes[place]

    def search(self, aims: Sequence[Aim], *, first: int = 0, stride: int = 4, most: float = math.inf) -> None:
        """Measures what tells the coarsest setting that is good enough for each of `aims`, the easiest first.

        From `first` on every `stride`-th setting, until the last aim is met or a setting costs more than `most`; then,
        for each aim, by halving between the last setting that misses it and the first that meets it.
        """
        place, last = min(first, len(self.settings) - 1), len(self.settings) - 1
        while True:
            outcome = self.at(place)
            if aims[-1](outcome) or outcome.cost > most or place == last:
                break
            place = min(place + stride, last)
        for aim in aims:
            self._narrow(aim)

    def _narrow(self, aim: Aim) -> None:
        high = self.coarsest(aim)
        if high is None:
            return
        low = max((place for place in self.outcomes if place < high), default=-1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if aim(self.at(middle)) else (middle, high)

    def coarsest(self, aim: Aim) -> int | None:
        """The place of the coarsest known setting that meets `aim`."""
        return next((place for place in sorted(self.outcomes) if aim(self.outcomes[place])), None)
