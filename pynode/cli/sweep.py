"""`sweep`: a grid of runs over problems, methods, tolerances and seeds, each in its own process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.derived import Given, flag, with_options
from pynode.cli.output import output_directory
from pynode.cli.planning import options_of_each, split_setting
from pynode.errors import InvalidArgument, OutputDirectoryError, RunFailure, UsageError
from pynode.settings.values import shown
from pynode.sweeps.axes import DATA
from pynode.sweeps.specification import Specification, read_file, read_grid, specify
from pynode.wording import counted

DATA_AXIS = f"set.{DATA}"
"""The axis of a user's files."""

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.sweeps.cells import Cell


@with_options()
def sweep(
    given: Given,
    file: Annotated[
        Path | None,
        typer.Argument(
            parser=values.path, metavar="[FILE]", help="TOML file with the axes of the grid.", show_default=False
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="NAME=VALUE,...",
            help="An axis of the grid and its values: problem, method, seed, an option of methods (rtol, steps, ...), "
            "of the run (iterations, learning_rate, ...), or set.NAME for an option of the problem. Can be repeated; "
            "takes precedence over the file. An option below has one value for all cells.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    settings: o.Set = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who runs the cells: local (child processes of this one) or ray. [dim]Default: local.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of the Ray cluster, for --executor ray. [dim]Default: a cluster is started on this machine, "
            "for this command alone.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Cells that run at the same time, at most. [dim]Default: as many as CPUs and GPUs allow.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="CPUs of a cell, and its threads. [dim]Default: 1.[/dim]", rich_help_panel=o.WHERE
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="GPUs of a cell: 0, 1, or a share such as 0.5. [dim]Default: 1 on cuda, else 0.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How often a cell is started again after its process died. [dim]Default: 2.[/dim]",
            rich_help_panel=o.WHERE,
        ),
    ] = None,
    out: o.Out = None,
    resume: o.Resume = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells, and run nothing.", rich_help_panel=o.WHERE)
    ] = False,
) -> None:
    """Train a grid of problems, methods, accuracies and seeds, several cells at the same time.

    Each cell is an ordinary run in its own process. With --resume finished cells are skipped; a cell whose process died
    continues from its checkpoint. An axis that a method does not have does not multiply that method's cells.

    Examples:

      sweep --grid problem=spiral,oscillator --grid rtol=1e-3,1e-6 --grid steps=1,2 --grid seed=0,1,2

      sweep experiments/sweeps/tolerances.toml --executor ray --out results/tolerances

      sweep --resume --out results/tolerances
    """
    axes = _values(file, grid, _single(given), settings, out, resume=resume)
    running = {"executor": executor, "address": address, "jobs": jobs, "cpus": cpus, "gpus": gpus, "retries": retries}
    specification = specify(axes, **running)

    from pynode.cli.console import new_console
    from pynode.sweeps.grid import make_cells

    cells = make_cells(specification.axes, specification.needs)
    if resume and out is not None:
        from pynode.sweeps.layout import with_earlier_names

        cells = with_earlier_names(out, cells)
    _check_earlier(specification, cells, out, resume=resume)
    console = new_console()
    if dry_run:
        _tell(cells, out, console)
        return
    _run(specification, cells, out, console, resume=resume)


def _single(given: Given) -> dict[str, Any]:
    """Options with one value for all cells, as axes; a list is one value."""
    options = {**given.methods, **given.settings}
    return {name: [list(value)] if isinstance(value, tuple) else value for name, value in options.items()}


def _values(
    file: Path | None,
    grid: list[str] | None,
    single: dict[str, Any],
    settings: list[str] | None,
    out: Path | None,
    *,
    resume: bool,
) -> dict[str, Any]:
    """Axes and options of the file, of the sweep that is resumed, and of the command line, which wins."""
    if resume and out is None:
        raise InvalidArgument("--resume", "", "of which sweep?", "name its directory with --out")
    earlier: dict[str, Any] = {}
    if resume and out is not None:
        from pynode.sweeps.layout import FILE, read_running, read_values  # with torch

        if not (out / FILE).exists():
            raise OutputDirectoryError(f"--out {out}: holds no sweep that could be resumed; leave --resume out")
        axes, moved = read_grid(grid or []), _moved(settings)
        if file is None and not single and len(moved) == len(settings or []) and set(axes) <= {DATA_AXIS}:
            return {**read_values(out), **axes, **moved} if axes or moved else _with_files(read_values(out), out)
        earlier = read_running(out)
    if file is None and not grid:
        raise UsageError("no grid: give a TOML file, or --grid problem=spiral --grid seed=0,1,2")
    axes = read_grid(grid or [])
    if twice := next((name for name in single if name in axes), None):
        raise InvalidArgument(
            f"--grid {twice}", shown(axes[twice]), f"{flag(twice)} is given as well", "give one of them"
        )
    given = {**(read_file(file) if file is not None else {}), **axes, **single}
    if settings:
        problems = given.get("problem", [])
        each = options_of_each([problems] if isinstance(problems, str) else problems, settings)
        given |= _single(Given({f"set.{name}": v for options in each.values() for name, v in options.items()}))
    if given.get("executor", earlier.get("executor")) != earlier.get("executor"):
        earlier = {}
    return {**earlier, **given}


