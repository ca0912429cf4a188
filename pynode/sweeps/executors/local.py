"""Local: child processes on this machine, as many at once as its CPUs and GPUs allow."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pynode.errors import InvalidArgument
from pynode.sweeps.cells import Cell
from pynode.sweeps.executors.base import Executor
from pynode.sweeps.task import Outcome, Task, worker_environment

WORKER = (sys.executable, "-m", "pynode.sweeps.worker")
POLL_SECONDS = 0.05


@dataclass
class _Child:
    """A process and the task that it works on; `shares` are parts of GPUs by their names."""

    task: Task
    process: subprocess.Popen[str]
    shares: dict[str, float]
    tries: int


@dataclass
class _Room:
    """CPUs and parts of GPUs that are free."""

    cpus: int
    gpus: dict[str, float] = field(default_factory=dict)

    def take(self, task: Task) -> dict[str, float] | None:
        """The shares of GPUs that `task` gets; None where there is no room for it now."""
        if task.threads > self.cpus:
            return None
        shares: dict[str, float] = {}
        if task.gpus:
            # the fullest first, so that whole ones stay free for those that need a whole one
            fullest = sorted(self.gpus.items(), key=lambda gpu: gpu[1])
            if (name := next((name for name, left in fullest if left >= task.gpus - 1e-9), None)) is None:
                return None
            shares = {name: task.gpus}
        self.cpus -= task.threads
        for name, share in shares.items():
            self.gpus[name] -= share
        return shares

    def give_back(self, child: _Child) -> None:
        self.cpus += child.task.threads
        for name, share in child.shares.items():
            self.gpus[name] += share


class LocalExecutor(Executor):
    """One child process a cell (`python -m pynode.sweeps.worker`), with as many threads as the cell has CPUs.

    Children are in a session of their own, so that Ctrl-C reaches them through the driver alone; they stop when the
    driver dies.  A GPU is given by CUDA_VISIBLE_DEVICES, to several children where these want shares of one.
    """

    name: ClassVar[str] = "local"

    def start(self) -> None:
        if self.address is not None:
            remedy = "drop it, or add --executor ray"
            raise InvalidArgument("--address", self.address, "the executor local has no cluster", remedy)
        self._cpus = available_cpus()
        self._room = _Room(self._cpus, dict.fromkeys(available_gpus(), 1.0))
        self._waiting: list[tuple[Task, int]] = []
        self._running: list[_Child] = []
        self._ended: list[Outcome] = []
        self._stopping = False

    def check(self, cells: list[Cell]) -> None:
        for cell in cells:
            if cell.cpus > self._cpus:
                problem = f"{cell.name} needs more than the {self._cpus} of this machine"
                raise InvalidArgument("cpus", cell.cpus, problem, f"use {self._cpus} or fewer")
            if cell.gpus > len(self._room.gpus):
                problem = f"{cell.name} needs more than the {len(self._room.gpus)} of this machine"
                raise InvalidArgument("gpus", f"{cell.gpus:g}", problem, "use device = cpu, or --executor ray")

    def submit(self, task: Task) -> None:
        self._waiting.append((task, 1))
        self._begin()

    def collect(self, seconds: float) -> list[Outcome]:
        until = time.monotonic() + seconds
        while not self._ended and self._running:
            for child in [child for child in self._running if child.process.poll() is not None]:
                self._running.remove(child)
                self._room.give_back(child)
                self._settle(child)
            self._begin()
            if self._ended or time.monotonic() >= until:
                break
            time.sleep(min(POLL_SECONDS, seconds))
        outcomes, self._ended = self._ended, []
        return outcomes

    def held(self) -> set[str]:
        return {task.name for task, _ in self._waiting}

    def stop(self, signal_number: int) -> None:
        self._stopping = True
        self._ended += [Outcome(task.name, "interrupted") for task, _ in self._waiting]
        self._waiting.clear()
        for child in self._running:
            child.process.send_signal(signal_number)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        self._waiting.clear()
        for child in self._running:
            child.process.kill()
        for child in self._running:
            child.process.communicate()
        self._running.clear()

    def _begin(self) -> None:
        """Begins what there is room for, in order; none that has to wait is overtaken for what it waits for.

        A cell that waits for CPUs holds up all behind it; one that waits for a GPU alone keeps its CPUs free, and those
        behind it that need no GPU may have the others.
        """
        kept: int | None = None
        for entry in list(self._waiting):
            task, tries = entry
            if self.jobs is not None and len(self._running) >= self.jobs:
                return
            if kept is not None and task.gpus:
                continue
            if task.threads > self._room.cpus - (kept or 0):
                return
            if (shares := self._room.take(task)) is None:
                kept = task.threads
                continue
            self._waiting.remove(entry)
            self._running.append(_Child(task, _spawn(task, shares), shares, tries))

    def _settle(self, child: _Child) -> None:
        """The outcome of a process that has ended, or another try."""
        task, status = child.task, child.process.returncode
        said = child.process.communicate()[0]
        with contextlib.suppress(ValueError):
            self._ended.append(Outcome.from_text(said))
            return
        if self._stopping:
            self._ended.append(Outcome(task.name, "interrupted"))
        elif child.tries <= self.retries:
            self._waiting.insert(0, (task, child.tries + 1))
        else:
            how = _signal_name(-status) if status < 0 else f"exit status {status}"
            tries = f"{child.tries} times" if child.tries > 1 else "once"
            error = f"its process died {tries}, the last time by {how}; see {task.log}, and continue with --resume"
            self._ended.append(Outcome(task.name, "lost", error))


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(k) for k in range(count)]


def _spawn(task: Task, shares: dict[str, float]) -> subprocess.Popen[str]:
    environment = {**os.environ, **worker_environment(task.threads), "CUDA_VISIBLE_DEVICES": ",".join(shares)}
    log = Path(task.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
            start_new_session=True,
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died already, which is seen when it is waited for
        process.stdin.write(task.to_text() + "\n")
        process.stdin.flush()
    return process


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
