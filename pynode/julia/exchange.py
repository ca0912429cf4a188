"""One request and its answer: waiting with a limit, answering the worker's questions, stopping it, naming failures."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pynode.errors import StateMismatch
from pynode.julia.arena import Array
from pynode.julia.errors import Cancelled, JuliaError, WorkerDied, WorkerError, WorkerGarbage, WorkerTimeout
from pynode.julia.process import WorkerProcess
from pynode.julia.protocol import TIMEOUT, BadFrame, Done, encode

GRACE = 5.0
"""Seconds that cancelled work has to stop before its worker is killed."""

SILENCE = 1.0
"""Seconds of waiting after which a message says what Julia is doing."""

_logger = logging.getLogger("pynode")

Callback: TypeAlias = Callable[[float, Array], Array]
"""f(t, y) of the user."""


@dataclass(frozen=True)
class Questions:
    """Where the worker's questions f(t, y) are answered: by `callback`, from `state` into `slope`, in the arena."""

    callback: Callback
    state: Array
    slope: Array

    def answer(self, t: float) -> None:
        """Puts f(t, state) into `slope`; raises what the callback raises, and `StateMismatch`."""
        slope = np.asarray(self.callback(t, self.state.copy()))
        if slope.shape != self.state.shape:
            raise StateMismatch(
                f"f(t, y) has shape {slope.shape}, but the state y0 has shape {self.state.shape}; make both the same"
            )
        self.slope[...] = slope


@dataclass
class Exchange:
    """The request `number` for `verb`, under way at `worker`; `cancel` `(1,)` is the flag that stops it.

    A short answer, that the request is done, has its numbers in `report`, the handle of a solution first.  `first` says
    that the worker has not done this before, so that it may have to compile.
    """

    worker: WorkerProcess
    number: int
    verb: str
    limit: float
    cancel: Array
    report: Array | None = None
    questions: Questions | None = None
    first: bool = False

    def run(self, frame: bytes) -> tuple[dict[str, Any] | None, float]:
        """Sends the request; returns the answer's plain values, None where they lie in `report`, and the seconds that
        the worker measured."""
        self.worker.inbox.forget()
        self.worker.sent.clear()
        try:
            self.worker.send(frame)
            answer = self._wait()
        except BaseException:  # Ctrl-C, or an error in the user's function: the work has to stop, the worker may live
            self._stop()
            raise
        if isinstance(answer, Done):
            if self.report is not None and math.isfinite(answer.seconds):
                return None, answer.seconds
            raise garbage(self.worker, f"'{self.verb}'", "an answer without value or error")
        seconds, value, error = answer.get("seconds"), answer.get("value"), answer.get("error")
        if isinstance(seconds, (int, float)) and math.isfinite(seconds):
            if isinstance(error, dict):
                raise self._failure(error)
            if isinstance(value, dict) and type(value.get("handle")) in (int, type(None)):
                return value, float(seconds)
        raise garbage(self.worker, f"'{self.verb}'", "an answer without value or error")

    def handle(self) -> int | None:
        """The solution that the worker keeps by its answer, whether or not anybody has looked at that."""
        answer = self.worker.inbox.event
        if isinstance(answer, Done) and answer.number == self.number and self.report is not None:
            return int(self.report[0]) or None if math.isfinite(self.report[0]) else None
        if isinstance(answer, dict) and answer.get("id") == self.number and isinstance(answer.get("value"), dict):
            handle = answer["value"].get("handle")
            return handle if type(handle) is int else None
        return None

    def _wait(self) -> dict[str, Any] | Done:
        deadline = time.monotonic() + self.limit
        while True:
            message = next_message(self.worker, deadline, f"'{self.verb}'", self.limit, TIMEOUT, first=self.first)
            number = message.number if isinstance(message, Done) else message.get("id")
            if number != self.number:
                raise garbage(self.worker, f"'{self.verb}'", f"an answer to request {number!r}")
            if isinstance(message, Done) or "evaluate" not in message:
                return message
            if self.questions is None or not isinstance(message["evaluate"], (int, float)):
                raise garbage(self.worker, f"'{self.verb}'", "a question without a callback to answer it")
            asked = time.monotonic()
            self.questions.answer(float(message["evaluate"]))
            deadline += time.monotonic() - asked  # the user's own time is no silence of the worker
            self._reply(go_on=True)

    @property
    def _owes_an_answer(self) -> bool:
        """Whether the worker waits for the answer to a question.

        Read off what came and what was sent, which are noted by the operations that receive and send: an interruption
        can't come between a question and the note that it is open.
        """
        event, number = self.worker.inbox.last
        # the request was sent first, then one reply to each question
        return isinstance(event, dict) and "evaluate" in event and len(self.worker.sent) == number

    def _reply(self, *, go_on: bool) -> None:
        self.worker.send(encode({"id": self.number, "go_on": go_on}))

    def _stop(self) -> None:
        """Makes the worker stop what it does and waits until it has; kills it where that takes too long."""
        if not self.worker.sent:  # the request did not get there
            return
        stopped, said = self._answered(), False
        began = time.monotonic()
        try:
            self.cancel[0] = 1
            while not stopped and self.worker.alive:
                if self._owes_an_answer:
                    self._reply(go_on=False)
                try:
                    event = self.worker.inbox.receive(began + (GRACE if said else SILENCE))
                except TimeoutError:
                    if said:
                        break
                    said = True
                    _logger.warning(
                        "waiting for Julia to stop, which it can't while it compiles; its worker is ended in %g s, or "
                        "at once by another Ctrl-C",
                        GRACE - SILENCE,
                    )
                    continue
                if not isinstance(event, (dict, Done)):
                    break
                stopped = self._answered()
        finally:  # a second Ctrl-C comes here too
            if not stopped:
                self.worker.kill()

    def _answered(self) -> bool:
        """Whether the worker has answered the request and is free."""
        event = self.worker.inbox.event
        if isinstance(event, Done):
            return event.number == self.number
        return isinstance(event, dict) and event.get("id") == self.number and "evaluate" not in event

    def _failure(self, error: Mapping[str, Any]) -> Exception:
        """The exception that an error answer stands for."""
        message = str(error.get("message"))
        if error.get("kind") == "julia":
            return JuliaError(message, str(error.get("backtrace", "")), str(error.get("type", "")))
        if error.get("kind") == "cancelled":
            return Cancelled(f"'{self.verb}' was stopped before its end")
        return WorkerError(f"the Julia worker could not do '{self.verb}': {message}")


