"""What `bench` and `cost-model` print at their end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pynode.cli.console import PlainConsole
from pynode.cli.results import NOT_MINE
from pynode.errors import StorageError
from pynode.studies.render import Rendered


def report(directory: Path, console: PlainConsole, render: Callable[..., Rendered]) -> None:
    """Prints the tables and findings of `directory`, which `render` makes and writes; where it may not, prints them."""
    writable = True
    try:
        rendered = render(directory)
    except StorageError as error:
        if error.number not in NOT_MINE:
            raise
        rendered, writable = render(directory, write=False), False
    for table in (table for table in rendered.tables if not table.long):
        console.print(table)
        console.print()
    if drawn := ", ".join(path.stem for path in rendered.paths if path.suffix == ".png"):
        console.say(f"figures in {directory / 'figures'}: {drawn}")
    if writable:
        console.say(f"all tables in {directory / 'tables.md'}, records beside it")
    for finding in rendered.findings:
        console.say(finding, style="bold")
