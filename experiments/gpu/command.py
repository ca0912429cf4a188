"""`gpu`: runs `pytest -m gpu` and `bench --suite gpu` within a time limit, and leaves a handful of files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values


def gpu(
    out: Annotated[
        Path,
        typer.Option(parser=values.path, metavar="DIR", help="Folder of the results.", rich_help_panel=o.WHERE),
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look of one minute: small sizes.", rich_help_panel=o.WHAT)
    ] = False,
    limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=10,
            help="Seconds after which all is over. [dim]Default: 290; 60 with --quick.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="The commit of these sources, where these lie without their history.",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Tests at a time.", rich_help_panel=o.WHERE)
    ] = 4,
    only: Annotated[str, typer.Option(metavar="tests|bench|all", help="One part.", rich_help_panel=o.WHAT)] = "all",
    device: Annotated[str, typer.Option(hidden=True)] = "cuda",
) -> None:
    """Run the tests and the benchmark that need a GPU, in five minutes at most.

    Works from the source tree, with the packages of a machine that has torch, JAX, pytest and pytest-xdist. What is
    finished is in the folder, even where the command is killed: summary.json, tests.log, tests.xml, bench.log,
    tables.md, figures and records.tar.gz, which holds the records of the benchmark. The exit status is 1 if a test or
    an entrant fails.

    Examples:

      gpu --out results/gpu

      gpu --out results/gpu-first --quick
    """
    from experiments.gpu.session import Plan, Session
    from pynode.cli.output import output_directory
    from pynode.errors import InvalidArgument

    if only not in ("all", "tests", "bench"):
        raise InvalidArgument("--only", only, "unknown", "use tests, bench or all")
    seconds = limit or (60.0 if quick else 290.0)
    directory = output_directory(out, "gpu", resume=False)
    if not Session(directory, Plan(seconds, quick, only, device, workers, commit)).run():
        raise typer.Exit(1)
