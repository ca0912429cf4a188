"""The parent's side of the bridge: a session sends requests to its worker process and waits for the answers.

Environment variables: `PYNODE_JULIA_TIMEOUT` and `PYNODE_JULIA_START_TIMEOUT`, seconds that an answer and the start of
the worker may take; `PYNODE_JULIA_WORKER`, for tests, a JSON list with the command of another worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pynode.errors import InvalidArgument, UsageError
from pynode.julia import environment
from pynode.julia.arena import Arena, Array, checked_layout, lay_out
from pynode.julia.errors import JuliaUnavailable, WorkerDied
from pynode.julia.exchange import Callback, Exchange, Questions, garbage, next_message
from pynode.julia.process import WorkerProcess
from pynode.julia.protocol import SLOPE, START_TIMEOUT, STATE, TIMEOUT, BadFrame, checked_limit, encode, limit_from

WORKER = "PYNODE_JULIA_WORKER"
COMMAND = (sys.executable, "-m", "pynode.julia.worker")

SMALLEST_ARENA = 2**20

HANDLES = 2**32
"""Handles of the n-th worker are numbered from n times this on: one of a lost worker is never taken for a new one's."""


class Reply(NamedTuple):
    """The result of a call: plain values, arrays (copies), and the wall-clock seconds that it spent outside Julia."""

    value: dict[str, Any]
    arrays: dict[str, Array]
    bridge_seconds: float


