"""A rank that is killed, stopped, or never comes ends the others within the time limit, and they say what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.distributed.conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="signals of POSIX")]


LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


def free_port() -> str:
    """A port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def ready(process: subprocess.Popen[str]) -> None:
    """Waits until the rank exchanges."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready"), line


def test_a_killed_rank_ends_the_others_at_once(start: Start, tmp_path: Path) -> None:
    """Its connections close, so nobody waits for the time limit of 100 s; by TCP, as on two nodes."""
    two_nodes = {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    ranks = start(2, tmp_path, "fault", 100, **two_nodes, GLOO_SOCKET_IFNAME=LOOPBACK)
    for process in ranks:
        ready(process)
    killed = time.monotonic()
    os.kill(ranks[1].pid, signal.SIGKILL)
    said = ranks[0].communicate()[0]
    assert time.monotonic() - killed < 20
    assert ranks[0].returncode == 1
    assert "rank 0 of 2: the others did not answer (" in said
    assert "--resume" in said
    assert "Traceback" not in said
    assert ".cc:" not in said


def test_a_stopped_rank_ends_the_others_after_the_time_limit(start: Start, tmp_path: Path) -> None:
    """Connections stay open, so the limit decides: 10 s, which lets the ranks start apart on a busy machine."""
    lonely = start(2, tmp_path, "fault", 3, only=1, TORCHELASTIC_RESTART_COUNT="1")
    other = start(2, tmp_path, "fault", 3, only=0, TORCHELASTIC_RESTART_COUNT="2")
    ranks = start(3, tmp_path, "fault", 10)
    for process in ranks:
        ready(process)
    os.kill(ranks[2].pid, signal.SIGSTOP)
    for k, process in enumerate(ranks[:2]):
        seconds, _, said = process.communicate()[0].strip().splitlines()[-1].partition(" ")
        assert process.returncode == 1
        assert said.startswith(f"rank {k} of 3: the others did not answer (")
        # the second to give up may see the first one's connection close
        assert float(seconds) < 30
    said = lonely[0].communicate()[0]
    assert lonely[0].returncode == 1
    assert "rank 1 of 2: the others did not answer (rank 0 did not join within 3 s)" in said
    said = other[0].communicate()[0]
    assert other[0].returncode == 1
    assert "rank 0 of 2: the others did not answer (not all ranks joined" in said
