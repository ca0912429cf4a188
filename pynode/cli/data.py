"""`data`: downloads the public data sets and lists which are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import values

data = typer.Typer(help="Download the public data sets, and list which are here.", no_args_is_help=True)

Root = Annotated[
    Path | None,
    typer.Option(
        parser=values.path,
        metavar="DIR",
        help="Directory of all data. [dim]Default: the environment variable PYNODE_DATA, else ~/.cache/pynode.[/dim]",
        show_default=False,
    ),
]


@data.command("fetch")
def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Data sets: power, gas, hepmass, miniboone, bsds300, or all.")
    ],
    root: Root = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Accept only an archive with this SHA-256 checksum.")
    ] = None,
) -> None:
    """Download the public archive, verify it, and preprocess the data sets NAME.

    A download that was interrupted continues where it stopped.

    Example:

      data fetch miniboone
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    from pynode.cli.console import new_console
    from pynode.datasets import cache
    from pynode.errors import UnknownName

    chosen = list(cache.NAMES) if names == ["all"] else names
    for name in chosen:
        if name not in cache.NAMES:
            raise UnknownName("data set", name, (*cache.NAMES, "all"))
    console = new_console()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    for name in chosen:
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task("archive", total=None)

            def show(done: int, total: int | None, bars: Progress = bars, task: TaskID = task) -> None:
                bars.update(task, completed=done, total=total)

            splits = cache.fetch(name, root, show, sha256=sha256)
        rows = " / ".join(f"{len(part):,}" for part in (splits.train, splits.validation, splits.test))
        console.say(f"{name}: {splits.dim} columns, {rows} rows in {cache.data_root(root) / name}")


@data.command("list")
def list_data(root: Root = None) -> None:
    """List the public data sets and whether they are on this machine."""
    from pynode.cli.console import new_console
    from pynode.datasets import cache

    console = new_console()
    for name in cache.NAMES:
        state = "there" if cache.available(name, root) else f"missing; data fetch {name}"
        console.say(f"{name:10} {state}")
    console.say(f"in {cache.data_root(root)}; digits comes with scikit-learn")
