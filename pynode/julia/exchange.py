"""One request and its answer: waiting with a limit, answering the worker's questions, stopping it, naming failures."""

from __future__ import annotations

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
from pynode.julia.protocol import TIMEOUT, encode

GRACE = 5.0
"""Seconds that cancelled work has to stop before its worker is killed."""

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
    """The request `number` for `verb`, under way at `worker`; `cancel` `(1,)` is the flag that stops it."""

    worker: WorkerProcess
    number: int
    verb: str
    limit: float
    cancel: Array
    questions: Questions | None = None
    _owing: bool = False

    def run(self, frame: bytes) -> tuple[dict[str, Any], float]:
        """Sends the request and returns the answer's plain values and the seconds that the worker measured."""
        try:
            self.worker.send(frame)
            answer = self._wait()
        except BaseException:  # Ctrl-C, or an error in the user's function: the work has to stop, the worker may live
            self._stop()
            raise
        seconds, value, error = answer.get("seconds"), answer.get("value"), answer.get("error")
        if isinstance(seconds, (int, float)) and math.isfinite(seconds):
            if isinstance(error, dict):
                raise self._failure(error)
            if isinstance(value, dict) and type(value.get("handle")) in (int, type(None)):
                return value, float(seconds)
        raise garbage(self.worker, f"'{self.verb}'", "an answer without value or error")

    def _wait(self) -> dict[str, Any]:
        deadline = time.monotonic() + self.limit
        while True:
            message = next_message(self.worker, deadline, f"'{self.verb}'", self.limit, TIMEOUT)
            if message.get("id") != self.number:
                raise garbage(self.worker, f"'{self.verb}'", f"an answer to request {message.get('id')!r}")
            if "evaluate" not in message:
                return message
            if self.questions is None or not isinstance(message["evaluate"], (int, float)):
                raise garbage(self.worker, f"'{self.verb}'", "a question without a callback to answer it")
            self._owing = True
            asked = time.monotonic()
            self.questions.answer(float(message["evaluate"]))
            deadline += time.monotonic() - asked  # the user's own time is no silence of the worker
            self._reply(go_on=True)

    def _reply(self, *, go_on: bool) -> None:
        self._owing = False
        self.worker.send(encode({"id": self.number, "go_on": go_on}))

    def _stop(self) -> None:
        """Makes the worker stop what it does and waits until it has; kills it where that takes too long."""
        stopped = False
        try:
            if self.worker.alive:
                self.cancel[0] = 1
                deadline = time.monotonic() + GRACE
                while not stopped:
                    if self._owing:
                        self._reply(go_on=False)
                    event = self.worker.receive(deadline)
                    if not isinstance(event, dict):
                        break
                    self._owing = "evaluate" in event
                    stopped = not self._owing and event.get("id") == self.number
        except TimeoutError:
            pass
        finally:  # a second Ctrl-C comes here too
            if not stopped:
                self.worker.kill()

    def _failure(self, error: Mapping[str, Any]) -> Exception:
        """The exception that an error answer stands for."""
        message = str(error.get("message"))
        if error.get("kind") == "julia":
            return JuliaError(message, str(error.get("backtrace", "")), str(error.get("type", "")))
        if error.get("kind") == "cancelled":
            return Cancelled(f"'{self.verb}' was stopped before its end")
        return WorkerError(f"the Julia worker could not do '{self.verb}': {message}")


def next_message(worker: WorkerProcess, deadline: float, doing: str, limit: float, variable: str) -> dict[str, Any]:
    """The worker's next message; where none comes, ends the worker and raises the error that says why.

    `limit` (seconds, over at `deadline`) and the environment `variable` that sets it are named in `WorkerTimeout`.
    """
    try:
        event = worker.receive(deadline)
    except TimeoutError:
        worker.kill()
        argument = "limit" if variable == TIMEOUT else "start_limit"
        raise WorkerTimeout(
            f"the Julia worker did not answer {doing} within {limit:g} s and was ended; the next call starts a new "
            f"one; allow more by the environment variable {variable} (seconds) or the argument {argument}{_log(worker)}"
        ) from None
    if isinstance(event, dict):
        return event
    if event is None or event.cut_short:
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
