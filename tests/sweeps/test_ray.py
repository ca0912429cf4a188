"""Sweeps on a Ray cluster of this machine, for real."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='no Ray: pip install -e ".[ray]"'),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
    pytest.mark.timeout(900),  # a cluster starts twice, and every cell in a fresh process
]

Begin = Callable[..., "subprocess.Popen[str]"]
Find = Callable[[Path], "tuple[str, int] | None"]
Read = Callable[[Path], Any]


def listening(processes: set[int]) -> set[str]:
    """Addresses, in hexadecimal as the kernel has them, on which any of `processes` listens for TCP."""
    sockets: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A":  # LISTEN
                sockets[f"socket:[{cells[9]}]"] = cells[1].partition(":")[0]
    addresses = set()
    for process in processes:
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:  # it has ended
            continue
        addresses |= {sockets[link] for link in links if link in sockets}
    return addresses


def family(ancestor: int) -> set[int]:
    """`ancestor` and all processes that it has begun, directly or not."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    members = {ancestor}
    while more := {process for process, parent in parents.items() if parent in members} - members:
        members |= more
    return members


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an IPv6 address, and ::1."""


def test_twelve_cells_on_ray_with_one_worker_killed(
    tmp_path: Path, begin_sweep: Begin, worker_in_the_middle: Find, undisturbed: Any, read_numbers: Read
) -> None:
    """The numbers are those of plain runs; nothing listens but on the loopback interface; the cluster goes away."""
    out = tmp_path / "out"
    process = begin_sweep(out, "--executor", "ray")
    killed, heard, members = None, set(), set()
    while process.poll() is None and killed is None:
        if (killed := worker_in_the_middle(out)) is not None:
            members = family(process.pid)
            heard = listening(members)
            assert killed[1] in members
            os.kill(killed[1], signal.SIGKILL)
        time.sleep(0.002)
    said, error = process.communicate(timeout=500)
    assert killed is not None, error
    assert process.returncode == 0, error
    assert read_numbers(out) == undisturbed
    attempts = {f"{p.parts[-3]}/{p.stem}": p.read_text().count("\n") for p in out.glob("*/attempts/*.jsonl")}
    assert attempts == {name: 2 if name == killed[0] else 1 for name in undisturbed}
    assert f"{killed[0]}: finished, iteration 20 of 20" in said
    assert heard
    assert heard <= LOOPBACK
    until = time.monotonic() + 30
    while any(Path(f"/proc/{member}").exists() for member in members) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [member for member in members if Path(f"/proc/{member}").exists()]


def test_interrupted_on_ray_and_resumed_without(
    tmp_path: Path, begin_sweep: Begin, worker_in_the_middle: Find, undisturbed: Any, read_numbers: Read
) -> None:
    """Runs save when the sweep is interrupted, and the other executor goes on with them."""
    out = tmp_path / "out"
    process = begin_sweep(out, "--executor", "ray", "--jobs", "1", "--grid", "problem=oscillator")
    worker = None
    while process.poll() is None and worker is None:
        worker = worker_in_the_middle(out)
        time.sleep(0.002)
    assert worker is not None, process.communicate()
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=200)
    assert process.returncode == 130, error
    assert "0 of 6 cells finished" in error
    problem, _, label = worker[0].partition("/")
    assert (out / problem / "runs" / label / "checkpoint.safetensors").exists()
    assert f"{worker[0]}: interrupted" in said

    resumed = begin_sweep(out, "--resume", "--executor", "local", "--grid", "problem=oscillator")
    _, error = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, error
    assert read_numbers(out) == {name: rows for name, rows in undisturbed.items() if name.startswith("oscillator/")}
