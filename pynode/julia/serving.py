"""The worker's side of the bridge: reads requests from the pipes, serves them and answers.  It knows nothing of Julia.

Heavy modules are imported once the pipes are safe and the watch is set, which is why `open_connection` comes first.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from pynode.julia.inbox import open_inbox
from pynode.julia.protocol import REPORT, BadFrame, Done, Run, encode

if TYPE_CHECKING:
    from pynode.julia.arena import Arena, Array

CLEAN_EXIT = 1.0
"""Seconds that a worker whose parent has gone may take to end by itself."""


class Stopped(Exception):
    """The parent no longer wants the answer."""


class Connection:
    """The two pipes to the parent."""

    def __init__(self, requests: int, answers: int) -> None:
        self.inbox, self.answers = open_inbox(requests), os.fdopen(answers, "wb")

    def write(self, message: Mapping[str, Any] | Done) -> None:
        """Sends one message."""
        self.answers.write(encode(message))
        self.answers.flush()

    def read(self) -> dict[str, Any] | Run | None:
        """The next message, None at the end; raises `BadFrame`."""
        event = self.inbox.receive()
        if isinstance(event, BadFrame):
            raise event
        return None if isinstance(event, Done) else event


def open_connection() -> Connection:
    """Takes the standard input and output for frames alone: what is printed from now on goes to the error stream."""
    requests, answers = os.dup(0), os.dup(1)  # not inherited by programs that Julia starts
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    _watch_parent(requests)
    return Connection(requests, answers)


def _watch_parent(requests: int) -> None:
    """Starts a small process that kills this one when the parent has gone: Julia code can't look up from its work."""
    if not hasattr(os, "fork") or not hasattr(select, "poll"):
        return
    lives, _held = os.pipe()
    worker = os.getpid()
    if os.fork() != 0:
        os.close(lives)  # `_held` stays open until the worker ends
        return
    try:
        for descriptor in range(256):  # at this moment there are no others
            if descriptor not in (requests, lives):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        watch = select.poll()
        for descriptor in (requests, lives):
            watch.register(descriptor, 0)  # reports that the other end is closed, and nothing else
        if any(descriptor == lives for descriptor, _ in watch.poll()):
            return
        watch.unregister(requests)
        if not watch.poll(CLEAN_EXIT * 1000) and os.getppid() == worker:
            os.kill(worker, signal.SIGKILL)
    finally:
        os._exit(0)


@dataclass
class Request:
    """What the parent asks for; `arrays` and `outputs` lie in the arena, `cancel` `(1,)` is not 0 once it has to stop.

    What is kept beyond the request has to be copied: the next one overwrites the arena.  A prepared request comes
    again, with other values of `numbers`; until then it keeps in `prepared` what its handler put there.
    """

    number: int | None
    verb: str
    value: dict[str, Any]
    arrays: dict[str, Array]
    outputs: dict[str, Array]
    cancel: Array
    connection: Connection
    numbers: tuple[str, ...] = ()
    prepared: Any = None

    seconds: float = field(default=0.0)
    """Time of the work proper, measured by `clock`."""

    def again(self, message: Run) -> Request:
        """The same request once more."""
        self.number, self.seconds = message.number, 0.0
        self.value.update(zip(self.numbers, message.numbers, strict=True))
        return self

    def ask(self, t: float) -> None:
        """Lets the parent put f(t, state) into the output `SLOPE`; raises `Stopped`."""
        self.connection.write({"id": self.number, "evaluate": t})
        answer = self.connection.read()
        if not isinstance(answer, dict) or not answer.get("go_on"):
            raise Stopped

    @contextlib.contextmanager
    def clock(self) -> Iterator[None]:
        """Counts the time inside the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began


Handler: TypeAlias = Callable[[Request], "dict[str, Any] | None"]
Describe: TypeAlias = Callable[[BaseException], "dict[str, Any] | None"]


def serve(
    connection: Connection, handlers: Mapping[str, Handler], release: Callable[[int], object], describe: Describe
) -> None:
    """Serves requests until the parent closes its pipe.

    `release` forgets the solution of a handle; which ones may go comes with any request.  `describe` turns an exception
    that it knows into the fields of an error answer; None for others.
    """
    arena: Arena | None = None
    prepared: dict[int, Request] = {}
    while (message := connection.read()) is not None:
        request, answer = None, {}
        number, handles = (
            (message.number, message.release)
            if isinstance(message, Run)
            else (message.get("id"), message.get("release", ()))
        )
        try:
            if isinstance(message, Run):
                request = prepared[message.slot].again(message)
            else:
                if message.get("arena") is not None:
                    prepared.clear()  # their arrays lie in the old one
                arena = _arena(message, arena)
                request = _request(connection, message, arena)
                if (slot := message.get("slot")) is not None:
                    prepared[slot] = request
            for handle in handles:
                release(handle)
            if request.verb not in handlers:
                raise KeyError(f"no verb {request.verb!r}; known: {sorted(handlers)}")
            value = handlers[request.verb](request) or {}
            if number is not None and not value and REPORT in request.outputs:
                connection.write(Done(number, request.seconds))
                continue
            answer = {"value": value}
        except Exception as error:
            answer = {"error": describe(error) or _own_error(error)}
        connection.write({"id": number, "seconds": request.seconds if request else 0.0, **answer})


def _arena(message: Mapping[str, Any], known: Arena | None) -> Arena:
    from pynode.julia.arena import Arena, BadPlace

    if (fresh := message.get("arena")) is not None:
        path, size = fresh
        return Arena.attach(path, size)
    if known is None:
        raise BadPlace("a request before the first arena")
    return known


def _request(connection: Connection, message: Mapping[str, Any], arena: Arena) -> Request:
    from pynode.julia.arena import Place, check_disjoint

    arrays = {name: Place.from_json(place, arena.size) for name, place in message.get("arrays", {}).items()}
    outputs = {name: Place.from_json(place, arena.size) for name, place in message.get("outputs", {}).items()}
    check_disjoint((*arrays.values(), *outputs.values()))

    return Request(
        number=message.get("id"),
        verb=str(message.get("verb")),
        value=dict(message.get("value", {})),
        arrays={name: arena.view(place) for name, place in arrays.items()},
        outputs={name: arena.view(place) for name, place in outputs.items()},
        cancel=arena.cancel,
        connection=connection,
        numbers=tuple(message.get("numbers", ())),
    )


def _own_error(error: BaseException) -> dict[str, Any]:
    """An error answer for an exception of Python's."""
    if isinstance(error, Stopped):
        return {"kind": "cancelled", "message": "stopped"}
    traceback.print_exception(error, file=sys.stderr)
    return {"kind": "python", "message": f"{type(error).__name__}: {error}"}
