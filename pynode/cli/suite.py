"""`suite`: every problem that has its data, by both methods, in one table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.as_typed import as_typed
from pynode.cli.derived import Given, with_options
from pynode.cli.output import output_directory
from pynode.cli.planning import options_of_each
from pynode.errors import RunFailure, Stopped, StorageError, UsageError
from pynode.problems import PROBLEMS
from pynode.settings.known import check_options, on_backend, run_settings
from pynode.training.plan import plan
from pynode.wording import counted

if TYPE_CHECKING:
    from pynode.problems.base import Problem
    from pynode.studies.render import RenderedResults


@with_options()
def suite(
    given: Given,
    problems: Annotated[
        str | None,
        typer.Option(
            "--problems",
            "--problem",
            metavar="NAME,...",
            help="Problems, separated by commas. [dim]Default: all whose data are here.[/dim]",
            rich_help_panel=o.WHAT,
            callback=values.members(PROBLEMS),
        ),
    ] = None,
    methods: o.Methods = o.COMPARED,
    seeds: o.Seeds = "0",
    settings: o.Set = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Train a small version of each problem: minutes instead of days.", rich_help_panel=o.WHAT
        ),
    ] = False,
    backend: o.Backend = "torch",
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
    config: o.Config = None,
) -> None:
    """Train all problems by both methods, each in its own folder, and compare what Disc-Opt saves (RQ3).

    Problems whose data are missing are skipped, with the reason.

    Examples:

      suite --quick

      suite --problems spiral,8gaussians,digits,miniboone --seeds 0,1,2
    """
    listed = on_backend(values.names("--methods", methods), backend)
    wanted = values.numbers("--seeds", seeds, int)
    chosen = values.names("--problems", problems) if problems is not None else list(PROBLEMS.names())
    options = options_of_each(chosen, settings)
    check_options(listed, given.methods)

    from pynode.cli.compare import run_comparison
    from pynode.cli.console import new_console
    from pynode.cli.results import print_results
    from pynode.datasets.errors import DataMissing, PackageMissing, TableMissing

    ready: dict[str, tuple[Given, dict[str, Any]]] = {}
    console = new_console()
    for name in chosen:
        usual = _small(PROBLEMS.load(name)) if quick else ({}, {})
        mine, posed = replace(given, settings=usual[0] | dict(given.settings)), usual[1] | options[name]
        try:
            plan(name, listed, wanted, given.methods, problem_options=posed, **mine.settings)
        except (DataMissing, PackageMissing, TableMissing) as error:
            console.say(f"skipped {name}: {as_typed(str(error), 'suite')}")
            continue
        ready[name] = mine, posed
    if not ready:
        raise UsageError("no problem has its data; see the reasons above, or run: data fetch all")
    directory = output_directory(out, "suite-quick" if quick else "suite", resume=resume)
    failures: list[str] = []
    drawn: dict[str, RenderedResults] = {}
    for name, (mine, posed) in ready.items():
        console.rule(name)
        try:
            part = run_comparison(
                name,
                mine,
                problem_options=posed,
                methods=listed,
                seeds=wanted,
                out=directory / name,
                resume=resume,
                checks=False,
                threads=threads,
                console=console,
                brief=True,
            )
            drawn |= {name: part} if part is not None else {}
        except (Stopped, StorageError):
            raise
        except (RunFailure, UsageError) as error:
            failures.append(f"{name}: {error}")
            console.say(f"failed {name}: {as_typed(str(error), 'suite')}")
    console.rule("suite")
    print_results(directory, console, failures=failures, parts=drawn)
    if failures:
        raise RunFailure(f"{len(failures)} of {counted(len(ready), 'problem')} failed: {'; '.join(failures)}")


def _small(kind: type[Problem]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the run and options of the problem for its small version."""
    small = dict(kind.quick)
    return {name: small.pop(name) for name in run_settings() if name in small}, small
