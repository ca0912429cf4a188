"""`suite`: every problem that has its data, by both methods, in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import output_directory
from pynode.errors import RunFailure, Stopped, StorageError, UsageError

if TYPE_CHECKING:
    from pynode.problems.base import Problem


def suite(
    problems: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Problems, separated by commas. [dim]Default: all whose data are here.[/dim]",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    methods: o.Methods = "disc-opt,opt-disc",
    seeds: o.Seeds = "0",
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Train a small version of each problem: minutes instead of days.", rich_help_panel=o.WHAT
        ),
    ] = False,
    iterations: o.Iterations = None,
    engine: o.EngineName = None,
    backend: o.Backend = "torch",
    device: o.Device = "cpu",
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
    on_failure: o.OnFailure = None,
    config: o.Config = None,
) -> None:
    """Train all problems by both methods, each in its own folder, and compare what Disc-Opt saves (RQ3).

    Problems whose data are missing are skipped, with the reason.

    Examples:

      suite --quick

      suite --problems spiral,8gaussians,digits,miniboone --seeds 0,1,2
    """
    from pynode.cli.compare import run_comparison
    from pynode.cli.console import new_console
    from pynode.cli.planning import on_backend, plan
    from pynode.cli.report import report
    from pynode.datasets.errors import DataMissing, PackageMissing, TableMissing
    from pynode.problems import PROBLEMS

    chosen = values.names("--problems", problems) if problems is not None else list(PROBLEMS.names())
    kinds = {name: PROBLEMS.load(name) for name in chosen}
    listed, wanted = on_backend(values.names("--methods", methods), backend), values.numbers("--seeds", seeds, int)
    options = values.given(engine=engine)
    ready: dict[str, dict[str, Any]] = {}
    console = new_console()
    for name, kind in kinds.items():
        settings = _settings(kind, quick, iterations) | {"device": device, "on_failure": on_failure}
        try:
            plan(name, listed, wanted, options, **settings)
        except (DataMissing, PackageMissing, TableMissing) as error:
            console.say(f"skipped {name}: {error}")
            continue
        ready[name] = settings
    if not ready:
        raise UsageError("no problem has its data; see the reasons above, or run: data fetch all")
    directory = output_directory(out, "suite-quick" if quick else "suite", resume=resume)
    failures = []
    for name, settings in ready.items():
        console.rule(name)
        try:
            run_comparison(
                name,
                methods=",".join(listed),
                seeds=seeds,
                method_options=options,
                out=directory / name,
                resume=resume,
                checks=False,
                threads=threads,
                console=console,
                brief=True,
                **settings,
            )
        except (Stopped, StorageError):
            raise
        except (RunFailure, UsageError) as error:
            failures.append(f"{name}: {error}")
            console.say(f"failed {name}: {error}")
    console.rule("suite")
    report(directory, console, failures=failures)
    if failures:
        raise RunFailure(f"{len(failures)} of {len(ready)} problems failed: {'; '.join(failures)}")


def _settings(kind: type[Problem], quick: bool, iterations: int | None) -> dict[str, Any]:
    """Iterations and options: the problem's own, or those of its small version."""
    if not quick:
        return {"iterations": iterations}
    options = dict(kind.quick)
    usual = options.pop("iterations")
    return {
        "iterations": usual if iterations is None else iterations,
        "validate_every": options.pop("validate_every"),
        "problem_options": options,
    }
