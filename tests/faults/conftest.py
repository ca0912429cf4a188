"""Commands as a user starts them, in processes that tests can kill, fill, damage and watch."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pynode.cli import main
from tests import runs

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "experiments" / "run.py"
LABEL = "disc-opt-rk4-x1-seed0"

ITERATIONS = 160

SPIRAL = ("compare", "spiral", "--methods", "disc-opt", "--engine", "eager", "--no-checks")
"""Slow enough to be caught in the middle: some milliseconds an iteration."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    said: str
    complained: str

    def check(self, status: int = 0) -> Ended:
        """Fails the test unless the command ended with `status`, and never by a traceback."""
        assert self.status == status, f"status {self.status}: {self.said}{self.complained}"
        assert "Traceback" not in self.complained, self.complained
        return self

    def check_status(self, status: int = 0) -> Ended:
        """The same, of a launcher that shows the tracebacks of what it started."""
        assert self.status == status, f"status {self.status}: {self.said}{self.complained}"
        return self


def environment() -> dict[str, str]:
    """That of the tests, one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*arguments: str, prefix: Sequence[str] = (), python: Sequence[str] = (str(RUN),), timeout: int = 120) -> Ended:
    """Runs a command to its end; `prefix` stands before the interpreter."""
    command = [*prefix, sys.executable, *python, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=timeout, cwd=ROOT)
    return Ended(done.returncode, done.stdout, done.stderr)


def run_here(*arguments: str) -> Ended:
    """Runs a command to its end in this very process, which has loaded torch already."""
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        status = main(list(arguments))
    return Ended(status, said.getvalue(), complained.getvalue())


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts a command in a group of its own."""
    return subprocess.Popen(
        [sys.executable, str(RUN), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], timeout: int = 60) -> Ended:
    """Waits for a process and tells how it ended."""
    said, complained = process.communicate(timeout=timeout)
    return Ended(process.returncode, said, complained)


def wait_for_records(path: Path, count: int, process: subprocess.Popen[str] | None = None, timeout: int = 60) -> None:
    """Returns when `path` holds at least `count` lines; fails where the process ends before."""
    until = time.monotonic() + timeout
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < until, f"no {count} records in {timeout} s"
        assert process is None or process.poll() is None, ended(process) if process else ""
        time.sleep(0.005)


def untimed(out: Path, label: str = LABEL) -> list[dict[str, Any]]:
    """The records of a run without their seconds."""
    return runs.untimed(out / "runs" / label)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[dict[str, Any]]]:
    """The records of a spiral run of so many iterations that nothing happened to."""
    known: dict[int, list[dict[str, Any]]] = {}

    def records(iterations: int) -> list[dict[str, Any]]:
        if iterations not in known:
            out = tmp_path_factory.mktemp("unbroken") / "out"
            run_here(*SPIRAL, "--iterations", str(iterations), "--out", str(out)).check()
            known[iterations] = untimed(out)
        return known[iterations]

    return records


def namespaces(*options: str) -> list[str]:
    """The words before a command that give it namespaces of its own; skips the test where the system forbids that."""
    words = ["unshare", "--user", "--map-root-user", *options]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no namespaces for unprivileged users here ({error})")
    return words
