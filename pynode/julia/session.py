"""The parent's side of the bridge: a session sends requests to its worker process and waits for the answers.

Environment variables: `PYNODE_JULIA_TIMEOUT` and `PYNODE_JULIA_START_TIMEOUT`, seconds that an answer and the start of
the worker may take; `PYNODE_JULIA_WORKER`, for tests, a JSON list with the command of another worker.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pynode.errors import UsageError
from pynode.julia import environment
from pynode.julia.arena import Arena, Array
from pynode.julia.errors import JuliaUnavailable, WorkerDied
from pynode.julia.exchange import Callback, Exchange, Questions, garbage, next_message
from pynode.julia.prepared import SLOTS, Layouts, Prepared, checked_layouts, read_report
from pynode.julia.process import WorkerProcess
from pynode.julia.protocol import (
    REPORT,
    SLOPE,
    START_TIMEOUT,
    STATE,
    TIMEOUT,
    Done,
    checked_limit,
    limit_from,
)

WORKER = "PYNODE_JULIA_WORKER"
COMMAND = (sys.executable, "-m", "pynode.julia.worker")

SMALLEST_ARENA = 2**20

HANDLES = 2**32
"""Handles of the n-th worker are numbered from n times this on: one of a lost worker is never taken for a new one's."""


class Held:
    """The owner of a solution that the worker keeps under `handle`: once it is gone, the worker may forget that."""

    def __init__(self, handle: int) -> None:
        self.handle = handle


def _nobody() -> None:
    """The owner of a solution that never had one."""


