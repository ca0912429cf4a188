"""Progress of training: a bar with loss, speed and remaining time on a terminal, one line a run elsewhere."""

from __future__ import annotations

import logging
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pynode.cli.console import PlainConsole
from pynode.records.iteration import IterationRecord
from pynode.wording import counted


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:6.1f} it/s" if task.speed else "       it/s", style="cyan")


class _Events(logging.Handler):
    """Shows the events of a run above its bar."""

    def __init__(self, console: PlainConsole) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.say(record.getMessage())


class TrainingProgress:
    """Context that shows runs: `begin` starts one, `advance` is called after every iteration; events are printed."""

    def __init__(self, console: PlainConsole) -> None:
        self.console = console
        self._log, self._events = logging.getLogger("pynode"), _Events(console)
        self._level = logging.NOTSET
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:>10}", markup=False),
            _Speed(),
            TextColumn("ETA", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task("", total=None, loss="", visible=False)
        self._label, self._stage, self._before = "", "", 0

    def __enter__(self) -> TrainingProgress:
        self._log.addHandler(self._events)
        self._level, self._log.propagate = self._log.level, False
        self._log.setLevel(logging.INFO)
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        self._log.removeHandler(self._events)
        self._log.setLevel(self._level)
        self._log.propagate = True

    def begin(self, label: str, iterations: int) -> None:
        """A new run starts."""
        if not self.console.is_terminal:
            self.console.say(f"training {label}, {counted(iterations, 'iteration')}")
        self._task = self._bars.add_task(label, total=iterations, loss="")
        self._label, self._stage, self._before = label, "", 0

    def advance(self, record: IterationRecord) -> None:
        """The run finished an iteration."""
        if record.stage != self._stage:
            self._stage, self._before = record.stage, record.iteration
            self._task = self._bars.add_task(f"{self._label}, {record.stage}", total=None, loss="")
        loss = f"{record.loss:.4g}" if record.loss is not None else "-"
        self._bars.update(self._task, completed=record.iteration + 1 - self._before, loss=loss)
