"""Seconds with the device synchronised before every reading, and what else kept the machine busy."""

from __future__ import annotations

import os
import time

import torch


class Clock:
    """Splits one iteration into laps; each `lap()` returns the seconds since the one before."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self.start()

    def start(self) -> None:
        """Begins a lap."""
        self._before = self._now()

    def lap(self) -> float:
        """Ends a lap, begins the next."""
        before, self._before = self._before, self._now()
        return self._before - before

    def _now(self) -> float:
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        return time.perf_counter()


def load_average() -> float | None:
    """The machine's load average over the last minute; None where the system keeps none.

    One process on one thread brings it to 1; what is above that is other work.
    """
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not a POSIX system, or not told
        return None
