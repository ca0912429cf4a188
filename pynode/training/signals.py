"""SIGINT and SIGTERM during a run: it stops where it can be resumed, and is saved.

A solve is interrupted at once; an update of the weights or a write is finished first.  A second signal does not wait,
unless it is the same one: a terminal and a launcher both pass it on.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import TypeVar

from pynode.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

T = TypeVar("T", bound="Hearing")

SAME = 2.0
"""Seconds within which a signal is taken for one that was heard before."""


@contextlib.contextmanager
def heard_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Gives the signals to `handler` meanwhile.

    Outside the main thread, where Python allows no handlers, they stay as they are, and so does a signal that is
    ignored: `nohup`, or a shell's job in the background, wanted it so.
    """
    at_home = threading.current_thread() is threading.main_thread()
    heard = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)] if at_home else []
    earlier = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)


class Hearing(ABC):
    """Context in which the signals are heard by `_hear`, as `heard_by` has it."""

    @abstractmethod
    def _hear(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""

    def __enter__(self: T) -> T:
        self._heard_by = heard_by(self._hear)
        self._heard_by.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heard_by.__exit__(kind, error, trace)


class Interruptible:
    """Context in which a signal that `stop` hears is raised at once; quicker than a generator's."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        self._stop.open = not self._stop.together
        try:
            self._stop.check()
        except Interrupted:
            self._stop.open = False
            raise

    def __exit__(self, *error: object) -> None:
        self._stop.open = False


class Stop(Hearing):
    """Context in which a signal asks a run to stop.

    `together`: other ranks have to stop at the same iteration, so nothing is interrupted: the request is agreed upon.
    """

    def __init__(self, *, together: bool = False) -> None:
        self.together = together
        self.requested: int | None = None
        self._heard_at = 0.0
        self.open = False

    def interruptible(self) -> Interruptible:
        """A part that leaves nothing half done when `Interrupted` ends it anywhere."""
        return Interruptible(self)

    def check(self) -> None:
        """Raises `Interrupted` where a signal has come, unless ranks have to agree on it first."""
        if self.requested is not None and not self.together:
            raise Interrupted(self.requested)

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.requested is not None:
            if time.monotonic() - self._heard_at > SAME:
                raise KeyboardInterrupt
            return
        # noted before it is raised: an exception inside a destructor is swallowed, and then the next check finds it
        self.requested, self._heard_at = number, time.monotonic()
        if self.open:
            self.open = False
            raise Interrupted(number)