def _moved(settings: list[str] | None) -> dict[str, Any]:
    """The new place of the data, of `--set data=FILE`, as an axis; empty where other options are set."""
    files = [value for name, value in map(split_setting, settings or []) if name == DATA]
    return {DATA_AXIS: files} if files else {}


def _with_files(values: dict[str, Any], out: Path) -> dict[str, Any]:
    """The values of a sweep that is resumed; raises `UsageError` where a file has gone that it is over."""
    files = values.get(DATA_AXIS, [])
    for file in files:
        if not Path(file).is_file():
            new = "--set data=FILE" if len(files) == 1 else f"--grid {DATA_AXIS}=FILE,..."
            raise UsageError(
                f"{file}, which the sweep in {out} was trained on, is not there any more; put it back, or name its new "
                f"place: --resume --out {out} {new}"
            )
    return values


def _check_earlier(specification: Specification, cells: list[Cell], out: Path | None, *, resume: bool) -> None:
    """Refuses another sweep than that which is to be resumed, before anything is written or started."""
    from pynode.sweeps.layout import check_resumes, check_runs

    if resume and out is not None:
        check_resumes(out, specification.axes, cells)
        check_runs(out, cells)


def _tell(cells: list[Cell], out: Path | None, console: PlainConsole) -> None:
    """What `--dry-run` prints."""
    from rich.table import Table

    from pynode.sweeps.progress import is_finished

    table = Table(title=counted(len(cells), "cell"), title_justify="left")
    for column in ("cell", "iterations", "cpus", "gpus", "state"):
        table.add_column(column, justify="left" if column in ("cell", "state") else "right", overflow="fold")
    for cell in cells:
        done = out is not None and is_finished(cell, out)
        begun = out is not None and (cell.directory(out) / "config.json").exists()
        state = "finished" if done else "begun" if begun else "new"
        table.add_row(cell.name, str(cell.iterations), str(cell.cpus), f"{cell.gpus:g}", state)
    console.print(table)


def _run(
    specification: Specification, cells: list[Cell], out: Path | None, console: PlainConsole, *, resume: bool
) -> None:
    from pynode.records.files import make_directory
    from pynode.records.lock import lock
    from pynode.sweeps.cells import SweepInterrupted
    from pynode.sweeps.driver import run_sweep
    from pynode.sweeps.executors import EXECUTORS
    from pynode.sweeps.layout import write_sweep
    from pynode.sweeps.table import SweepTable, table

    kind = EXECUTORS.load(specification.executor)
    executor = kind(address=specification.address, jobs=specification.jobs, retries=specification.retries)
    if resume:
        told = ", ".join(f"{name} {value}" for name, value in specification.running.items())
        console.say(f"resumed: {told}")
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
        raise RunFailure(f"{len(failures)} of {counted(len(cells), 'cell')} failed: {'; '.join(failures)}")


def _report(directory: Path, problems: list[str], failures: list[str], console: PlainConsole) -> None:
    """Tables and figures of each problem, then of all together, as a suite has them."""
    from pynode.cli.results import print_results
    from pynode.records.runs import RUNS

    drawn = {}
    for problem in problems:
        if list((directory / problem / RUNS).glob("*/config.json")):
            console.rule(problem)
            mine = [failure for failure in failures if failure.startswith(f"{problem}/")]
            drawn[problem] = print_results(directory / problem, console, failures=mine, brief=True)
    if list(directory.glob(f"*/{RUNS}/*/config.json")):
        console.rule("sweep")
        print_results(directory, console, failures=failures, parts=drawn)
