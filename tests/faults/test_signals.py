"""SIGINT, SIGTERM and SIGKILL at a command that trains."""

from __future__ import annotations

import os
import pty
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pynode.training.checkpoint import read_intact
from tests.faults.conftest import ITERATIONS, LABEL, RUN, SPIRAL, ended, run, start, untimed, wait_for_records

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")]

Records = Callable[[int], list[dict[str, Any]]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_saves_and_goes_on(tmp_path: Path, unbroken: Records, number: signal.Signals) -> None:
    options = [*SPIRAL, "--iterations", str(ITERATIONS), "--checkpoint-every", "1000", "--out", str(tmp_path / "out")]
    process = start(*options)
    records = tmp_path / "out" / "runs" / LABEL / "records.jsonl"
    wait_for_records(records, random.randrange(20, 90), process)
    process.send_signal(number)
    end = ended(process).check(128 + number)
    left = records.read_bytes()
    count = left.count(b"\n")
    assert end.complained.count("\n") == 1
    assert f"interrupted in {LABEL} before iteration {count}; saved: --resume continues there" in end.complained
    assert untimed(tmp_path / "out") == unbroken(ITERATIONS)[:count]
    again = run(*options, "--resume").check()
    assert f"iteration {count}: resumed: from the last checkpoint" in again.said
    assert records.read_bytes().startswith(left), "what was recorded is not touched"
    assert untimed(tmp_path / "out") == unbroken(ITERATIONS)


def test_a_closed_pipe_does_not_end_the_training(tmp_path: Path) -> None:
    """Nobody listens any more: `compare ... | head -1`."""
    with start(*SPIRAL, "--iterations", "60", "--out", str(tmp_path / "out")) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complained = process.stderr.read()
    assert (process.returncode, complained) == (0, "")
    assert len(untimed(tmp_path / "out")) == 60


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    """SIGHUP for real: the run is saved, and its status says how it ended."""
    options = [*SPIRAL, "--iterations", "3000", "--checkpoint-every", "1000", "--out", str(tmp_path / "out")]
    child, terminal = pty.fork()
    if child == 0:  # a session of its own, whose terminal is about to go
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, str(RUN), *options])
    records = tmp_path / "out" / "runs" / LABEL / "records.jsonl"
    wait_for_records(records, 10)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
    folder = tmp_path / "out" / "runs" / LABEL
    point = read_intact(folder)[0][0][1]
    assert point.iteration == records.read_bytes().count(b"\n")