class Reply(NamedTuple):
    """The result of a call: plain values, arrays (copies), the wall-clock seconds that it spent outside Julia, and the
    owner of the solution that the worker keeps, if it keeps one."""

    value: dict[str, Any]
    arrays: dict[str, Array]
    bridge_seconds: float
    held: Held | None = None


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
        self._owners: dict[int, Callable[[], Held | None]] = {}  # of the solutions that the worker keeps
        self._under_way: Exchange | None = None  # the last request, until its answer has an owner
        self._slots: dict[int, Prepared] = {}  # what the worker knows
        self._next_slot = 0
        self._done: set[Hashable] = set()  # kinds of requests that the worker has done
        self._solved: Hashable = None  # the kind of its last solve

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
        if not self._busy and self._lock.acquire(blocking=False):
            self._forget_slots()  # they keep the arena
            self._lock.release()

    def restart(self) -> None:
        """Ends the worker, if there is one, and starts a new one; raises as `call` does."""
        self._own()
        with self._lock:
            self.close()
            self._running()

    def call(
        self,
        verb: str,
        value: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
        outputs: Layouts | None = None,
        *,
        limit: float | None = None,
        callback: Callback | None = None,
    ) -> Reply:
        """Asks the worker to do `verb`.

        `value` holds plain values, `arrays` what it reads (float64, float32, int64 or uint8; copied once), `outputs`
        shape and dtype of what it fills.  `callback(t, y)`, with arrays shaped like `arrays["y0"]`, is called where the
        verb wants values of a user's function; the time that it takes does not count towards `limit`.

        A `handle` in the answer names a solution that the worker keeps as long as `held` of the reply exists; it may
        stand in `value` of later calls, and is void once the worker has ended (`WorkerDied`).

        Raises `WorkerDied`, `WorkerTimeout` or `WorkerGarbage` where the worker fails, `JuliaError` where Julia code
        raises, `InvalidArgument` for what can't be passed, `JuliaUnavailable` where no worker can be started, and what
        `callback` raises.  Ctrl-C stops the work, raises `KeyboardInterrupt` and leaves the session usable.
        """
        inputs = {name: np.asarray(array) for name, array in (arrays or {}).items()}
        given = checked_layouts("arrays", {name: (a.shape, a.dtype) for name, a in inputs.items()})
        wanted = checked_layouts("outputs", outputs or {})
        if callback is not None:
            wanted |= dict.fromkeys((STATE, SLOPE), given["y0"])
        plain = dict(value or {})
        numbers = {"handle": plain.pop("handle")} if plain.get("handle") is not None else {}
        return self._take_turn(Prepared(verb, plain, given, wanted), inputs, numbers, limit, callback)

    def run(
        self,
        prepared: Prepared,
        arrays: Mapping[str, Array],
        numbers: Mapping[str, int] | None = None,
        *,
        limit: float | None = None,
    ) -> Reply:
        """Like `call`, for a request of `prepare`; `arrays` have the prepared shapes, `numbers` the prepared names."""
        return self._take_turn(prepared, arrays, numbers or {}, limit, None)

    def _take_turn(
        self,
        prepared: Prepared,
        arrays: Mapping[str, Array],
        numbers: Mapping[str, int],
        limit: float | None,
        callback: Callback | None,
    ) -> Reply:
        self._own()
        limit = checked_limit("limit", limit) or self._limit or limit_from(TIMEOUT)
        with self._lock:
            if self._busy:  # by this very thread
                raise UsageError(
                    f"'{prepared.verb}' was called from inside another call of this session; use a second session"
                )
            self._busy = True
            try:
                return self._converse(prepared, arrays, dict(numbers), limit, callback)
            finally:
                self._busy = False

    def _converse(
        self,
        prepared: Prepared,
        arrays: Mapping[str, Array],
        numbers: dict[str, int],
        limit: float,
        callback: Callback | None,
    ) -> Reply:
        """One request and its answer, the arguments checked and the turn taken."""
        verb = prepared.verb
        if (handle := numbers.get("handle")) is not None:
            generation, numbers["handle"] = divmod(int(handle), HANDLES)
            if not self.alive or generation != self._generation:
                raise WorkerDied("the Julia worker that kept this solution is gone; solve again")
        worker = self._running()
        began = time.perf_counter()
        release = self._due(worker)
        self._number += 1
        arena, told = _room(worker, prepared.size)
        known = (
            told
            and prepared.arena is arena
            and prepared.slot is not None
            and self._slots.get(prepared.slot) is prepared
        )
        if not told:  # whether the worker has it is not certain before its answer
            worker.arena = None
        try:
            if not known:
                self._place(prepared, arena, told=told)
            prepared.fill(arrays)
            arena.cancel[0] = 0
            frame = prepared.frame(self._number, numbers, release, known=known, told=told)
            questions = None if callback is None else Questions(callback, prepared.views[STATE], prepared.views[SLOPE])
            report = prepared.views.get(REPORT)
            first = self._kind(prepared) not in self._done
            exchange = Exchange(worker, self._number, verb, limit, arena.cancel, report, questions, first)
            self._under_way = exchange
            answer, seconds = exchange.run(frame)
            if not known:
                self._worker_knows(worker, prepared, arena)
            self._done.add(self._kind(prepared))
            if verb == "solve":
                self._solved = prepared.kind
        except BaseException:
            if not known:  # it would keep the arena
                prepared.forget()
            raise
        finally:
            if not told:
                arena.unlink()
        for forgotten in release:  # only now is it certain that they are; once more would do no harm
            self._owners.pop(forgotten, None)
        if answer is None:
            try:
                answer = read_report(prepared.views[REPORT])
            except (ValueError, OverflowError):
                raise garbage(worker, f"'{verb}'", "a report whose counts are NaN or infinite") from None
        held = None
        if (local := answer.get("handle")) is not None:
            held = Held(self._generation * HANDLES + local)
            self._owners[local] = weakref.ref(held)
            answer = {**answer, "handle": held.handle}
        self._under_way = None  # what it left behind has an owner
        results = prepared.results()
        return Reply(answer, results, max(0.0, time.perf_counter() - began - seconds), held)

    def _own(self) -> None:
        """In a process made by `os.fork`, leaves the worker to the parent."""
        if self._pid != os.getpid():
            worker, at_exit = self._worker, self._at_exit
            self._begin()
            if at_exit is not None:
                at_exit.detach()
            if worker is not None:
                worker.close()

    def _due(self, worker: WorkerProcess) -> list[int]:
        """Solutions that the running worker may forget: those whose owner is gone, and one that never got an owner."""
        lost = self._under_way
        if lost is not None and lost.worker is worker and (handle := lost.handle()) is not None:
            self._owners.setdefault(handle, _nobody)
        self._under_way = None
        return [handle for handle, owner in self._owners.items() if owner() is None]

    def _place(self, prepared: Prepared, arena: Arena, *, told: bool) -> None:
        """Gives what the worker does not know places in `arena`, and a slot if it is to be known."""
        if not told:  # with a new arena the worker forgets all that it knew
            self._forget_slots()
        if REPORT in prepared.wanted:
            self._next_slot = (self._next_slot + 1) % SLOTS
            if (evicted := self._slots.pop(self._next_slot, None)) is not None:
                evicted.forget()
            prepared.slot = self._next_slot
        prepared.move_to(arena)

    def _forget_slots(self) -> None:
        for prepared in self._slots.values():
            prepared.forget()
        self._slots.clear()

    def _worker_knows(self, worker: WorkerProcess, prepared: Prepared, arena: Arena) -> None:
        """Notes what the worker has been told, now that it has answered."""
        worker.arena = arena
        if prepared.slot is not None:
            self._slots[prepared.slot] = prepared

    def _kind(self, prepared: Prepared) -> Hashable:
        """What Julia compiles for a request; of a gradient it depends on the solve, here taken to be the last one."""
        return (prepared.kind, self._solved) if prepared.verb == "pullback" else prepared.kind

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
        self._done.clear()
        self._owners.clear()
        self._worker, self._at_exit = worker, weakref.finalize(self, worker.close)
        try:
            message = next_message(worker, time.monotonic() + limit, "the start", limit, START_TIMEOUT)
            if isinstance(message, Done):
                raise garbage(worker, "the start", "an answer")
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


def is_running() -> bool:
    """Whether the default session has a worker: then nothing that it needs is missing."""
    return _default is not None and _default[0] == os.environ.get(WORKER, "") and _default[1].alive


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
