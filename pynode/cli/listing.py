"""`list`: the names that commands take, with a line each."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer


def list_members(
    options: Annotated[
        bool, typer.Option("--options", help="List the options of each problem instead, for --set.")
    ] = False,
) -> None:
    """List problems, fields, schemes, gradient methods and studies, with a line each."""
    from rich.table import Table

    from pynode.cli.console import new_console
    from pynode.fields import FIELDS
    from pynode.methods import METHODS
    from pynode.problems import PROBLEMS
    from pynode.schemes import SCHEMES
    from pynode.studies import STUDIES

    console = new_console()
    if options:
        table = Table(title="options of problems (default)", title_justify="left", show_header=False, box=None)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for name, kind in PROBLEMS.load_all().items():
            # None stands for the problem's own value
            known = [f.name if f.default is None else f"{f.name} ({f.default})" for f in fields(kind.Options)]
            table.add_row(name, ", ".join(known) or "none")
        console.print(table)
        return
    for registry in (PROBLEMS, METHODS, FIELDS, SCHEMES, STUDIES):
        plural = {"study": "studies"}.get(registry.kind, f"{registry.kind}s")
        table = Table(title=plural, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for name in registry.names():
            table.add_row(name, registry.summary(name))
        console.print(table)
        console.print()
