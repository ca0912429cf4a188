"""`sweep`: a grid of runs over problems, methods, tolerances and seeds, each in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli.output import output_directory
from pynode.errors import InvalidArgument, OutputDirectoryError, RunFailure, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from pynode.sweeps.cells import Cell
    from pynode.sweeps.specification import Specification


def sweep(
    file: Annotated[
        Path | None, typer.Argument(help="TOML file with the axes of the grid.", show_default=False)
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="NAME=VALUE,...",
            help="An axis: problem, method, seed, an option of methods (rtol, steps, ...), of the run (iterations, "
            "learning_rate, ...), or set.NAME of problems. Wins over the file.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(help="local (child processes) or ray. [dim]Default: local.[/dim]", rich_help_panel=o.WHERE),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ray cluster. [dim]Default: one is started on this machine, for it alone.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Cells at once. [dim]Default: as fit.[/dim]", rich_help_panel=o.WHERE)
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(help="CPUs, and threads, of a cell. [dim]Default: 1.[/dim]", rich_help_panel=o.WHERE)
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(help="GPUs of a cell, or a share of one. [dim]Default: 1 on cuda.[/dim]", rich_help_panel=o.WHERE),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            help="How often a cell whose process died is begun again. [dim]Default: 2.[/dim]", rich_help_panel=o.WHERE
        ),
    ] = None,
    out: o.Out = None,
    resume: o.Resume = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would run.", rich_help_panel=o.WHERE)
    ] = False,
) -> None:
    """Train a grid of problems, methods, accuracies and seeds, as many cells at once as there is room for.

    Each cell is an ordinary run; finished ones are skipped with --resume, and a cell whose process died goes on from
    its checkpoint. An axis that a method does not have does not multiply that method's cells.

    Examples:

      sweep --grid problem=spiral,oscillator --grid rtol=1e-3,1e-6 --grid steps=1,2 --grid seed=0,1,2

      sweep experiments/sweeps/tolerances.toml --executor ray --out results/tolerances

      sweep --resume --out results/tolerances
    """
    from rich.console import Console

    from pynode.problems import PROBLEMS

    values = _values(file, grid, out, resume=resume)
    for name in values["problem"] if isinstance(values.get("problem"), list) else ():
        PROBLEMS.summary(str(name))  # an unknown one is told before the seconds that importing torch takes

    from pynode.sweeps.grid import make_cells
    from pynode.sweeps.specification import specify

    specification = specify(
        values, executor=executor, address=address, jobs=jobs, cpus=cpus, gpus=gpus, retries=retries
    )
    cells = make_cells(specification.axes, specification.needs)
    _check_earlier(specification, cells, out, resume=resume)
    console = Console()
    if dry_run:
        _tell(cells, out, console)
        return
    _run(specification, cells, out, console, resume=resume)


def _values(file: Path | None, grid: list[str] | None, out: Path | None, *, resume: bool) -> dict[str, Any]:
    """Axes and options of the file, of the sweep that is resumed, and of the command line, which wins."""
    from pynode.sweeps.layout import FILE, read_running, read_values
    from pynode.sweeps.specification import read_file, read_grid

    if resume and out is None:
        raise InvalidArgument("--resume", "", "of which sweep?", "name its directory with --out")
    if resume and out is not None and not (out / FILE).exists():
        raise OutputDirectoryError(f"--out {out}: holds no sweep that could be resumed; leave --resume out")
    if file is None and not grid:
        if resume and out is not None:
            return read_values(out)
        raise UsageError("no grid: give a TOML file, or --grid problem=spiral --grid seed=0,1,2")
    given = {**(read_file(file) if file is not None else {}), **read_grid(grid or [])}
    if not resume or out is None:
        return given
    earlier = read_running(out)
    if given.get("executor", earlier.get("executor")) != earlier.get("executor"):
        earlier = {}
    return {**earlier, **given}


def _check_earlier(specification: Specification, cells: list[Cell], out: Path | None, *, resume: bool) -> None:
    """Refuses another sweep than that which is to be resumed, before anything is written or started."""
    from pynode.sweeps.layout import check_resumes, check_runs

    if resume and out is not None:
        check_resumes(out, specification.axes, cells)
        check_runs(out, cells)


def _tell(cells: list[Cell], out: Path | None, console: Console) -> None:
    """What `--dry-run` prints."""
    from rich.table import Table

    from pynode.sweeps.cells import counted
    from pynode.sweeps.progress import is_finished

    table = Table(title=counted(len(cells)), title_justify="left")
    for column in ("cell", "iterations", "cpus", "gpus", "state"):
        table.add_column(column, justify="left" if column in ("cell", "state") else "right", overflow="fold")
    for cell in cells:
        done = out is not None and is_finished(cell, out)
        begun = out is not None and (cell.directory(out) / "config.json").exists()
        state = "finished" if done else "begun" if begun else "new"
        table.add_row(cell.name, str(cell.iterations), str(cell.cpus), f"{cell.gpus:g}", state)
    console.print(table)


def _run(specification: Specification, cells: list[Cell], out: Path | None, console: Console, *, resume: bool) -> None:
    from pynode.records.files import make_directory
    from pynode.records.lock import lock
    from pynode.sweeps.cells import counted
    from pynode.sweeps.driver import run_sweep
    from pynode.sweeps.errors import SweepInterrupted
    from pynode.sweeps.executors import EXECUTORS
    from pynode.sweeps.layout import write_sweep
    from pynode.sweeps.table import SweepTable, table

    kind = EXECUTORS.load(specification.executor)
    executor = kind(address=specification.address, jobs=specification.jobs, retries=specification.retries)
    if resume:
        told = ", ".join(f"{name} {value}" for name, value in specification.running.items())
        console.print(f"resumed: {told}", highlight=False, markup=False, soft_wrap=True)
    with executor:
        executor.check(cells)
        directory = make_directory(out) if resume and out is not None else output_directory(out, "sweep", resume=False)
        with lock(directory):
            write_sweep(directory, specification.axes, cells, specification.needs, specification.running)
            with SweepTable(console) as progress:
                statuses, signal_number = run_sweep(cells, directory, executor, progress.watch)
    console.print(table(statuses))
    if signal_number is not None:
        finished = sum(status.state in ("finished", "skipped") for status in statuses)
        raise SweepInterrupted(signal_number, finished, len(cells), directory)
    failures = [f"{status.cell.name}: {status.error}" for status in statuses if status.error is not None]
    _report(directory, list(dict.fromkeys(cell.problem for cell in cells)), failures, console)
    if failures:
        raise RunFailure(f"{len(failures)} of {counted(len(cells))} failed: {'; '.join(failures)}")


def _report(directory: Path, problems: list[str], failures: list[str], console: Console) -> None:
    """Tables and figures of each problem, then of all together, as a suite has them."""
    from pynode.cli.report import report
    from pynode.records.results import RUNS

    for problem in problems:
        if list((directory / problem / RUNS).glob("*/config.json")):
            console.rule(problem)
            mine = [failure for failure in failures if failure.startswith(f"{problem}/")]
            report(directory / problem, console, failures=mine, brief=True)
    if list(directory.glob(f"*/{RUNS}/*/config.json")):
        console.rule("sweep")
        report(directory, console, failures=failures)
