"""`bench`: pynode's engines and other programs on the same work, side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.benchmarks.options import Device, Quick, limit_option
from pynode.cli import options as o
from pynode.cli import values
from pynode.errors import InvalidArgument, UnknownName

if TYPE_CHECKING:
    from experiments.benchmarks.suites import Choice


def bench(
    context: typer.Context,
    suite: Annotated[
        str,
        typer.Option(
            help="What to measure: cpu, gpu, scaling, memory or own-modules.", rich_help_panel=o.WHAT, metavar="NAME"
        ),
    ] = "cpu",
    peers: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Programs to measure, separated by commas: pynode-fused, pynode-eager, torchdiffeq, jax, diffrax, "
            "torchode, julia; for own-modules also pynode-auto and torch-compile, for gpu pynode-graph, "
            "pynode-graph-iteration and torch-reduce-overhead. [dim]Default: all that are installed; for scaling, "
            "pynode's two engines.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    cases: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Workloads, separated by commas: spiral, spiral-opt-disc, 8gaussians, miniboone; for gpu "
            "also bsds300; for own-modules, names of modules. [dim]Default: all.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    quick: Quick = False,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="CPU threads. [dim]Default: one for the spiral, two for flows.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            max=10_000,
            help="How often each program is measured. [dim]Default: 15.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    limit: Annotated[
        float | None,
        limit_option("For gpu: end after so many seconds. [dim]Default: 150; 40 with --quick.[/dim]", least=1),
    ] = None,
    device: Device = "cuda",
    out: o.Out = None,
    show: Annotated[
        Path | None,
        typer.Option(
            parser=values.path,
            metavar="DIR",
            help="Measure nothing: show the tables of an earlier bench again and redraw its figures.",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
) -> None:
    """Time pynode's engines and other programs on the same work, after checking that their results agree.

    Each program runs in its own process; the programs take turns. The exit status is 1 if one of them fails or computes
    something else.

    Examples:

      bench --quick --cases spiral

      bench --suite cpu --peers pynode-fused,jax,torchdiffeq

      bench --suite scaling
    """
    from experiments.benchmarks.figures import render
    from experiments.report import report
    from pynode.cli.console import new_console

    console = new_console()
    if show is not None:
        measured = ("suite", "peers", "cases", "quick", "threads", "repeats", "limit", "out")
        values.check_no_effect(context, "no effect with --show, which measures nothing", "drop one of them", *measured)
        report(show, console, render)
        return
    from experiments.benchmarks.entrants import ENTRANTS
    from experiments.benchmarks.records import ENVIRONMENT, FAILED, REFUSED
    from experiments.benchmarks.suites import SUITES, Choice

    _check_counts(threads, repeats)
    if limit is not None and suite != "gpu":
        raise InvalidArgument("--limit", limit, f"no effect on --suite {suite}", "drop it")
    kind = SUITES.load(suite)()
    who = _names("--peers", peers, Choice(ENTRANTS.kind, ENTRANTS.names()))
    which = _names("--cases", cases, kind.cases())

    from experiments.benchmarks.suites import Task
    from pynode.cli.output import output_directory
    from pynode.clock import load_average
    from pynode.records.files import write_json
    from pynode.training.machine import environment

    chosen = who or kind.entered
    names = ENTRANTS.names() if chosen is None else chosen
    entrants = tuple(ENTRANTS.load(name) for name in names)
    task = Task(entrants, which, threads, repeats, quick, Path(), lambda _: None, device, limit)
    kind.check(task)
    directory = output_directory(out, f"bench-{suite}{'-quick' if quick else ''}", resume=False)
    config = {
        "suite": suite,
        "peers": list(names),
        "cases": which,
        "threads": threads,
        "repeats": repeats,
        "quick": quick,
        **({"limit": limit, "device": device} if suite == "gpu" else {}),
    }
    write_json(directory / "config.json", config)
    write_json(directory / ENVIRONMENT, {**environment(), "load_average": load_average()})
    with console.status("starting") as status:
        entries = kind.run(replace(task, directory=directory, say=status.update))
    report(directory, console, render)
    if any(entry.status in (FAILED, REFUSED) for entry in entries):
        raise typer.Exit(1)


def _names(option: str, text: str | None, known: Choice) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(values.names(option, text))
    for name in names:
        if name not in known.names:
            raise UnknownName(known.kind, name, known.names)
    return names


def _check_counts(threads: int | None, repeats: int | None) -> None:
    for argument, value in (("--threads", threads), ("--repeats", repeats)):
        if value is not None and value < 1:
            raise InvalidArgument(argument, value, "not a positive number", "use 1 or more")
    if threads is not None and threads > values.thread_limit():
        raise InvalidArgument("--threads", threads, f"more than {values.thread_limit()}", "use fewer")
