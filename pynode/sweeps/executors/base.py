"""What every executor does: takes tasks, runs them in processes, says how they ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar

from pynode.sweeps.cells import Cell
from pynode.sweeps.task import Outcome, Task


class Executor(ABC):
    """Runs each task in a process of its own, at most `jobs` at once (None: as many as there is room for).

    A task whose process dies is begun again up to `retries` times, and is `lost` after that.  An executor is a context;
    leaving it ends all of its processes.
    """

    name: ClassVar[str]

    def __init__(self, *, address: str | None = None, jobs: int | None = None, retries: int = 2) -> None:
        self.address, self.jobs, self.retries = address, jobs, retries

    @abstractmethod
    def start(self) -> None:
        """Gets ready; raises `UsageError` where it can't be used."""

    @abstractmethod
    def check(self, cells: list[Cell]) -> None:
        """Raises `InvalidArgument` where a cell needs more than there is; after `start`."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Takes a task, and begins it as soon as there is room."""

    @abstractmethod
    def held(self) -> set[str]:
        """Names of the tasks that no process can have begun yet, because they wait here."""

    @abstractmethod
    def collect(self, seconds: float) -> list[Outcome]:
        """Outcomes since the last call; waits for some at most so many seconds."""

    @abstractmethod
    def stop(self, signal_number: int) -> None:
        """Passes a signal to all that runs, and forgets what waits: those are outcomes, too."""

    @abstractmethod
    def kill(self) -> None:
        """Ends all that runs at once."""

    @abstractmethod
    def close(self) -> None:
        """Ends all processes and connections."""

    def __enter__(self) -> Executor:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
