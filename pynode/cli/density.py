"""`density --data FILE`: trains flows on a table of your own by both methods, and says how to use them."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.compare import run_comparison
from pynode.cli.derived import Given, with_options
from pynode.cli.planning import problem_options, split_setting
from pynode.errors import InvalidArgument
from pynode.names import in_one_text
from pynode.training.plan import plan
from pynode.wording import COMMAND, counted

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.problems.density.user_tables import UserTable
    from pynode.records.runs import Run

PROBLEM = "table"

LISTS = ("drop", "dequantise", "condition", "classes")
"""Options that name columns."""

PLAIN = ("missing", "header", "decimal", "index")
"""Other options of the problem that the command has itself."""


@with_options()
def density(
    data: Annotated[
        Path,
        typer.Option(
            parser=values.path,
            metavar="FILE",
            help="The table: text with any delimiter, Parquet, .npy or .npz, whatever its name ends in.",
            rich_help_panel=o.COLUMNS,
            show_default=False,
        ),
    ],
    given: Given,
    condition: Annotated[
        list[str] | None,
        o.column(
            "--condition",
            text="Condition the density on these columns: words are taken as classes, numbers as they are.",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        o.column("--classes", text="Columns of the condition whose numbers name classes (1 setosa, 2 ...)."),
    ] = None,
    drop: Annotated[list[str] | None, o.column("--drop", text="Leave out these columns.")] = None,
    dequantise: Annotated[
        list[str] | None,
        o.column(
            "--dequantise",
            text="Fill the steps of these columns (integers, rounded values) with uniform noise; samples are rounded "
            "back. auto: all that would be refused without it, beside those named.",
            metavar="COLUMN,...|auto",
        ),
    ] = None,
    missing: o.Missing = None,
    header: o.Header = None,
    decimal: o.Decimal = None,
    index: Annotated[
        str | None,
        typer.Option(
            metavar="drop|keep",
            help="What to do with a column that numbers rows. [dim]Default: left out where its name says so.[/dim]",
            rich_help_panel=o.COLUMNS,
            callback=values.choice("--index", "drop", "keep"),
        ),
    ] = None,
    methods: o.Methods = o.COMPARED,
    seeds: o.Seeds = "0",
    settings: o.Set = None,
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
    checks: Annotated[
        bool,
        typer.Option(help="Also run Taylor tests and measure the errors of the gradients.", rich_help_panel=o.WHAT),
    ] = False,
    explain: o.Explain = False,
    config: o.Config = None,
) -> None:
    """Train a continuous normalizing flow on a table of your own, by both methods, and compare them.

    The format, header, delimiter and decimal mark are seen from the file; what is taken is said. Ends with the
    log-likelihood in the units of the file, the cost of each method, and the commands that score new rows and sample.

    Examples:

      density --data measurements.csv --out results/mine

      density --data trees.csv --condition kind --missing drop

      density --data survey.parquet --drop id,name --dequantise age
    """
    chosen = _problem_options(data, settings, locals())
    listed, numbers = values.names("--methods", methods), values.numbers("--seeds", seeds, int)
    plan(PROBLEM, listed, numbers, given.methods, problem_options=chosen, **given.settings)
    problem = _problem(chosen)
    say_table(problem, data)
    run_comparison(
        PROBLEM,
        given,
        problem_options=chosen,
        methods=listed,
        seeds=numbers,
        threads=threads,
        out=out,
        resume=resume,
        checks=checks,
        explain=explain,
        brief=True,
        then=lambda drawn: say_results(drawn.results.directory, problem, data),
    )


def _problem_options(data: Path, settings: list[str] | None, given: dict[str, Any]) -> dict[str, Any]:
    """The options of the problem: of --set, and of the command itself."""
    own: dict[str, Any] = {name: given[name] for name in PLAIN if given[name] is not None}

    def columns() -> tuple[str, ...]:
        from pynode.datasets.heads import column_names

        return column_names(data, given["header"])

    own |= {name: values.names_in(f"--{name}", given[name], columns) for name in LISTS if given[name] is not None}
    if twice := [text for text in settings or [] if split_setting(text)[0] in own]:
        raise InvalidArgument("--set", repr(twice[0]), "the option of this name is given as well", "give it once")
    if not data.is_file():
        what = "a directory" if data.is_dir() else "not a file"
        raise InvalidArgument("--data", data, what, "give the path of a table, such as a .csv, .parquet or .npy file")
    return {**problem_options(PROBLEM, settings, data), **own}


def _problem(chosen: dict[str, Any]) -> UserTable:
    from pynode.problems.base import options_from_json
    from pynode.problems.density.user_tables import AnyTable

    problem = AnyTable(options=options_from_json(AnyTable, chosen))
    problem.check()
    return problem


def say_table(problem: UserTable, data: Path, console: PlainConsole | None = None) -> None:
    """Says what was taken from the file `data`: rows, columns, classes of the condition."""
    from pynode.cli.console import new_console

    splits, console = problem.splits, console or new_console()
    names = [splits.columns.name(c) for c in range(problem.dim)] if splits.columns is not None else []
    listed = ", ".join(in_one_text([name]) for name in names[:12]) + (
        f" and {len(names) - 12} more" if len(names) > 12 else ""
    )
    rows = len(splits.train), len(splits.validation), len(splits.test)
    if not any(splits.names):
        listed = f"columns {listed}"
    console.say(f"{data}: {sum(rows):,} rows, {counted(problem.dim, 'value')} in each: {listed}")
    if splits.conditions is not None:
        console.say(f"given {splits.conditions.described}")
    console.say(f"{rows[0]:,} rows for training, {rows[1]:,} for validation, {rows[2]:,} for the test")


def say_results(directory: Path, problem: UserTable, data: Path) -> None:
    """Prints likelihood in the units of the file and cost by method, and the commands that use the flows."""
    from pynode.cli.console import new_console
    from pynode.problems.density.user_tables import OF_CLASS
    from pynode.studies.base import Table, number, over_seeds
    from pynode.studies.losses import against_normal, still_falling
    from pynode.studies.render import PAGE
    from pynode.studies.results import load_results

    console, groups = new_console(), load_results(directory).groups()
    if not groups:
        return
    wanted = [
        (f"NLL of {len(problem.splits.test):,} test rows, units of the file", "test_nll_raw", 4),
        ("training (s)", "training_seconds", 3),
        ("iterations", "iterations", 5),
        ("field evaluations per iteration", "evaluations", 3),
    ]
    for word in problem.splits.conditions.classes if problem.splits.conditions is not None else ():
        wanted.insert(-3, (f"  of them {word}", f"{OF_CLASS}{word}", 4))
    wanted.insert(-3, ("NLL of these by a normal distribution", "test_nll_normal", 4))
    each = {key: [over_seeds(runs, partial(_value, key)) for runs in groups.values()] for _, key, _ in wanted}
    rows = [
        [title, *(number(value, n) for value in each[key])]
        for title, key, n in wanted
        if each[key] != [None] * len(groups)
    ]
    several = len({run.seed for runs in groups.values() for run in runs})
    note = f"{NOTE}; {f'medians over {several} seeds' if several > 1 else 'one seed'}"
    console.print(Table(f"Density of {data.name}", ["", *groups], rows, [note]))
    loads = [load for runs in groups.values() for run in runs if (load := _value("load_average", run)) is not None]
    if loads and max(loads) > (cores := os.cpu_count() or 1) + 0.5:
        told = f"a load of up to {max(loads):.1f} on {counted(cores, 'core')}"
        console.say(f"other programs ran beside the training ({told}): times do not compare, evaluations do")
    if (beside := against_normal(groups)) is not None:
        console.say(beside)
    if falling := still_falling(groups):
        config = groups[falling[0]][0].config
        n, half = config["iterations"], config["rate_half_life"]
        more = f"--iterations {2 * n}" + (f" --rate-half-life {2 * half}" if half else "")
        told = f"the loss of {' and '.join(falling)} was still falling after {n:,} iterations"
        console.say(f"{told}: longer training may do better ({more})")
    here = shlex.quote(str(directory))
    console.say("log-likelihood of new rows, and new rows from the flow:")
    console.say(f"  {COMMAND} score {here} --data {shlex.quote(str(data))} --out scores.csv")
    conditions, given = problem.splits.conditions, ""
    if conditions is not None:
        context = problem.splits.contexts["train"][:1]
        pairs = zip(conditions.keys, conditions.decode(context), strict=True)
        given = "".join(f" --condition {shlex.quote(f'{key}={cells[0]}')}" for key, cells in pairs)
    console.say(f"  {COMMAND} sample {here} --number 1000{given} --out new.csv")
    console.say(f"all tables and figures: {directory / PAGE}")


def _value(key: str, run: Run) -> float | None:
    return (run.summary or {}).get(key)


NOTE = "negative log-likelihood in nats, by an accurate solve with the exact trace"
