"""`spiral-differences`: the spiral of the study with one thing changed at a time, beside the authors' pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.errors import InvalidArgument, OutputDirectoryError, UnknownName

MOST_ITERATIONS = 10_000


def spiral_differences(
    context: typer.Context,
    seeds: Annotated[
        str, typer.Option("--seeds", "--seed", metavar="N,...", help="Seeds of weights.", rich_help_panel=o.WHAT)
    ] = ",".join(map(str, range(20))),
    variants: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Variants to run; all by default.", rich_help_panel=o.WHAT),
    ] = None,
    iterations: Annotated[int, typer.Option(metavar="N", help="Iterations of each run.", rich_help_panel=o.WHAT)] = 300,
    out: o.Out = None,
    resume: o.Resume = False,
    show: Annotated[
        Path | None,
        typer.Option(
            parser=values.path,
            metavar="DIR",
            help="Run nothing: show the tables of an earlier run again and redraw its figures.",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
) -> None:
    """Train the spiral by both methods with one thing changed at a time, beside the authors' published losses.

    One process runs all variants, seed by seed, in about 10 minutes; interrupted, it goes on with --resume --out DIR.

    Examples:

      spiral-differences --out results/differences

      spiral-differences --seeds 0,1 --variants faithful,as-authors

      spiral-differences --show results/differences
    """
    from experiments.report import report
    from experiments.study.spiral_differences.report import render
    from pynode.cli.console import new_console

    console = new_console()
    if show is not None:
        computed = ("seeds", "variants", "iterations", "out", "resume")
        values.check_no_effect(context, "no effect with --show, which runs nothing", "drop one of them", *computed)
        report(show, console, render)
        return

    from experiments.study.spiral_differences.campaign import begin, run_missing
    from experiments.study.spiral_differences.variants import VARIANTS

    names = list(VARIANTS) if variants is None else values.names("--variants", variants)
    for name in names:
        if name not in VARIANTS:
            raise UnknownName("variant", name, list(VARIANTS))
    numbers = sorted(set(values.numbers("--seeds", seeds, int)))
    for seed in numbers:
        if not 0 <= seed <= values.LARGEST_SEED:
            raise InvalidArgument("--seeds", seed, "not a seed", f"use 0 to {values.LARGEST_SEED}")
    if not 1 <= iterations <= MOST_ITERATIONS:
        raise InvalidArgument("--iterations", iterations, f"not a number from 1 to {MOST_ITERATIONS}", "use e.g. 300")
    if resume and out is None:
        raise OutputDirectoryError("--resume: no directory; name the one to go on with by --out")
    directory = begin({"variants": names, "seeds": numbers, "iterations": iterations}, out, resume=resume)
    with console.status("starting") as status:
        run_missing(directory, status.update)
    report(directory, console, render)
