"""Messages from a pipe: a wait that has a limit and loses nothing at Ctrl-C.

The reader sleeps until something comes.  To look again and again instead saves 20 us a wait where two cores are free,
and costs milliseconds where they are not.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections import deque
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from pynode.julia.protocol import HEADER, BadFrame, Message, decode, frame_length

CHUNK = 2**16

LONGEST_POLL = 2**31 - 1
"""The most milliseconds that `poll` takes for one wait; a longer wait is several of them."""

SLICE = 0.5
"""Seconds of one wait for a queue: on Windows a longer one would keep Ctrl-C waiting too."""


class Nothing(Enum):
    """No event."""

    NOTHING = 0


NOTHING: Final = Nothing.NOTHING

Event: TypeAlias = "Message | BadFrame | None"
"""A message, what was no message, or the end of the stream."""


class Inbox:
    """The messages that come through the pipe `descriptor`, one by one.

    A signal's Python code may run between any two operations of ours, and raise there.  So what was read and what was
    taken out of it change by one operation each: an interrupted `receive` can be repeated.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # the last event, how many there were since somebody called `forget`, and what came after it
        self._state: tuple[Event | Nothing, int, deque[bytes]] = (NOTHING, 0, deque())
        self._needed = HEADER.size
        self._closed = False
        self._reading = threading.Lock()
        self._watch()

    @property
    def event(self) -> Event | Nothing:
        """The last event, until it is forgotten."""
        return self._state[0]

    @property
    def last(self) -> tuple[Event | Nothing, int]:
        """The last event with its number: 1 for the first one after `forget`."""
        return self._state[:2]

    def forget(self) -> None:
        """Forgets the last event, and counts from 0 again."""
        self._state = (NOTHING, 0, self._state[2])

    def receive(self, deadline: float | None = None) -> Event:
        """The next event; raises `TimeoutError` at `deadline` (by `time.monotonic`)."""
        with self._reading:
            while (event := self._next()) is NOTHING:
                left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
                if not self._more(left) and left == 0:
                    raise TimeoutError
            return event

    def end_reading(self, patience: float) -> None:
        """Waits until no thread reads, or `patience` seconds, and ends the stream: the pipe is going to be closed."""
        free = self._reading.acquire(timeout=patience)
        self._closed = True
        if free:
            self._reading.release()

    def _next(self) -> Event | Nothing:
        """Takes the next event out of what has been read, if it is all there."""
        _, count, chunks = self._state
        ended = bool(chunks) and chunks[-1] == b""
        if not ended and sum(map(len, chunks)) < self._needed:
            return NOTHING
        data, rest = b"".join(chunks), b""
        event: Event
        try:
            length = frame_length(data)
            if len(data) >= length:
                event, rest = decode(data[:length]), data[length:]
            elif not ended:
                self._needed = length
                return NOTHING
            else:
                event = BadFrame("the stream ended inside a frame", cut_short=True) if data else None
        except BadFrame as problem:
            event = problem
        self._needed = HEADER.size
        self._state = (event, count + 1, deque([rest, b""] if ended else [rest] if rest else []))
        return event

    def _watch(self) -> None:
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def _more(self, timeout: float | None) -> bool:
        """Reads what comes within `timeout` seconds; whether anything did.  Empty bytes are the end."""
        if self._closed:  # another file may have the descriptor's number now
            self._state[2].append(b"")
            return True
        if timeout is not None and not self._poll.poll(min(timeout * 1000, LONGEST_POLL)):
            return False
        chunks = self._state[2]
        try:
            chunks.extend(map(os.read, (self._descriptor,), (CHUNK,)))  # no signal comes between the two
        except OSError:  # the pipe was closed
            chunks.append(b"")
        return True


class ThreadedInbox(Inbox):
    """The same by a thread that reads, for systems that can't wait for a pipe with a limit."""

    def _watch(self) -> None:
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._thread = threading.Thread(target=_read_all, args=(self._descriptor, self._queue), daemon=True)
        self._thread.start()

    def end_reading(self, patience: float) -> None:
        self._thread.join(patience)

    def _more(self, timeout: float | None) -> bool:
        try:
            self._state[2].extend(map(self._queue.get, (True,), (SLICE if timeout is None else min(timeout, SLICE),)))
        except Empty:
            return False
        return True


def _read_all(descriptor: int, queue: SimpleQueue[bytes]) -> None:
    try:
        while chunk := os.read(descriptor, CHUNK):
            queue.put(chunk)
    except OSError:  # the pipe was closed
        pass
    queue.put(b"")


def open_inbox(descriptor: int) -> Inbox:
    """The inbox that this system can have."""
    return Inbox(descriptor) if hasattr(select, "poll") and sys.platform != "win32" else ThreadedInbox(descriptor)
