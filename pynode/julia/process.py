"""The worker as an operating system process, seen from the parent: start, messages, waiting, end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pynode.julia.arena import Arena
from pynode.julia.errors import JuliaUnavailable
from pynode.julia.inbox import open_inbox

POSIX = os.name == "posix"

AT_ONCE = 4096
"""Bytes that an empty pipe takes without blocking, whether or not anybody reads it."""

REAP_SECONDS = 1.0
"""How long `Popen` is trusted to wait for a process that has been killed."""

LOG_LIMIT = 4 * 2**20
TAIL_LINES, TAIL_CHARACTERS = 12, 1500

LONGEST_STACK = 2**16
"""Bytes of the log's end in which a signal is looked for."""

SIGNAL = re.compile(r"signal \(?\d+")
"""What Julia writes first when a signal ends it; the stack that follows is longer than a tail."""


class WorkerProcess:
    """A running worker with its pipes, its log and its arena.

    It gets a process group of its own, so the terminal's Ctrl-C does not reach it.
    """

    def __init__(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self.owner = os.getpid()
        self.arena: Arena | None = None  # the one that the worker has mapped
        self._log = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 (has no name, so nothing can stay behind)
        try:
            self._process = subprocess.Popen(
                list(command),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, **_python_path(), **variables},
                start_new_session=POSIX,
                creationflags=0 if POSIX else getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            self._log.close()
            raise JuliaUnavailable(f"the worker process can't be started ({error})") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout
        self.inbox = open_inbox(self._answers.fileno())
        self.sent: deque[int] = deque()
        """Bytes of the messages that were sent since somebody cleared it."""

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def send(self, frame: bytes) -> None:
        """Sends a frame and never blocks; that the worker is gone shows when its answer is waited for."""
        with contextlib.suppress(OSError, ValueError):  # the user's function may have closed everything
            if os.fstat(self._log.fileno()).st_size > LOG_LIMIT:
                os.ftruncate(self._log.fileno(), 0)
        if len(frame) <= AT_ONCE:
            with contextlib.suppress(OSError, ValueError):
                self.sent.extend(map(self._requests.write, (frame,)))  # no signal comes between the two
        else:  # a worker that hangs does not empty its pipe
            self.sent.append(len(frame))
            threading.Thread(target=_write, args=(self._requests, frame), daemon=True).start()

    def ending(self, patience: float = 1.0) -> str:
        """How the process ended, in words; what does not end within `patience` seconds is killed."""
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return "closed its pipe without ending"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    @property
    def failed(self) -> bool:
        """Whether the process has ended by a signal or with another exit code than 0."""
        return self._process.poll() not in (None, 0)

    def last_words(self) -> str:
        """The end of what the ended worker wrote to its error stream, as one line; after a signal, from that on."""
        try:
            size = os.fstat(self._log.fileno()).st_size
            self._log.seek(max(0, size - LONGEST_STACK))
            lines = self._log.read().decode(errors="replace").strip().splitlines()
        except (OSError, ValueError):  # another thread has closed it
            return ""
        lines = [line.strip() for line in lines if line.strip()]
        if signals := [k for k, line in enumerate(lines) if SIGNAL.search(line)]:
            return " | ".join(lines[signals[-1] :][:TAIL_LINES])[:TAIL_CHARACTERS]
        return " | ".join(lines[-TAIL_LINES:])[-TAIL_CHARACTERS:]

    def kill(self) -> None:
        """Ends the process and all that it started, now."""
        if self.owner != os.getpid():  # a child of os.fork: the worker belongs to the parent
            self._process.returncode = 0
            return
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if POSIX:
                    os.killpg(self.pid, signal.SIGKILL)  # start_new_session made it the leader of its group
                else:
                    self._process.kill()
        self._reap()

    def _reap(self) -> None:
        """Waits until the killed process has ended.

        `Popen.wait` may never return: an exception that a signal raises just after `Popen` has taken its lock leaves
        it locked, in an earlier `poll` or `wait`.  The process is then reaped here.
        """
        while self._process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(REAP_SECONDS if POSIX else None)
                return
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # another thread was quicker
                self._process.returncode = 0
                return
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)

    def close(self, patience: float = 1.0) -> None:
        """Waits for an idle process to end, kills it after `patience` seconds, and closes pipes and log."""
        if self.owner == os.getpid() and self.alive:
            with contextlib.suppress(OSError):
                self._requests.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self.kill()
        if self.owner == os.getpid():
            self.inbox.end_reading(patience)  # another thread that waits there sees the end of the stream
        for stream in (self._requests, self._answers, self._log):
            with contextlib.suppress(OSError):
                stream.close()


def _write(stream: IO[bytes], frame: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):
        rest = memoryview(frame)
        while rest:
            rest = rest[stream.write(rest) :]


def _python_path() -> dict[str, str]:
    """Lets the worker import this very pynode, where it is not installed."""
    home = str(Path(__file__).resolve().parents[2])
    if Path(home).name in ("site-packages", "dist-packages"):
        return {}
    known = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": home if not known else os.pathsep.join((home, known))}
