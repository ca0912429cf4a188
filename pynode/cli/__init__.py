"""The command line: typed options in, one line per error out.  Heavy imports happen inside the commands."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from pynode.cli.compare import compare, default_run
from pynode.cli.crosscheck import crosscheck
from pynode.cli.data import data
from pynode.cli.evaluate import evaluate
from pynode.cli.gradients import gradients
from pynode.cli.julia import julia
from pynode.cli.listing import list_members
from pynode.cli.map import map_winners
from pynode.cli.ranks import finish
from pynode.cli.sample import sample
from pynode.cli.show import show
from pynode.cli.suite import suite
from pynode.cli.sweep import sweep
from pynode.cli.taylor import taylor
from pynode.errors import OtherRankFailed, OtherRankRefused, PynodeError

# the base of all of typer's own complaints about arguments: click's, or of the copy of click that newer typers bring
_UsageComplaint: type[Exception] = typer.BadParameter.__mro__[2]

INTERRUPTED = 130

NO_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ)
"""What a system says of names that no file can have."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without a command: compares both methods on the spiral (300 iterations each), about two minutes.",
)
app.callback(invoke_without_command=True)(default_run)
app.command("compare", rich_help_panel="Train")(compare)
app.command("suite", rich_help_panel="Train")(suite)
app.command("sweep", rich_help_panel="Train")(sweep)
app.command("evaluate", rich_help_panel="Use what was trained")(evaluate)
app.command("sample", rich_help_panel="Use what was trained")(sample)
app.command("gradients", rich_help_panel="Check gradients")(gradients)
app.command("crosscheck", rich_help_panel="Check gradients")(crosscheck)
app.command("map", rich_help_panel="Check gradients")(map_winners)
app.command("taylor", rich_help_panel="Check gradients")(taylor)
app.add_typer(data, name="data", rich_help_panel="Look")
app.add_typer(julia, name="julia", rich_help_panel="Look")
app.command("list", rich_help_panel="Look")(list_members)
app.command("show", rich_help_panel="Look")(show)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, 1 for a failed run, 2 for a mistake of use, 130 for Ctrl-C."""
    try:
        status = app(list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
    except (OtherRankRefused, OtherRankFailed) as error:  # the writing rank says it
        return error.exit_status
    except PynodeError as error:
        return _complain(str(error), error.exit_status)
    except (typer.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except _UsageComplaint as error:
        return _complain(f"{_message(error)} (see --help)", 2)
    except OSError as error:
        if error.errno not in NO_PATHS:
            raise
        return _complain(f"{str(error.filename)[:60]}: {error.strerror}; give another path", 2)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"):  # torch's, of a GPU
            raise
        return _complain("out of memory; take a smaller batch or --memory checkpoint; --resume continues a run", 1)
    if status == INTERRUPTED:  # newer typers turn Ctrl-C into this status by themselves
        return _complain("interrupted; what was recorded is kept, --resume continues from the last checkpoint", 130)
    return int(status or 0)


def command() -> NoReturn:
    """Runs the command line and ends the process with its exit status."""
    finish(main())


def _message(error: Exception) -> str:
    return str(error.format_message()) if hasattr(error, "format_message") else str(error)


def _complain(message: str, status: int) -> int:
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")
    who = f"rank {os.environ.get('RANK')}: " if several else ""
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"{who}error: {' '.join(message.split())}", file=sys.stderr)
    return status
