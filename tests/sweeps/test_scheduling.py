"""Which cell begins when on this machine, how the driver follows them, and which signals it hears."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pynode.sweeps import driver
from pynode.sweeps.cells import Cell
from pynode.sweeps.driver import run_sweep
from pynode.sweeps.executors import local
from pynode.sweeps.executors.local import LocalExecutor
from pynode.sweeps.task import Task

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX systems do")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def child(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cells that an executor of two CPUs and one GPU has begun, in order; their processes do nothing."""
    names: list[str] = []

    def spawn(task: Task, shares: dict[str, float]) -> subprocess.Popen[str]:  # noqa: ARG001
        names.append(task.name)
        outcome = json.dumps({"name": task.name, "state": "finished", "error": None})
        return child(f"import time; time.sleep(0.1); print({outcome!r})")

    monkeypatch.setattr(local, "_spawn", spawn)
    monkeypatch.setattr(local, "available_cpus", lambda: 2)
    monkeypatch.setattr(local, "available_gpus", lambda: ["0"])
    return names


def task(name: str, threads: int, gpus: float = 0) -> Task:
    return Task(name, {}, "", "", "", "", threads, gpus)


def finish(executor: LocalExecutor, count: int) -> None:
    ended = 0
    while ended < count:
        ended += len(executor.collect(0.2))


def test_a_wide_cell_is_not_overtaken_for_ever(begun: list[str]) -> None:
    with (executor := LocalExecutor()):
        for one in (task("a", 1), task("wide", 2), *(task(f"small{k}", 1) for k in range(4))):
            executor.submit(one)
        finish(executor, 6)
    assert begun[:2] == ["a", "wide"]


def test_a_cell_that_waits_for_a_gpu_keeps_its_cpus(begun: list[str]) -> None:
    with (executor := LocalExecutor()):
        for one in (task("a", 1, 1), task("b", 1, 1), task("c", 1)):
            executor.submit(one)
        assert begun == ["a"], "the CPU that is free is kept for b"
        assert executor.held() == {"b", "c"}
        finish(executor, 3)
    assert begun == ["a", "b", "c"]


def test_a_cell_without_gpu_may_have_what_those_that_wait_for_one_do_not_need(
    begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "available_cpus", lambda: 3)
    with (executor := LocalExecutor()):
        for one in (task("a", 1, 1), task("b", 1, 1), task("c", 1, 0.5), task("d", 1)):
            executor.submit(one)
        assert begun == ["a", "d"]
        finish(executor, 4)


def test_collecting_does_not_spin_after_a_child_has_closed_its_output(begun: list[str]) -> None:
    with (executor := LocalExecutor(retries=0)):
        executor.submit(task("a", 2))
        finish(executor, 1)
        quiet = child("import os, time; os.close(1); time.sleep(1)")
        executor._running.append(local._Child(task("b", 1), quiet, {}, 1))
        cpu = time.process_time()
        finish(executor, 1)
        assert time.process_time() - cpu < 0.3, "of a second in which there was nothing to do"
    assert begun == ["a"]


def test_the_dearest_cells_begin_first_and_those_that_wait_are_not_looked_at(
    tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [Cell("spiral", f"x{k}", {"iterations": k}, cpus=2) for k in (1, 3, 2)]
    looked: list[tuple[str, bool]] = []
    follow = driver._follow

    def noted(status: driver.CellStatus, *rest: Any) -> None:
        looked.append((status.cell.label, status.cell.name in begun))
        follow(status, *rest)

    monkeypatch.setattr(driver, "_follow", noted)
    monkeypatch.setattr(driver, "POLL_SECONDS", 0.02)
    with (executor := LocalExecutor()):
        statuses, _ = run_sweep(cells, tmp_path, executor, lambda statuses: None)
    assert begun == ["spiral/x3", "spiral/x2", "spiral/x1"]
    assert {status.state for status in statuses} == {"finished"}
    assert set(looked) == {("x1", True), ("x2", True), ("x3", True)}, "each of them only when it has begun"


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_that_are_ignored_stay_ignored(number: signal.Signals, tmp_path: Path, begun: list[str]) -> None:
    """As nohup and jobs in the background have it; the others are heard."""
    seen: list[Any] = []

    def watch(statuses: Any) -> None:  # noqa: ARG001
        seen.append([one for one in SIGNALS if signal.getsignal(one) is signal.SIG_IGN])
        os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_IGN)
    try:
        with (executor := LocalExecutor()):
            statuses, heard = run_sweep([Cell("spiral", "x", {"iterations": 1})], tmp_path, executor, watch)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert heard is None
    assert [status.state for status in statuses] == ["finished"]
    assert all(ignored == [number] for ignored in seen)
    assert begun == ["spiral/x"]
