"""`data`: fetch the public sets, and see which are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(help="Fetch and look up the public data sets.", no_args_is_help=True)

Root = Annotated[
    Path | None,
    typer.Option(help="Folder of all data. [dim]Default: PYNODE_DATA, else ~/.cache/pynode.[/dim]", show_default=False),
]


@data.command("fetch")
def fetch(
    names: Annotated[list[str], typer.Argument(help="power, gas, hepmass, miniboone, bsds300, or all.")],
    root: Root = None,
    sha256: Annotated[str | None, typer.Option(help="Demand this SHA-256 of the archive.")] = None,
) -> None:
    """Download the public archive (once, resumed where it stopped), verify it, and preprocess the sets NAMES.

    Example:

      data fetch miniboone
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    from pynode.datasets import cache
    from pynode.errors import UnknownName

    chosen = list(cache.NAMES) if names == ["all"] else names
    for name in chosen:
        if name not in cache.NAMES:
            raise UnknownName("data set", name, (*cache.NAMES, "all"))
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    for name in chosen:
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task("archive", total=None)

            def show(done: int, total: int | None, bars: Progress = bars, task: TaskID = task) -> None:
                bars.update(task, completed=done, total=total)

            splits = cache.fetch(name, root, show, sha256=sha256)
        rows = " / ".join(f"{len(part):,}" for part in (splits.train, splits.validation, splits.test))
        console.print(f"{name}: {splits.dim} columns, {rows} rows in {cache.data_root(root) / name}", highlight=False)


@data.command("list")
def list_data(root: Root = None) -> None:
    """Show which public sets are on this machine."""
    from rich.console import Console

    from pynode.datasets import cache

    console = Console()
    for name in cache.NAMES:
        state = "there" if cache.available(name, root) else f"missing; data fetch {name}"
        console.print(f"{name:10} {state}", highlight=False)
    console.print(f"in {cache.data_root(root)}; digits comes with scikit-learn", highlight=False)
