"""Honest seconds: the device is synchronised before every reading."""

from __future__ import annotations

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
