"""`series`: trains neural ODEs on the user's own time series by both methods, forecasts, and compares."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynode.cli import options as o
from pynode.cli import values as v
from pynode.cli.as_typed import as_typed
from pynode.cli.derived import Given, flag, with_options
from pynode.cli.output import output_directory
from pynode.cli.planning import problem_options, train_all
from pynode.cli.ranks import check_alone
from pynode.errors import InvalidArgument, RunFailure
from pynode.outside_members import absolute_reference
from pynode.settings import known
from pynode.settings.values import from_text
from pynode.wording import COMMAND, counted

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.problems.series.user_series import UserSeries

PROBLEM = "series"

FORECAST = "forecast.csv"
"""File that the line to paste writes."""

TEXTS = ("time", "id", "field", "held_out", "input_kind", "decimal", "date_order")
"""Options that are passed on as text."""

NAMED = ("values", "inputs", "covariates", "circular")
"""Options that are lists of columns."""


def _model(*names: str, text: str, metavar: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=o.MODEL, show_default=False)


@with_options()
def series(
    given: Given,
    data: Annotated[
        Path,
        typer.Option(
            parser=v.path,
            metavar="FILE",
            help="Your series: text with any delimiter, Parquet, .npy or .npz; the content decides, not the ending.",
            rich_help_panel=o.COLUMNS,
            show_default=False,
        ),
    ],
    time: Annotated[
        str | None,
        o.column("--time", text="Times, as numbers or dates. [dim]Default: guessed.[/dim]", metavar="COLUMN"),
    ] = None,
    id: Annotated[
        str | None,
        o.column("--id", text="The trajectory that a row is of. [dim]Default: guessed.[/dim]", metavar="COLUMN"),
    ] = None,
    values: Annotated[
        list[str] | None,
        o.column(
            "--values", text="What is modelled. [dim]Default: all columns of numbers that are nothing else.[/dim]"
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        o.column("--inputs", text="Known functions of time, also in the future: doses, controls, weather."),
    ] = None,
    input_kind: Annotated[
        str | None,
        o.column(
            "--input-kind",
            text="How inputs go on between rows: interpolated, steps, or jumps (doses), of all or of each. "
            "[dim]Default: auto.[/dim]",
            metavar="KIND|COLUMN:KIND,...",
        ),
    ] = None,
    covariates: Annotated[
        list[str] | None,
        o.column(
            "--covariates",
            text="Constant over a trajectory; words become classes; none for none. [dim]Default: guessed.[/dim]",
        ),
    ] = None,
    circular: Annotated[
        list[str] | None,
        o.column("--circular", text="Angles, with their period.", metavar="COLUMN[:PERIOD],..."),
    ] = None,
    missing_values: Annotated[
        list[str] | None,
        o.column(
            "--missing-values",
            text="Cells that stand for missing values, beside NA and the like.",
            metavar="CELL,...",
        ),
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        o.column("--leave-out", text="Trajectories to leave out, by their name in --id.", metavar="NAME,..."),
    ] = None,
    header: o.Header = None,
    decimal: o.Decimal = None,
    date_order: Annotated[
        str | None,
        o.column(
            "--date-order",
            text="Order of day, month and year in dates such as 03/04/2024. [dim]Default: read off the file.[/dim]",
            metavar="dmy|mdy|ymd",
        ),
    ] = None,
    field: Annotated[
        str | None,
        _model("--field", text="Architecture of the field, or FILE.py:NAME of your own module.", metavar="NAME"),
    ] = None,
    hidden: Annotated[str | None, _model("--hidden", text="Widths of the hidden layers.", metavar="N,...")] = None,
    augment: Annotated[
        str | None,
        _model(
            "--augment",
            text="Hidden dimensions. [dim]Default: decided from the data.[/dim]",
            metavar="N",
        ),
    ] = None,
    initial: Annotated[
        str | None,
        _model(
            "--initial",
            text="Initial state: given, learnt, or encoded from the first rows.",
            metavar="NAME",
        ),
    ] = None,
    window: Annotated[
        str | None,
        _model("--window", text="Intervals of a training window. [dim]Default: from the data.[/dim]", metavar="N"),
    ] = None,
    continuity: Annotated[
        str | None,
        _model("--continuity", text="Weight of the penalty on gaps between windows.", metavar="NUMBER"),
    ] = None,
    split: Annotated[
        str | None,
        _model("--split", text="What is held out: time (the end of every trajectory) or trajectory.", metavar="NAME"),
    ] = None,
    held_out: Annotated[
        str | None,
        _model(
            "--held-out",
            text="Share or number that is held out, or names of trajectories; of a name that is a number, id:3.",
            metavar="SHARE|NAME,...",
        ),
    ] = None,
    first: Annotated[
        str | None,
        _model("--given", text="First observations of held-out trajectories that the model may see.", metavar="N"),
    ] = None,
    methods: o.Methods = o.COMPARED,
    seeds: o.Seeds = "0",
    threads: o.Threads = 1,
    out: o.Out = None,
    resume: o.Resume = False,
    explain: o.Explain = False,
    config: o.Config = None,
) -> None:
    """Train neural ODEs on your own time series by both methods, compare their forecasts, and print the next command.

    Columns are given by name, or by number from 1. What is not given is decided from the data and said. A part of the
    data is held out, so that the forecasts can be judged; then each model is trained on all rows, for predict.

    Examples:

      series --data patients.csv --time hours --id patient --out results/patients

      series --data room.csv --time hour --values room --inputs outdoor

      series --data heading.csv --circular heading:360 --augment 1 --seeds 0,1,2
    """
    check_alone()
    chosen = {
        "time": time,
        "id": id,
        "values": values,
        "inputs": inputs,
        "input_kind": input_kind,
        "covariates": covariates,
        "circular": circular,
        "missing_values": missing_values,
        "leave_out": leave_out,
        "header": header,
        "decimal": decimal,
        "date_order": date_order,
        "field": field,
        "hidden": hidden,
        "augment": augment,
        "initial": initial,
        "window": window,
        "continuity": continuity,
        "split": split,
        "held_out": held_out,
        "given": first,
    }
    _run(
        given,
        _options(data, chosen),
        methods=v.names("--methods", methods),
        seeds=v.numbers("--seeds", seeds, int),
        threads=threads,
        out=out,
        resume=resume,
        explain=explain,
    )


def _options(data: Path, chosen: dict[str, Any]) -> dict[str, Any]:
    """The options of the problem: the file with its digest, and all that was given, typed."""
    options = problem_options(PROBLEM, None, data)
    declared = known.problem_options(PROBLEM)

    def columns() -> tuple[str, ...]:
        from pynode.datasets.heads import column_names

        return column_names(data, chosen["header"])

    for name, value in chosen.items():
        if value is None:
            continue
        if isinstance(value, list):  # of an option that may be repeated
            options[name] = v.names_in(flag(name), value, columns if name in NAMED else None)
        elif isinstance(value, str) and name not in TEXTS:
            options[name] = from_text(flag(name), value, declared[name].kind)
        else:
            options[name] = _share(value) if name == "held_out" else value
    if field := options.get("field"):
        options["field"] = absolute_reference(field, "field")
    return options


def _share(text: str) -> float | str:
    """A share as a number; a whole number stays text, since a trajectory may be called so."""
    if not text.strip(" ,"):
        raise InvalidArgument("--held-out", repr(text), "empty", "give a share, a number, or names of trajectories")
    try:
        value = float(text)
    except ValueError:
        return text
    return text.strip() if value.is_integer() else value


def _run(
    given: Given,
    options: dict[str, Any],
    *,
    methods: list[str],
    seeds: list[int],
    threads: int,
    out: Path | None,
    resume: bool,
    explain: bool,
) -> None:
    """Reads, says what was taken, trains every run, and prints errors, cost, verdict and the next command."""
    from pynode.training.plan import plan

    configs = plan(PROBLEM, methods, seeds, given.methods, problem_options=options, **given.settings)

    import torch

    from pynode.cli.console import new_console
    from pynode.problems.series.user_series import UserSeries

    torch.set_num_threads(threads)
    console, problem = new_console(), configs[0].make_problem()
    assert isinstance(problem, UserSeries)
    if explain:
        from pynode.cli.explaining import explain_runs

        _say_what_was_taken(problem, console)
        explain_runs(configs, threads)
        return

    from pynode.cli.results import print_results
    from pynode.records.lock import lock

    directory = output_directory(out, PROBLEM, resume=resume, problem=PROBLEM)
    _say_what_was_taken(problem, console)
    with lock(directory):
        failures = train_all(configs, directory, resume=resume, console=console)
        print_results(directory, new_console(quiet=True), failures=failures)
    _show(directory, console)
    if failures:
        raise RunFailure(f"{len(failures)} of {counted(len(configs), 'run')} failed: {'; '.join(failures)}")
    _next(problem, directory, console)


def _say_what_was_taken(problem: UserSeries, console: PlainConsole) -> None:
    from pynode.trajectories.description import describe

    for line in [*describe(problem.series), *problem.notices]:
        console.say(as_typed(line, PROBLEM))
    console.print()


def _show(directory: Path, console: PlainConsole) -> None:
    """Tables and verdict of the forecasts, and where the rest is."""
    from pynode.studies.forecast.study import Forecast
    from pynode.studies.render import PAGE
    from pynode.studies.results import load_results

    results, study = load_results(directory), Forecast()
    console.print()
    for table in study.tables(results):
        if not table.long:
            console.print(table)
            console.print()
    drawn = sorted(path.stem for path in (directory / "figures").glob("*.png"))
    console.say(f"figures in {directory / 'figures'}: {', '.join(drawn)}")
    console.say(f"all tables in {directory / 'tables.md'}, records beside it; page with all of it: {directory / PAGE}")
    console.print()
    if finding := study.finding(results):
        console.say(finding, style="bold")


def _next(problem: UserSeries, directory: Path, console: PlainConsole) -> None:
    """The line to paste: a forecast as far ahead as was held out, and as inputs are known."""
    from pynode.trajectories.ahead import usual_until
    from pynode.trajectories.grid import known_until

    series = problem.series
    limits = [known_until(each, series.input_kinds) for each in series.each]
    limit, which = min(limits, default=(float("inf"), -1))
    spans = [each.times[-1] - each.times[rows][-1] for each, rows in zip(series.each, problem.parts.known, strict=True)]
    ahead = max(map(float, spans))
    until = usual_until(series.axis, series.each, known=limit, ahead=ahead or None)
    if until is None:
        known = f"{series.inputs[which]} is known to {series.axis.text(limit)} only"
        console.say(f"no forecast beyond the last row: {known}; add rows with it to the file, with no values")
        return
    words = ["predict", str(directory), "--until", until, "--out", str(directory / FORECAST)]
    console.say(f"forecast: {COMMAND} {shlex.join(words)}")
