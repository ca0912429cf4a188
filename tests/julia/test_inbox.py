"""The messages that come out of a pipe: whole, in order, in time, and none is lost when a signal interrupts."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from pynode.julia.inbox import NOTHING, Inbox, ThreadedInbox
from pynode.julia.protocol import Done, Run, encode
from tests.julia.pipes import events_in, piped

KINDS = [pytest.param(Inbox, marks=pytest.mark.skipif(os.name != "posix", reason="needs poll")), ThreadedInbox]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_messages_come_back(kind: type[Inbox], pieces: int) -> None:
    """Larger than a pipe's buffer too, and cut anywhere."""
    messages: list[Any] = [
        {},
        Run(7, 3, (1, -2), (5, 6)),
        {"a": [1, 2.5, None, "ä\n"]},
        Done(8, 0.25),
        Run(9, 0, (), ()),
    ]
    messages.append({"long": "x" * 3_000_000})
    assert events_in(b"".join(map(encode, messages)), kind, pieces) == [*messages, None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_has_a_limit(kind: type[Inbox]) -> None:
    reading, writing = os.pipe()
    inbox = kind(reading)
    for limit in (0.0, 0.05):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            inbox.receive(began + limit)
        assert limit <= time.monotonic() - began < limit + 1
    os.write(writing, encode({"a": 1})[:-1])
    with pytest.raises(TimeoutError):
        inbox.receive(time.monotonic() + 0.05)
    assert inbox.event is NOTHING
    os.write(writing, b"}")
    assert inbox.receive(time.monotonic() + 5) == {"a": 1}
    inbox.forget()
    assert inbox.event is NOTHING
    os.close(writing)
    assert [inbox.receive(), inbox.receive()] == [None, None], "the end stays the end"
    os.close(reading)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_that_is_closed_has_ended(kind: type[Inbox]) -> None:
    """Whatever file has its number afterwards."""
    reading, writing = os.pipe()
    inbox = kind(reading)
    os.write(writing, encode({"a": 1}))
    assert inbox.receive() == {"a": 1}
    os.close(writing)
    inbox.end_reading(5)
    os.close(reading)
    again, other = os.pipe()
    os.write(other, encode({"a": 2}))
    assert [inbox.receive(time.monotonic() + 5) for _ in range(2)] == [None, None]
    os.close(again)
    os.close(other)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer's signals")
@pytest.mark.usefixtures("no_collection")
def test_no_message_is_lost_to_signals() -> None:
    """Each signal raises wherever it finds the reader, as Ctrl-C does."""
    count = 2000

    armed = [False]

    class Rung(Exception):
        pass

    def ring(*_: object) -> None:
        if armed[0]:
            armed[0] = False
            raise Rung

    stream = b"".join(encode(Done(k, 0.5)) + encode({"id": k}) for k in range(count))
    got: dict[tuple[type, int], None] = {}
    rings, deadline = 0, time.monotonic() + 30
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 3e-5, 7e-5)
    try:
        with piped(stream, Inbox, pieces=5000) as inbox:
            while len(got) < 2 * count and time.monotonic() < deadline:
                try:
                    armed[0] = True
                    event: Any = inbox.event
                    if event is NOTHING:
                        event = inbox.receive(deadline)
                    got[type(event), event.number if isinstance(event, Done) else event["id"]] = None
                    inbox.forget()
                    armed[0] = False
                except Rung:
                    rings += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert list(got) == [key for k in range(count) for key in ((Done, k), (dict, k))]
    assert rings > 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_sleeps(kind: type[Inbox]) -> None:
    """Who waits takes no time of the processor."""
    reading, writing = os.pipe()
    inbox = kind(reading)
    timer = threading.Timer(0.5, os.write, (writing, encode({})))
    timer.start()
    began = time.process_time()
    assert inbox.receive(time.monotonic() + 5) == {}
    assert time.process_time() - began < 0.1
    timer.join()
    os.close(writing)
    assert inbox.receive() is None
    os.close(reading)
