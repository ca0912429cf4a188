"""The command line: commands and options, and one line for each error.  Heavy imports happen inside the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from pynode.cli.advise import advise
from pynode.cli.as_typed import notices_as_typed
from pynode.cli.compare import compare, default_run
from pynode.cli.console import complain, tidy_environment
from pynode.cli.crosscheck import crosscheck
from pynode.cli.data import data
from pynode.cli.density import density
from pynode.cli.derived import asked_for
from pynode.cli.evaluate import evaluate
from pynode.cli.faults import INTERRUPTED, command_of, interrupted, line_of
from pynode.cli.gradients import gradients
from pynode.cli.julia import julia
from pynode.cli.listing import list_members
from pynode.cli.map import map_winners
from pynode.cli.pages import App
from pynode.cli.predict import predict
from pynode.cli.ranks import finish
from pynode.cli.report import report
from pynode.cli.sample import sample
from pynode.cli.score import score
from pynode.cli.series import series
from pynode.cli.show import show
from pynode.cli.streams import occupy_closed_descriptors, steady_streams
from pynode.cli.suite import suite
from pynode.cli.sweep import sweep
from pynode.cli.taylor import taylor
from pynode.errors import OtherRankFailed, OtherRankRefused

app = App(
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without a command: compares both methods on the spiral, 300 iterations each, in about two minutes.",
)
app.callback(invoke_without_command=True)(default_run)
app.command("compare", rich_help_panel="Train")(compare)
app.command("density", rich_help_panel="Train")(density)
app.command("series", rich_help_panel="Train")(series)
app.command("suite", rich_help_panel="Train")(suite)
app.command("sweep", rich_help_panel="Train")(sweep)
app.command("evaluate", rich_help_panel="Use trained models")(evaluate)
app.command("predict", rich_help_panel="Use trained models")(predict)
app.command("sample", rich_help_panel="Use trained models")(sample)
app.command("score", rich_help_panel="Use trained models")(score)
app.command("advise", rich_help_panel="Check gradients")(advise)
app.command("gradients", rich_help_panel="Check gradients")(gradients)
app.command("crosscheck", rich_help_panel="Check gradients")(crosscheck)
app.command("map", rich_help_panel="Check gradients")(map_winners)
app.command("taylor", rich_help_panel="Check gradients")(taylor)
app.add_typer(data, name="data", rich_help_panel="Look up")
app.add_typer(julia, name="julia", rich_help_panel="Look up")
app.command("list", rich_help_panel="Look up")(list_members)
app.command("show", rich_help_panel="Look up")(show)
app.command("report", rich_help_panel="Look up")(report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, 1 for a failure, 2 for a mistake of use, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    tidy_environment(os.environ)
    with steady_streams() as out:
        status = _run(words)
        out.flush()
        if out.failure is not None and status == 0:
            reason = out.failure.strerror or str(out.failure)
            status = _complain(f"can't write to standard output: {reason}; what was saved to files is complete", 1)
    return status


def command() -> NoReturn:
    """Runs the command line and ends the process with its exit status."""
    occupy_closed_descriptors()
    finish(main())


def _run(words: list[str]) -> int:
    try:
        with asked_for(words), notices_as_typed(command_of(words), words):
            status = app(words, standalone_mode=False)
    except (OtherRankRefused, OtherRankFailed) as error:  # the writing rank says it
        return error.exit_status
    except (Exception, KeyboardInterrupt) as error:
        line = line_of(error, words, lambda: _flags(words))
        if line is None:  # a fault of the program: it ends in its traceback
            raise
        return _complain(*line)
    if status == INTERRUPTED:  # newer typers turn Ctrl-C into this status by themselves
        return _complain(interrupted(words), INTERRUPTED)
    return int(status or 0)


def _flags(words: list[str]) -> set[str]:
    """The options of the command that a command line names."""
    with asked_for(words):
        group = typer.main.get_command(app)
        command = getattr(group, "commands", {}).get(command_of(words))
        return {flag for param in command.params for flag in param.opts} if command is not None else set()


def _complain(message: str, status: int) -> int:
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")
    who = f"rank {os.environ.get('RANK')}: " if several else ""
    complain(f"{who}error: {message}")
    return status
