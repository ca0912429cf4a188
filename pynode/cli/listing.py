"""`list`: everything that has a name, with a line each."""

from __future__ import annotations


def list_members() -> None:
    """List problems, fields, schemes, gradient methods and studies, with a line each."""
    from rich.console import Console
    from rich.table import Table

    from pynode.fields import FIELDS
    from pynode.gradients import METHODS
    from pynode.problems import PROBLEMS
    from pynode.schemes import SCHEMES
    from pynode.studies import STUDIES

    console = Console()
    for registry in (PROBLEMS, METHODS, FIELDS, SCHEMES, STUDIES):
        plural = {"study": "studies"}.get(registry.kind, f"{registry.kind}s")
        table = Table(title=plural, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for name in registry.names():
            table.add_row(name, registry.summary(name))
        console.print(table)
        console.print()