class Session:
    """A worker process, started by the first call and again by the call after its end.

    `command` is the worker's command line (None: Julia as `environment.find` finds it), `variables` go into its
    environment.  `start_limit` and `limit` are seconds that the start and an answer may take; None: the environment
    variables, else 900 and 3600.  Threads take turns; a process made by `os.fork` gets a worker of its own.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        variables: Mapping[str, str] | None = None,
        start_limit: float | None = None,
        limit: float | None = None,
    ) -> None:
        self._command, self._variables = command, variables
        self._start_limit = checked_limit("start_limit", start_limit)
        self._limit = checked_limit("limit", limit)
        self._generation = 0
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        """The state without a worker, for this process."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._busy = False
        self._worker: WorkerProcess | None = None
        self._at_exit: weakref.finalize[..., Any] | None = None
        self._to_release: deque[int] = deque()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether a worker process runs."""
        return self.worker_pid is not None

    @property
    def worker_pid(self) -> int | None:
        """Process id of the running worker, None where there is none."""
        worker = self._worker if self._pid == os.getpid() else None
        return worker.pid if worker is not None and worker.alive else None

    def close(self) -> None:
        """Ends the worker; a call that another thread has under way gets `WorkerDied`."""
        worker, at_exit = self._worker, self._at_exit
        self._worker = self._at_exit = None
        if at_exit is not None:
            at_exit.detach()
        if worker is not None:
            worker.close()

    def restart(self) -> None:
        """Ends the worker, if there is one, and starts a new one; raises as `call` does."""
        self._own()
        with self._lock:
            self.close()
            self._running()

    def release_later(self, handle: int) -> None:
        """Lets the worker forget the solution `handle` along with the next request; never blocks, never raises."""
        self._to_release.append(handle)

    def call(
        self,
        verb: str,
        value: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
        outputs: Mapping[str, tuple[tuple[int, ...], Any]] | None = None,
        *,
        limit: float | None = None,
        callback: Callback | None = None,
    ) -> Reply:
        """Asks the worker to do `verb`.

        `value` holds plain values, `arrays` what it reads (float64, float32, int64 or uint8; copied once), `outputs`
        shape and dtype of what it fills.  `callback(t, y)`, with arrays shaped like `arrays["y0"]`, is called where the
        verb wants values of a user's function; the time that it takes does not count towards `limit`.

        A `handle` in the answer names a solution that the worker keeps; it may stand in `value` of later calls, and is
        void once the worker has ended (`WorkerDied`).

        Raises `WorkerDied`, `WorkerTimeout` or `WorkerGarbage` where the worker fails, `JuliaError` where Julia code
        raises, `InvalidArgument` for what can't be passed, `JuliaUnavailable` where no worker can be started, and what
        `callback` raises.  Ctrl-C stops the work, raises `KeyboardInterrupt` and leaves the session usable.
        """
        self._own()
        limit = checked_limit("limit", limit) or self._limit or limit_from(TIMEOUT)
        inputs = {name: np.asarray(array) for name, array in (arrays or {}).items()}
        given = {name: checked_layout(f"arrays[{name!r}]", a.shape, a.dtype) for name, a in inputs.items()}
        wanted = {name: checked_layout(f"outputs[{name!r}]", *of) for name, of in (outputs or {}).items()}
        if callback is not None:
            wanted |= dict.fromkeys((STATE, SLOPE), given["y0"])
        if twice := sorted(set(given) & set(wanted)):
            raise InvalidArgument("outputs", twice, "also names of arrays", "use other names")
        with self._lock:
            if self._busy:  # by this very thread
                raise UsageError(f"'{verb}' was called from inside another call of this session; use a second session")
            self._busy = True
            try:
                return self._converse(verb, dict(value or {}), inputs, given | wanted, wanted, limit, callback)
            finally:
                self._busy = False

    def _converse(
        self,
        verb: str,
        value: dict[str, Any],
        inputs: Mapping[str, Array],
        layouts: Mapping[str, Any],
        wanted: Iterable[str],
        limit: float,
        callback: Callback | None,
    ) -> Reply:
        """`call`, its arguments checked and the turn taken."""
        if (handle := value.get("handle")) is not None:
            generation, value["handle"] = divmod(int(handle), HANDLES)
            if not self.alive or generation != self._generation:
                if verb == "release":
                    return Reply({}, {}, 0.0)
                raise WorkerDied("the Julia worker that kept this solution is gone; solve again")
        worker = self._running()
        began = time.perf_counter()
        self._number += 1
        places, size = lay_out(layouts)
        arena, told = _room(worker, size)
        request = {
            "id": self._number,
            "verb": verb,
            "value": value,
            "arrays": {name: places[name] for name in inputs},
            "outputs": {name: places[name] for name in wanted},
            "release": self._due(),
            "arena": None if told else [str(arena.path), arena.size],
        }
        try:
            for name, array in inputs.items():
                arena.view(places[name])[...] = array
            arena.cancel[0] = 0
            questions = callback and Questions(callback, arena.view(places[STATE]), arena.view(places[SLOPE]))
            exchange = Exchange(worker, self._number, verb, limit, arena.cancel, questions or None)
            answer, seconds = exchange.run(_frame(verb, request))
            worker.arena = arena  # only now is it certain that the worker has it
        finally:
            arena.unlink()
        if answer.get("handle") is not None:
            answer["handle"] += self._generation * HANDLES
        results = {name: arena.view(places[name]).copy() for name in wanted if name not in (STATE, SLOPE)}
        return Reply(answer, results, max(0.0, time.perf_counter() - began - seconds))

    def _own(self) -> None:
        """In a process made by `os.fork`, leaves the worker to the parent."""
        if self._pid != os.getpid():
            worker, at_exit = self._worker, self._at_exit
            self._begin()
            if at_exit is not None:
                at_exit.detach()
            if worker is not None:
                worker.close()

    def _due(self) -> list[int]:
        """Handles that the running worker may forget."""
        due: list[int] = []
        with contextlib.suppress(IndexError):
            while True:
                generation, handle = divmod(self._to_release.popleft(), HANDLES)
                if generation == self._generation:
                    due.append(handle)
        return due

    def _running(self) -> WorkerProcess:
        """The worker, started where none runs."""
        if self._worker is not None and self._worker.alive:
            return self._worker
        self.close()
        command, variables = self._command or COMMAND, dict(self._variables or {})
        if self._command is None:
            variables = {**environment.worker_variables(environment.ready()), **variables}
        limit = self._start_limit or limit_from(START_TIMEOUT)
        worker = WorkerProcess(command, variables)
        self._generation += 1
        self._worker, self._at_exit = worker, weakref.finalize(self, worker.close)
        try:
            message = next_message(worker, time.monotonic() + limit, "the start", limit, START_TIMEOUT)
            if isinstance(message.get("failed"), str):
                raise WorkerDied(f"the Julia worker could not start: {message['failed']}")
            if message.get("ready") is not True:
                raise garbage(worker, "the start", "something other than that it is ready")
        except BaseException:
            worker.kill()
            self.close()
            raise
        return worker


def _room(worker: WorkerProcess, size: int) -> tuple[Arena, bool]:
    """An arena with room for `size` bytes, and whether the worker knows it."""
    arena = worker.arena
    if arena is not None and arena.size >= size:
        return arena, True
    return Arena.create(max(size, SMALLEST_ARENA, 2 * (arena.size if arena else 0))), False


def _frame(verb: str, request: Mapping[str, Any]) -> bytes:
    try:
        return encode(request)
    except (BadFrame, TypeError) as error:
        raise InvalidArgument("value", f"of '{verb}'", str(error), "pass plain values, and arrays apart") from error


# --- one session for all ----------------------------------------------------------------------------------------------

_default: tuple[str, Session] | None = None
_default_lock = threading.Lock()


def default_session() -> Session:
    """The session that this process uses, made at the first call; its worker is started by the first request.

    Raises `JuliaUnavailable` where no Julia that could be started is found.
    """
    global _default
    wanted = os.environ.get(WORKER, "")
    with _default_lock:
        if _default is None or _default[0] != wanted:
            if not wanted:
                environment.ready()
            made = Session(_command(wanted) if wanted else None)
            if _default is not None:
                _default[1].close()
            _default = (wanted, made)
        return _default[1]


def _command(text: str) -> list[str]:
    try:
        command = json.loads(text)
    except ValueError:
        command = None
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise JuliaUnavailable(f"{WORKER} = {text} is not a command", "set it to a JSON list of strings, or unset it")
    return command


def _after_fork() -> None:
    global _default_lock
    _default_lock = threading.Lock()  # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
