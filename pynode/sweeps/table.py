"""The progress of a sweep: a live table on a terminal, a line whenever a cell's state changes elsewhere."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pynode.sweeps.driver import CellStatus
from pynode.wording import counted

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole

STYLES = {
    "running": "cyan",
    "finished": "green",
    "skipped": "dim",
    "waiting": "dim",
    "interrupted": "yellow",
    "failed": "red",
    "lost": "red",
}
ORDER = ("running", "failed", "lost", "interrupted", "waiting", "finished", "skipped")
"""What a terminal that is too short for all shows first."""
AROUND = 8
"""Lines of a terminal that head, caption and prompt take."""


class SweepTable:
    """Context with a `watch` that shows all statuses."""

    def __init__(self, console: PlainConsole) -> None:
        self.console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._states: dict[str, str] = {}

    def __enter__(self) -> SweepTable:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def watch(self, statuses: list[CellStatus]) -> None:
        """Shows the statuses."""
        if self._live:
            self._live.update(_cut(statuses, self.console.height - AROUND))
            return
        for status in statuses:
            told = f"{status.state} {status.tries}" if status.state == "running" else status.state
            if told != self._states.get(status.cell.name, "waiting"):
                self.console.say(line(status))
            self._states[status.cell.name] = told


def line(status: CellStatus) -> str:
    """One cell in words."""
    said = [f"{status.cell.name}: {status.state}"]
    if status.state == "running":
        said.append(f"try {status.tries}")
    else:
        said.append(f"iteration {status.iterations} of {status.cell.iterations}")
        if status.loss is not None:
            said.append(f"loss {status.loss:.4g}")
        if status.state != "skipped":
            said.append(f"{status.tries} {'try' if status.tries == 1 else 'tries'}, {status.seconds:.1f} s")
    return ", ".join(said) + (f" ({status.error})" if status.error else "")


def table(statuses: list[CellStatus]) -> Table:
    """All cells, one row each."""
    made = Table(title="Sweep", title_justify="left", caption=counts(statuses), caption_justify="left")
    for column in ("cell", "state", "iteration", "loss", "tries", "seconds"):
        made.add_column(column, justify="left" if column in ("cell", "state") else "right", overflow="fold")
    for status in statuses:
        made.add_row(
            status.cell.name,
            Text(status.state, style=STYLES[status.state]),
            f"{status.iterations}/{status.cell.iterations}",
            "–" if status.loss is None else f"{status.loss:.4g}",
            str(status.tries),
            "–" if status.state in ("waiting", "skipped") else f"{status.seconds:.1f}",
        )
    return made


def counts(statuses: list[CellStatus]) -> str:
    """How many cells are in each state."""
    states: Counter[str] = Counter(status.state for status in statuses)
    listed = ", ".join(f"{states[state]} {state}" for state in ORDER if states[state])
    return f"{counted(len(statuses), 'cell')}: {listed}"


def _cut(statuses: list[CellStatus], rows: int) -> Group:
    """The table with the rows that matter now, as many as there is room for."""
    shown = sorted(statuses, key=lambda status: ORDER.index(status.state))[: max(1, rows)]
    chosen = {id(status) for status in shown}
    made = table([status for status in statuses if id(status) in chosen])
    made.caption = counts(statuses)
    return Group(made)
