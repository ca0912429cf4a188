"""`show DIR`: tables and figures again, from records alone."""

from __future__ import annotations

from pynode.cli import options as o


def show(directory: o.ResultsDirectory) -> None:
    """Print the tables of an earlier command again and redraw its figures, from its records.

    In a directory that can only be read, the tables are printed and nothing is written.

    Example:

      show results/spiral
    """
    from pynode.cli.console import new_console
    from pynode.cli.output import check_results

    check_results(directory)

    from pynode.cli.results import print_results

    print_results(directory, new_console(), whole=True, may_skip_files=True)
