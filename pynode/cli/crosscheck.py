"""`crosscheck [PROBLEM]`: compares the gradients of all methods and backends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import note_environment, output_directory
from pynode.cli.planning import problem_options
from pynode.errors import InvalidArgument, RunFailure
from pynode.fields import FIELDS
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.schemes import SCHEMES
from pynode.settings.known import compared
from pynode.training.plan import plan

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.methods.base import GradientMethod
    from pynode.studies.crosscheck.record import CrosscheckRecord
    from pynode.studies.crosscheck.subjects import Subject


def crosscheck(
    context: typer.Context,
    problem: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROBLEM]",
            help="Name of a problem, or FILE.py:NAME of your own. [dim]Default: small examples of every field.[/dim]",
            show_default=False,
            callback=values.members(PROBLEMS),
        ),
    ] = None,
    case: Annotated[
        Path | None,
        typer.Option(
            parser=values.path,
            metavar="FILE",
            help="Check the case in this file instead, and compare with the values recorded in it.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Examples to check, separated by commas: architectures, cnf-exact, cnf-hutchinson. "
            "[dim]Default: all.[/dim]",
            rich_help_panel=o.WHAT,
            callback=values.members(FIELDS),
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Gradient methods, separated by commas. [dim]Default: all.[/dim]",
            rich_help_panel=o.WHAT,
            callback=values.members(METHODS),
        ),
    ] = None,
    tolerances: o.Tolerances = "1e-5,1e-8",
    steps: o.StepCounts = "1,4",
    schemes: o.Schemes = "euler,rk4",
    at: o.At = None,
    seed: o.Seed = 0,
    settings: o.Set = None,
    data: o.Data = None,
    cases: Annotated[
        bool,
        typer.Option(
            "--cases", help="Write cases for a Julia REPL also where no bound is broken.", rich_help_panel=o.WHERE
        ),
    ] = False,
    threads: o.Threads = 1,
    out: o.Out = None,
    config: o.Config = None,
) -> None:
    """Compare the loss and its gradients (by the weights and by y0) of all methods and backends pairwise.

    Each difference is judged by a bound. Where one is broken, the exit status is 1 and the case is written to a file
    that a Julia REPL can open; --cases writes it anyway. The case of a module of your own holds the tape that it was
    captured as; of one that can't be captured there is none, and the reason is printed.

    Examples:

      crosscheck

      crosscheck spiral --tolerances 1e-4,1e-7

      crosscheck my_problem.py:MyProblem

      crosscheck --case results/crosscheck/cases/mlp.json
    """
    _check_choice(problem, case, fields, at)
    if case is not None:
        values.check_no_effect(context, "no effect with --case, which holds its own weights", "drop it", "seed")
    tols, counts = values.tolerances("--tolerances", tolerances), values.counts("--steps", steps)
    chosen = values.names("--methods", methods) if methods is not None else list(METHODS.names())
    listed = values.names("--schemes", schemes)
    for method in chosen:
        METHODS.check(method)
    for scheme in listed:
        SCHEMES.check(scheme)

    import torch

    from pynode.cli.console import new_console
    from pynode.cli.results import print_results
    from pynode.records.files import write_lines
    from pynode.studies.crosscheck.methods import method_grid, not_available, unavailable
    from pynode.studies.crosscheck.study import broken_bounds
    from pynode.studies.results import CROSSCHECK
    from pynode.training.machine import environment

    title, subjects = _subjects(problem, case, fields, seed, settings, data, at)
    known = [SCHEMES.load(name) for name in listed]
    reasons = unavailable(chosen)
    grid = method_grid([name for name in chosen if name not in reasons], tols, counts, known)
    if not grid:
        why = f"none of them can be checked here ({'; '.join(dict.fromkeys(reasons.values()))})"
        raise InvalidArgument("--methods", ",".join(chosen), why, f"add {compared()[0]}")
    _check_used(context, grid)
    directory = output_directory(out, f"{problem}-crosscheck" if problem else "crosscheck", resume=False)
    torch.set_num_threads(threads)
    console = new_console()
    records, files, left_out = _check(subjects, grid, title, directory, console, all_cases=cases)
    missing = [not_available(name, reason, title) for name, reason in reasons.items()]
    write_lines(directory / CROSSCHECK, [*records, *missing])
    note_environment(directory, environment())
    print_results(directory, console)
    for solve in left_out:
        console.say(f"no case file of {solve}")
    _print_repl_lines(files, directory, console)
    if (sentence := broken_bounds(records)) is not None:
        raise RunFailure(sentence)


def _check_used(context: typer.Context, grid: list[GradientMethod]) -> None:
    """Raises `InvalidArgument` where an option was given that none of the methods has."""
    why, remedy = "no effect on the methods chosen", "drop it, or add a method"
    if not any(method.adaptive for method in grid):
        values.check_no_effect(context, why, remedy, "tolerances")
    if all(method.adaptive for method in grid):
        values.check_no_effect(context, why, remedy, "steps", "schemes")


def _check_choice(problem: str | None, case: Path | None, fields: str | None, at: Path | None) -> None:
    """One thing at a time."""
    given = values.given(**{"PROBLEM": problem, "--case": case, "--fields": fields})
    if len(given) > 1:
        last = list(given)[-1]
        raise InvalidArgument(last, given[last], f"does not go with {next(iter(given))}", "give one of them")
    if at is not None and problem is None:
        raise InvalidArgument("--at", at, "there is no problem whose weights these were", "name the problem as well")


def _subjects(
    problem: str | None,
    case: Path | None,
    fields: str | None,
    seed: int,
    settings: list[str] | None,
    data: Path | None,
    at: Path | None,
) -> tuple[str, list[Subject]]:
    """What is to be checked, and its name in the report."""
    from pynode.studies.crosscheck.case import read_case
    from pynode.studies.crosscheck.subjects import case_subject, example_cases, example_names

    if problem is not None:
        return problem, [_problem(problem, seed, settings, data, at)]
    for option, value in (("--set", settings), ("--data", data)):
        if value:
            raise InvalidArgument(option, value, "there is no problem that could take it", "name the problem as well")
    if case is not None:
        read = read_case(case)
        return read.name, [case_subject(read)]
    chosen = values.names("--fields", fields) if fields is not None else example_names()
    return "fields", [case_subject(example) for example in example_cases(chosen, seed)]


def _problem(name: str, seed: int, settings: list[str] | None, data: Path | None, at: Path | None) -> Subject:
    from pynode.studies.crosscheck.subjects import problem_subject
    from pynode.training.restore import check_trained

    if at is not None:
        check_trained("--at", at, name)
    run = plan(name, compared()[:1], [seed], {}, problem_options=problem_options(name, settings, data))[0]
    posed = replace(run, dtype="float64").make_problem()
    model = posed.model(seed)
    if at is not None:
        from pynode.training.weights import best_theta

        model.set_theta(best_theta(at, name))
    return problem_subject(posed, model, posed.check_batch())


def _check(
    subjects: list[Subject],
    grid: list[GradientMethod],
    title: str,
    directory: Path,
    console: PlainConsole,
    *,
    all_cases: bool,
) -> tuple[list[CrosscheckRecord], list[str], list[str]]:
    """The records of all subjects, the files that were written (cases with a broken bound, or all of them), and a
    sentence for each solve that has no case."""
    from pynode.studies.crosscheck.case import write_case
    from pynode.studies.crosscheck.check import crosscheck as check

    records: list[CrosscheckRecord] = []
    files, left_out = [], []
    with console.status("cross-check") as status:
        for subject in subjects:
            status.update(f"cross-check: {subject.name}")
            checked = check(subject, grid, problem=title, all_cases=all_cases)
            records += checked.records
            left_out += checked.left_out
            for case in checked.cases:
                files.append(f"cases/{case.name}.json")
                (directory / "cases").mkdir(exist_ok=True)
                write_case(case, directory / files[-1])
    return records, list(dict.fromkeys(files)), left_out


def _print_repl_lines(files: list[str], directory: Path, console: PlainConsole) -> None:
    """How to go on with the cases that were written, in lines that nothing wraps or styles."""
    from pynode.julia.environment import find
    from pynode.studies.crosscheck.study import repl_line

    if files:
        console.say(f"\nto look into it in a Julia REPL ({find().repl}), paste:")
    for file in files:
        console.say(repl_line(directory, file))
