"""`data`: downloads the public data sets, builds them from files at hand, lists which are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.cli import values
from pynode.cli.pages import App
from pynode.wording import counted, verb

if TYPE_CHECKING:
    from pynode.datasets.splits import Splits

data = App(help="Download or import the public data sets, and list which are here.", no_args_is_help=True)

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
    replace: Annotated[
        bool, typer.Option("--replace", help="Fetch the published set in place of an imported one.")
    ] = False,
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

            splits = cache.fetch(name, root, show, sha256=sha256, replace=replace)
        console.say(_told(splits, cache.data_root(root)))


@data.command("import")
def import_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Data set: power, gas, hepmass, miniboone or bsds300.")],
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            parser=values.path,
            metavar="PATH",
            help="File of any name, or directory with the usual file: household_power_consumption.txt (or .zip) or "
            "data.npy for power; ethylene_CO.pickle for gas; 1000_train.csv and 1000_test.csv (or .gz) for hepmass; "
            "data.npy for miniboone; BSDS300.hdf5 for bsds300.",
        ),
    ],
    root: Root = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the data set if it is there.")] = False,
) -> None:
    """Build the data set NAME from its own files, whole or a part of the rows, without a download.

    A part is recorded as such, and every table and figure that uses it says so.

    Example:

      data import power --from household_power_consumption.txt
    """
    from pynode.cli.console import new_console
    from pynode.datasets import cache

    console = new_console()
    prepared = cache.import_set(name, source, root, replace=replace)
    console.say(_told(prepared.splits, cache.data_root(root)))
    if prepared.left_out:
        n = prepared.left_out
        console.say(f"{counted(n, 'row')} with missing values {verb(n, 'is', 'are')} left out")
    console.say(cache.extent(prepared.splits))


@data.command("list")
def list_data(root: Root = None) -> None:
    """List the public data sets and whether they are on this machine."""
    from pynode.cli.console import new_console
    from pynode.datasets import cache

    console = new_console()
    for name in cache.NAMES:
        console.say(f"{name:10} {_state(name, root)}")
    console.say(f"in {cache.data_root(root)}; digits comes with scikit-learn")


def _state(name: str, root: Path | None) -> str:
    """Whether the data set is there, and how much of it."""
    from pynode.datasets import cache
    from pynode.datasets.errors import CacheError, DataMissing

    try:
        splits = cache.dataset(name, root)
    except DataMissing:
        return f"missing; data fetch {name}, or data import {name} --from PATH"
    except CacheError:
        return f"damaged; data fetch {name}, or data import {name} --from PATH --replace"
    return f"there, {cache.extent(splits)}"


def _told(splits: Splits, root: Path) -> str:
    """Columns and rows of a data set, and where it is."""
    rows = " / ".join(f"{len(part):,}" for part in (splits.train, splits.validation, splits.test))
    return f"{splits.name}: {counted(splits.dim, 'column')}, {rows} rows in {root / splits.name}"
