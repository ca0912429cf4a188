"""`report DIR`: a results directory as one HTML page, from records alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import check_results, check_target
from pynode.errors import InvalidArgument, OutputDirectoryError, RecordError

ENDINGS = (".html", ".htm")


def report(
    directory: o.ResultsDirectory,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=values.path,
            metavar="FILE",
            help="File to write the page to. [dim]Default: report.html in DIR.[/dim]",
            show_default=False,
        ),
    ] = None,
    overwrite: o.Overwrite = False,
) -> None:
    """Write a results directory as one HTML page: findings, figures, tables, settings, versions, failures.

    The page holds everything itself and asks nothing of a network, so it can be sent as it is. Columns of tables are
    sorted by a click on their head. Where a part of the records is damaged, the page says so and shows the rest, and
    the exit status is 1.

    Examples:

      report results/spiral

      report results/suite --out suite.html
    """
    check_results(directory)
    if out is not None:
        _check_file(out)
        check_target(out, overwrite=overwrite)
    elif not os.access(directory, os.W_OK | os.X_OK):
        problem = f"{directory} can only be read; name a file of your own for the page, e.g. --out report.html"
        raise OutputDirectoryError(problem)

    from pynode.cli.console import new_console
    from pynode.records.files import write_atomically, write_new
    from pynode.studies.render import PAGE, draw, page_of, read_off
    from pynode.studies.results import load_intact

    console = new_console()
    results = load_intact(directory)
    rendered = read_off(results)
    with console.status("drawing figures"):
        draw(rendered)
        content = page_of(rendered)
    target = directory / PAGE if out is None else out
    (write_atomically if out is None or overwrite else write_new)(target, content)
    for finding in rendered.findings:
        console.say(finding)
    console.say(f"page with all of it: {target} ({len(content) / 1e3:,.0f} kB)")
    if results.damaged:
        raise RecordError(f"the page leaves out what is damaged: {'; '.join(results.damaged)}")


def _check_file(out: Path) -> None:
    """Raises an error where `out` can't be the name of a page, before anything is drawn."""
    if out.is_dir():
        raise InvalidArgument("--out", out, "a directory", "give a file, e.g. --out report.html")
    if out.suffix.lower() not in ENDINGS:
        raise InvalidArgument("--out", out, "does not end in .html", "give a file, e.g. --out report.html")
    if not out.parent.is_dir():
        raise OutputDirectoryError(f"--out {out}: {out.parent} is no directory; make it, or choose another one")
