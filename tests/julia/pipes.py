"""Bytes through a pipe, and the messages that come out."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

from pynode.julia.inbox import Event, Inbox, open_inbox
from pynode.julia.protocol import BadFrame


@contextlib.contextmanager
def piped(data: bytes, kind: type[Inbox] | None = None, pieces: int = 1) -> Iterator[Inbox]:
    """The inbox of a pipe into which somebody writes `data`, in so many pieces, and closes it."""
    reading, writing = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as stream:
            size = max(1, -(-len(data) // pieces))
            for start in range(0, len(data), size):
                rest = memoryview(data)[start : start + size]
                while rest:
                    rest = rest[stream.write(rest) or 0 :]

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield (kind or open_inbox)(reading)
    finally:
        os.close(reading)
        writer.join()


def events_in(data: bytes, kind: type[Inbox] | None = None, pieces: int = 1) -> list[Event]:
    """All events of the stream `data`: messages, and at last its end or what was no message."""
    events: list[Event] = []
    with piped(data, kind, pieces) as inbox:
        while not events or (events[-1] is not None and not isinstance(events[-1], BadFrame)):
            events.append(inbox.receive(time.monotonic() + 30))
            assert inbox.event is events[-1]
    return events
