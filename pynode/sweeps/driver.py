"""Sees a sweep through: skips what is finished, gives the rest to an executor, keeps the statuses for a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from pynode.sweeps.cells import Cell
from pynode.sweeps.executors.base import Executor
from pynode.sweeps.progress import is_finished, read_progress
from pynode.sweeps.task import Outcome, State, Task
from pynode.training.signals import heard_by

POLL_SECONDS = 0.25
"""Between two looks at the records."""
LOOK_SHARE = 9.0
"""After a look that took long (many cells, a slow disk) the next waits so many times as long."""
GRACE_SECONDS = 60.0
"""For a checkpoint, after a signal."""


@dataclass
class CellStatus:
    """One row of the table; `seconds` is wall clock since its first process of this sweep began."""

    cell: Cell
    state: Literal["waiting", "running", "skipped"] | State = "waiting"
    iterations: int = 0
    loss: float | None = None
    tries: int = 0
    seconds: float = 0.0
    error: str | None = None


Watcher = Callable[[list[CellStatus]], None]


class _Stop:
    """The signals that the driver got."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.count = 0

    def hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.first = number if self.first is None else self.first
        self.count += 1


def run_sweep(cells: list[Cell], out: Path, executor: Executor, watch: Watcher) -> tuple[list[CellStatus], int | None]:
    """Runs what is not finished of `cells` in `out`, the most expensive first.

    Returns the statuses, and the signal that ended the sweep, if any.  `watch` is called with all statuses a few times
    a second.  After SIGINT, SIGTERM or SIGHUP the runs are given time to save (a second signal takes that time away).
    """
    statuses = {cell.name: CellStatus(cell) for cell in cells}
    for status in statuses.values():
        _look(status, out)
        if is_finished(status.cell, out):
            status.state = "skipped"
    todo = [status for status in statuses.values() if status.state == "waiting"]
    with _stop_requests() as stop:
        earlier = {status.cell.name: status.tries for status in todo}
        begun: dict[str, float] = {}
        for status in sorted(todo, key=lambda status: -status.cell.work):
            executor.submit(Task.of(status.cell, out))
        kill_at: float | None = None
        look_at = 0.0
        watch(list(statuses.values()))
        while any(status.state in ("waiting", "running") for status in todo):
            outcomes = executor.collect(POLL_SECONDS)
            look = time.monotonic() >= look_at
            if look:
                began, held = time.monotonic(), executor.held()
                for status in todo:
                    if status.state in ("waiting", "running") and status.cell.name not in held:
                        _follow(status, out, earlier[status.cell.name], begun)
                look_at = time.monotonic() + LOOK_SHARE * (time.monotonic() - began)
            for outcome in outcomes:
                _settle(statuses[outcome.name], outcome, out)
            if stop.first is not None and kill_at is None:
                executor.stop(stop.first)
                kill_at = time.monotonic() + GRACE_SECONDS
            elif kill_at is not None and (stop.count > 1 or time.monotonic() > kill_at):
                executor.kill()
                kill_at = time.monotonic() + GRACE_SECONDS
                stop.count = 1
            if look or outcomes:
                watch(list(statuses.values()))
        return list(statuses.values()), stop.first


def _look(status: CellStatus, out: Path) -> None:
    """Takes over what the disk says."""
    progress = read_progress(status.cell, out)
    status.iterations, status.loss, status.tries = progress.iterations, progress.loss, progress.tries


def _follow(status: CellStatus, out: Path, tries_before: int, begun: dict[str, float]) -> None:
    _look(status, out)
    if status.tries > tries_before:
        status.state = "running"
        status.seconds = time.monotonic() - begun.setdefault(status.cell.name, time.monotonic())


def _settle(status: CellStatus, outcome: Outcome, out: Path) -> None:
    _look(status, out)
    status.state, status.error = outcome.state, outcome.error


@contextmanager
def _stop_requests() -> Iterator[_Stop]:
    """Collects signals instead of ending the process."""
    stop = _Stop()
    with heard_by(stop.hear):
        yield stop
