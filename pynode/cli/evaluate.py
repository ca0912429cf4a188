"""`evaluate DIR`: trained flows under other schemes, step counts and tolerances than in training (RQ4)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.errors import InvalidArgument, OutputDirectoryError


def evaluate(
    directory: o.RunDirectory,
    schemes: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="Fixed-step schemes, separated by commas.", rich_help_panel=o.SCHEME),
    ] = "euler,heun,rk38",
    steps: Annotated[
        str,
        typer.Option(
            metavar="N,...",
            help="Numbers of steps per block of the flow, separated by commas.",
            rich_help_panel=o.SCHEME,
        ),
    ] = "1,2,3,4,6,8,10,12,16,24,32",
    tolerances: Annotated[
        str,
        typer.Option(
            metavar="TOL,...",
            help="Tolerances of the adaptive solver (rtol = atol), separated by commas, at most 1.",
            rich_help_panel=o.SCHEME,
        ),
    ] = "1e-1,1e-2,1e-3,1e-4,1e-5,1e-6,1e-7",
    bound: Annotated[
        float,
        typer.Option(
            help="A flow counts as invertible if going there and back moves no sample further than this, in units of "
            "the standardised data.",
            rich_help_panel=o.SCHEME,
        ),
    ] = 1e-3,
    samples: Annotated[
        int,
        typer.Option(min=2, max=10_000_000, metavar="N", help="Number of test samples to use.", rich_help_panel=o.WHAT),
    ] = 1000,
    threads: o.Threads = 1,
) -> None:
    """Measure likelihood and inverse error of trained flows under other schemes, step counts and tolerances (RQ4).

    Writes DIR/rediscretisation.jsonl, a table and a figure.

    Examples:

      evaluate results/8gaussians

      evaluate results/8gaussians --schemes rk4,rk38 --steps 2,5,10,20 --bound 1e-4
    """
    from pynode.cli.console import new_console

    names, counts = values.names("--schemes", schemes), values.counts("--steps", steps)
    tols = values.tolerances("--tolerances", tolerances)
    if not 0 < bound < float("inf"):
        raise InvalidArgument("--bound", bound, "not a positive number", "use e.g. 1e-3")

    import torch

    from pynode.cli.report import report
    from pynode.problems.density.base import Density
    from pynode.records.files import lines_if_any, write_lines
    from pynode.records.runs import RUNS, load_run
    from pynode.schemes import SCHEMES
    from pynode.studies.invertibility.record import RediscretisationRecord
    from pynode.studies.invertibility.rediscretisation import discretisations, rediscretise
    from pynode.studies.results import REDISCRETISED
    from pynode.training.restore import restore, runs_in

    torch.set_num_threads(threads)
    methods = discretisations([SCHEMES.load(name) for name in names], counts, tols)
    directory = directory.resolve()
    folders = [folder for folder in runs_in(directory) if load_run(folder).finished]
    alone = (directory / "config.json").exists()
    if alone and directory.parent.name != RUNS:
        raise InvalidArgument("DIR", directory, f"a run outside of a folder {RUNS}", "give a results directory")
    top = directory.parent.parent if alone else directory
    if not folders:
        raise InvalidArgument("DIR", directory, "no finished run there", "finish it with compare --resume")
    if not _is_density(folders[0]):
        raise InvalidArgument("DIR", directory, "no flow was trained there", "evaluate runs of a density problem")
    path, again = top / REDISCRETISED, {folder.name for folder in folders}
    earlier = lines_if_any(path, RediscretisationRecord)  # damage is told before the work
    _check_writable(top)
    console = new_console()
    records: list[RediscretisationRecord] = []
    with console.status("evaluating") as status:
        for folder in folders:
            config, problem, model = restore(folder)
            assert isinstance(problem, Density)
            for record in rediscretise(
                model,
                problem.test_samples()[:samples],
                methods,
                bound=bound,
                problem=config.problem,
                run=folder.name,
                trained_by=load_run(folder).method,
                seed=config.seed,
            ):
                records.append(record)
                status.update(f"evaluating {folder.name}: {record.scheme} {record.setting:g}")
    write_lines(path, [*(r for r in earlier if r.run not in again), *records])
    report(top, console, whole=True)


def _check_writable(directory: Path) -> None:
    """Raises `OutputDirectoryError` before the work where its result could not be written."""
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OutputDirectoryError(f"{directory} can't be written to; copy it to a directory of your own first")


def _is_density(folder: Path) -> bool:
    from pynode.problems import PROBLEMS
    from pynode.problems.density.base import Density
    from pynode.records.run_files import read_config

    return issubclass(PROBLEMS.load(read_config(folder)["problem"]), Density)
