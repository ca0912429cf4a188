"""`show DIR`: tables and figures again, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    directory: Annotated[Path, typer.Argument(help="A results directory: the --out of an earlier command.")],
) -> None:
    """Render tables and figures of an earlier command again, from its records.

    Example:

      show results/spiral
    """
    from rich.console import Console

    from pynode.errors import OutputDirectoryError
    from pynode.records.files import make_directory

    if not directory.is_dir():
        raise OutputDirectoryError(f"{directory}: no such directory; pass the --out of an earlier command")
    make_directory(directory)

    from pynode.cli.report import report

    report(directory, Console(), whole=True)
