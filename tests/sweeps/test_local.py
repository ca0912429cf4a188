"""Sweeps on this machine, for real: workers that die, signals, resumed sweeps, failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pynode.cli import main
from pynode.sweeps.driver import run_sweep
from pynode.sweeps.executors import local
from pynode.sweeps.executors.local import LocalExecutor
from pynode.sweeps.grid import make_cells
from pynode.sweeps.layout import write_sweep
from pynode.sweeps.specification import specify

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX systems do"),
    pytest.mark.timeout(900),  # every cell is a process that loads torch
]

Begin = Callable[..., "subprocess.Popen[str]"]
Find = Callable[[Path], "tuple[str, int] | None"]
Read = Callable[[Path], Any]

SMALL = ["--grid", "problem=spiral", "--grid", "method=disc-opt", "--grid", "iterations=2", "--grid", "engine=eager"]


def bytes_of_runs(out: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of all files of runs."""
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in out.glob("*/runs/*/*") if p.is_file()}


def has_gone(process: int) -> bool:
    """Whether no process of that number runs any more; one that nobody has waited for yet has gone, too."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_twelve_cells_one_worker_killed_interrupted_and_resumed(
    tmp_path: Path, begin_sweep: Begin, worker_in_the_middle: Find, undisturbed: Any, read_numbers: Read
) -> None:
    """A worker is killed, then the whole sweep is interrupted, then resumed: the numbers are those of plain runs."""
    out = tmp_path / "out"
    process = begin_sweep(out, "--jobs", "2")
    killed = None
    while process.poll() is None and killed is None:
        if (killed := worker_in_the_middle(out)) is not None:
            os.kill(killed[1], signal.SIGKILL)
        time.sleep(0.002)
    assert killed is not None, process.communicate()
    attempts = out / killed[0].split("/")[0] / "attempts" / f"{killed[0].split('/')[1]}.jsonl"
    while process.poll() is None and attempts.read_bytes().count(b"\n") < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=200)
    assert process.returncode == 130, error
    assert error.count("\n") == 1
    assert "cells finished; what was recorded is kept" in error
    assert f"--resume --out {out}" in error
    assert attempts.read_bytes().count(b"\n") == 2
    workers = [json.loads(line)["pid"] for p in out.glob("*/attempts/*") for line in p.read_text().splitlines()]
    assert all(has_gone(worker) for worker in workers)
    assert "interrupted, iteration 0 of 20, 0 tries" in said, "most had not begun"

    resumed = begin_sweep(out, "--jobs", "2", "--resume")
    said, error = resumed.communicate(timeout=500)
    assert resumed.returncode == 0, error
    assert read_numbers(out) == undisturbed
    assert "interrupted" not in said
    reports = {p.parent.name for p in out.glob("*/summary.json")}
    assert reports == {"spiral", "oscillator"}
    assert "RQ3" in (out / "tables.md").read_text()

    # a damaged bit in a finished cell is found, and that cell alone is mended
    records = out / killed[0].split("/")[0] / "runs" / killed[0].split("/")[1] / "records.jsonl"
    content = bytearray(records.read_bytes())
    content[content.rindex(b'"loss": ') + 10] ^= 1  # beyond the checkpoint before the last
    records.write_bytes(bytes(content))
    begun = {p: p.read_bytes().count(b"\n") for p in out.glob("*/attempts/*")}
    assert main(["sweep", "--resume", "--out", str(out)]) == 0
    assert read_numbers(out) == undisturbed
    more = {p: p.read_bytes().count(b"\n") - begun[p] for p in out.glob("*/attempts/*")}
    assert more == {p: int(p == attempts) for p in begun}

    # and there is nothing more to do
    before = bytes_of_runs(out)
    tried = [p.read_bytes() for p in sorted(out.glob("*/attempts/*"))]
    assert main(["sweep", "--resume", "--out", str(out)]) == 0
    assert bytes_of_runs(out) == before
    assert [p.read_bytes() for p in sorted(out.glob("*/attempts/*"))] == tried
    assert main(["show", str(out)]) == 0


def test_a_failed_cell_is_recorded_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["sweep", *SMALL, "--grid", "iterations=4", "--out", str(tmp_path / "twice")]) == 2
    assert "given twice" in capsys.readouterr().err
    assert main(["sweep", *SMALL, "--grid", "learning_rate=0.01,1e200", "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "1 of 2 cells failed: spiral/disc-opt-rk4-x1-learning_rate1e+200-seed0: " in said.err
    assert "lower the learning rate" in said.err
    assert "2 cells: 1 failed, 1 finished" in said.out
    labels = {p.parent.name: json.loads(p.read_text())["status"] for p in out.glob("spiral/runs/*/summary.json")}
    assert labels == {
        "disc-opt-rk4-x1-learning_rate0.01-seed0": "finished",
        "disc-opt-rk4-x1-learning_rate1e+200-seed0": "failed",
    }
    tries = out / "spiral" / "attempts"
    assert {p.name: p.read_text().count("\n") for p in tries.iterdir()} == {f"{label}.jsonl": 1 for label in labels}


def worker_that_dies(folder: Path, how: str) -> tuple[str, ...]:
    """A worker that notes its attempt and dies."""
    script = folder / "worker.py"
    script.write_text(
        "import json, os, pathlib, signal, sys\n"
        "task = json.loads(sys.stdin.readline())\n"
        "path = pathlib.Path(task['attempts'])\n"
        "path.parent.mkdir(parents=True, exist_ok=True)\n"
        "path.open('a').write('{}\\n')\n"
        f"{how}\n"
    )
    return (sys.executable, str(script))


@pytest.mark.parametrize(
    ("how", "told"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "by SIGKILL"), ("print('no outcome'); sys.exit(3)", "by exit status 3")],
)
def test_a_cell_whose_worker_always_dies_is_lost_in_the_end(
    how: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WORKER", worker_that_dies(tmp_path, how))
    specification = specify({"problem": "spiral", "method": "disc-opt", "seed": [0, 1]})
    cells = make_cells(specification.axes, specification.needs)
    write_sweep(tmp_path, specification.axes, cells)
    with LocalExecutor(retries=2) as executor:
        executor.check(cells)
        statuses, number = run_sweep(cells, tmp_path, executor, lambda statuses: None)
    assert number is None
    assert [(status.state, status.tries) for status in statuses] == [("lost", 3), ("lost", 3)]
    assert all("died 3 times" in str(status.error) and told in str(status.error) for status in statuses)


def test_workers_stop_when_their_driver_dies(tmp_path: Path, begin_sweep: Begin, worker_in_the_middle: Find) -> None:
    out = tmp_path / "out"
    process = begin_sweep(out, "--jobs", "1", "--grid", "seed=0", "--grid", "iterations=5000")
    worker = None
    while process.poll() is None and worker is None:
        worker = worker_in_the_middle(out)
        time.sleep(0.002)
    assert worker is not None, process.communicate()
    process.kill()
    process.communicate()
    until = time.monotonic() + 60
    while not has_gone(worker[1]) and time.monotonic() < until:
        time.sleep(0.02)
    assert has_gone(worker[1])
    (events,) = out.glob("*/runs/*/events.jsonl")
    assert '"interrupted"' in events.read_text()


def test_children_get_the_threads_and_gpus_of_their_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child sees in its environment, with two GPUs made up."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, sys, time\n"
        "task = json.loads(sys.stdin.readline())\n"
        "seen = {k: os.environ[k] for k in ('OMP_NUM_THREADS', 'NUMBA_NUM_THREADS', 'CUDA_VISIBLE_DEVICES')}\n"
        "time.sleep(0.3)\n"
        "print(json.dumps({'name': task['name'], 'state': 'failed', 'error': json.dumps(seen)}))\n"
    )
    monkeypatch.setattr(local, "WORKER", (sys.executable, str(script)))
    monkeypatch.setattr(local, "available_cpus", lambda: 4)
    monkeypatch.setattr(local, "available_gpus", lambda: ["3", "5"])
    axes = {"problem": "spiral", "method": ["disc-opt", "opt-disc"], "seed": [0, 1], "device": "cuda"}
    specification = specify({**axes, "cpus": 2, "needs": {"method": {"opt-disc": {"cpus": 1, "gpus": 0.5}}}})
    cells = make_cells(specification.axes, specification.needs)
    write_sweep(tmp_path, specification.axes, cells)
    with LocalExecutor() as executor:
        executor.check(cells)
        statuses, _ = run_sweep(cells, tmp_path, executor, lambda statuses: None)
    seen = [json.loads(str(status.error)) for status in statuses]
    assert [s["OMP_NUM_THREADS"] for s in seen] == ["2", "2", "1", "1"]
    assert [s["NUMBA_NUM_THREADS"] for s in seen] == ["2", "2", "1", "1"]
    assert {seen[0]["CUDA_VISIBLE_DEVICES"], seen[1]["CUDA_VISIBLE_DEVICES"]} == {"3", "5"}
    assert seen[2]["CUDA_VISIBLE_DEVICES"] == seen[3]["CUDA_VISIBLE_DEVICES"], "two halves of one GPU"
