"""`gpu`: runs `pytest -m gpu` and `bench --suite gpu` within a time limit, and writes the results into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.benchmarks.options import Device, Quick, check_gpu, limit_option
from pynode.cli import options as o
from pynode.cli import values

SECONDS, QUICK_SECONDS = 290.0, 60.0
"""Time limits, the second with --quick."""


def gpu(
    out: Annotated[
        Path,
        typer.Option(parser=values.path, metavar="DIR", help="Folder of the results.", rich_help_panel=o.WHERE),
    ],
    quick: Quick = False,
    limit: Annotated[
        float | None,
        limit_option("End after so many seconds. [dim]Default: 290; 60 with --quick.[/dim]", least=10),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="The commit of these sources, to be recorded where the git history is not at hand.",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=64, metavar="N", help="Processes that run tests at the same time.", rich_help_panel=o.WHERE
        ),
    ] = 4,
    only: Annotated[
        str, typer.Option(metavar="tests|bench|all", help="Run one of the two parts.", rich_help_panel=o.WHAT)
    ] = "all",
    device: Device = "cuda",
) -> None:
    """Run the tests and the benchmark that need a GPU, in five minutes at most.

    pynode need not be installed. What it needs, and pytest, pytest-xdist and pytest-timeout for the tests, must be;
    JAX is measured where it is installed. Results are written as soon as they are known, so that they are there even
    where the command is killed: summary.json, tests.log, tests.xml, bench.log, tables.md, seconds.png and
    records.tar.gz, which holds the records of the benchmark. The exit status is 1 if a test or an entrant fails.

    Examples:

      gpu --out results/gpu

      gpu --out results/gpu-first --quick
    """
    from experiments.gpu.session import BOTH, PARTS, Plan, Session
    from experiments.packages import TESTS, lack_of
    from pynode.cli.output import output_directory
    from pynode.errors import InvalidArgument, UsageError

    if only not in (*PARTS, BOTH):
        raise InvalidArgument("--only", only, "unknown", f"use {', '.join(PARTS)} or {BOTH}")
    check_gpu("gpu", device)
    if only != "bench" and (lack := lack_of(TESTS, "gpu")) is not None:
        raise UsageError(f"{lack}; or leave the tests out by --only bench")
    seconds = limit or (QUICK_SECONDS if quick else SECONDS)
    directory = output_directory(out, "gpu", resume=False)
    if not Session(directory, Plan(seconds, quick, only, device, workers, commit)).run():
        raise typer.Exit(1)
