"""Seconds of work on any device, and what else kept the machine busy."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from typing import Any

import torch


class Clock:
    """Splits work into laps; each `lap()` waits for the device and returns the seconds since the one before."""

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


class Laps:
    """Seconds between marks.

    On CUDA marks are events among the kernels, which nothing waits for until the seconds are read.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._marks: list[Any] = []

    def mark(self) -> None:
        """Ends a lap, begins the next."""
        if self._is_cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Of each lap, one fewer than marks; waits until the device has come to the last mark."""
        pairs = list(pairwise(self._marks))
        if not self._is_cuda:
            return [end - start for start, end in pairs]
        if self._marks:
            self._marks[-1].synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in pairs]


def load_average() -> float | None:
    """The machine's load average over the last minute; None where the system keeps none.

    One process on one thread brings it to 1; what is above that is other work.
    """
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not a POSIX system, or not told
        return None