def next_message(
    worker: WorkerProcess, deadline: float, doing: str, limit: float, variable: str, *, first: bool = False
) -> dict[str, Any] | Done:
    """The worker's next message; where none comes, ends the worker and raises the error that says why.

    `limit` (seconds, over at `deadline`) and the environment `variable` that sets it are named in `WorkerTimeout`.
    """
    try:
        try:
            event = worker.inbox.receive(min(deadline, time.monotonic() + SILENCE) if first else deadline)
        except TimeoutError:
            if first and limit > SILENCE:
                _logger.warning("Julia is busy with %s; at the first use it compiles, for up to a minute", doing)
            event = worker.inbox.receive(deadline)
    except TimeoutError:
        worker.kill()
        argument = "limit" if variable == TIMEOUT else "start_limit"
        raise WorkerTimeout(
            f"the Julia worker did not answer {doing} within {limit:g} s and was ended; the next call starts a new "
            f"one; allow more by the environment variable {variable} (seconds) or the argument {argument}{_log(worker)}"
        ) from None
    if isinstance(event, (dict, Done)):
        return event
    if event is None or (isinstance(event, BadFrame) and event.cut_short):
        how = worker.ending()
        if event is None or worker.failed:
            raise WorkerDied(f"the Julia worker {how} during {doing}; the next call starts a new one{_log(worker)}")
    raise garbage(worker, doing, str(event))


def garbage(worker: WorkerProcess, doing: str, what: str) -> WorkerGarbage:
    """Ends the worker; the error that says what it answered."""
    worker.kill()
    return WorkerGarbage(
        f"the Julia worker answered {doing} by {what} and was ended; the next call starts a new one{_log(worker)}"
    )


def _log(worker: WorkerProcess) -> str:
    words = worker.last_words()
    return f"; its log ends with: {words}" if words else ""
