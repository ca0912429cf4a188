"""`score DIR --data FILE --out scores.csv`: log-likelihood of new rows under a trained flow, in the file's units."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynode.arguments import check_tolerance
from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import check_target
from pynode.errors import RunFailure
from pynode.wording import counted, verb

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.datasets.splits import Array
    from pynode.table_flows.scoring import NewRows

SHOWN = 12
"""Classes whose likelihood is printed at most."""


def score(
    directory: o.RunDirectory,
    data: Annotated[
        Path,
        typer.Option(
            parser=values.path,
            metavar="FILE",
            help="The rows: a table with the columns of the training, by name, in any order; others are ignored.",
            rich_help_panel=o.COLUMNS,
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            parser=values.path, metavar="FILE", help="New .csv file: line and log_likelihood.", show_default=False
        ),
    ],
    missing: o.Missing = None,
    header: o.Header = None,
    decimal: o.Decimal = None,
    overwrite: o.Overwrite = False,
    rtol: Annotated[
        float,
        typer.Option(
            callback=values.tolerance,
            help="Relative tolerance of the solve, at most 1; the absolute one is a hundredth of it.",
        ),
    ] = 1e-6,
    threads: o.ThreadsOfUse = 1,
) -> None:
    """Write the log-likelihood of every row of a table under a trained flow, in the units of the table.

    DIR is the directory of one run, or a results directory, of which the run with the best validation loss is taken.
    The solve is accurate and the trace exact. A condition is read from its columns, and is no dimension of the
    likelihood. Where columns are dequantised, it is that of the density averaged over the step of a row.

    Examples:

      score results/table --data new.csv --out scores.csv
    """
    from pynode.datasets.reading import Reading

    reading = Reading(header, decimal=decimal, missing="error" if missing is None else missing)
    check_tolerance("--rtol", rtol)
    check_target(out, overwrite=overwrite)

    import torch

    from pynode.cli.console import new_console
    from pynode.cli.trained import best_flow
    from pynode.methods.opt_disc import OptDisc
    from pynode.records.files import write_atomically, write_new
    from pynode.table_flows.scoring import check_user_table, log_likelihoods, new_rows

    torch.set_num_threads(threads)
    folder, trained, model = best_flow(directory)
    problem, console = check_user_table(trained, directory), new_console()
    new = new_rows(problem, data, reading)
    if new.ignored:
        console.say(f"ignored {counted(len(new.ignored), 'column')} of {data}: {', '.join(new.ignored[:SHOWN])}")
    method = OptDisc(rtol=rtol, atol=rtol / 100, max_steps=2000)
    values_ = log_likelihoods(problem, model, new, method=method)
    write = write_atomically if overwrite else write_new
    write(out, _content(new, values_).encode())
    _say(console, data, new, values_)
    console.say(f"{counted(len(values_), 'row')} scored by {folder.name}, in {out}")
    failed = [new.table.place(int(row)) for row in (values_ != values_).nonzero()[0]]
    if failed:
        raise RunFailure(
            f"{counted(len(failed), 'row')} of {data} {verb(len(failed), 'has', 'have')} no likelihood: the solve "
            f"fails there ({', '.join(failed[:5])}); the cells in {out} are empty"
        )


def _content(new: NewRows, log_likelihoods: Array) -> str:
    from pynode.datasets.reading import as_text

    table = new.table
    places = range(1, len(table.rows) + 1) if table.lines is None else table.lines.tolist()
    cells = ("" if value != value else as_text(value) for value in log_likelihoods.tolist())
    lines = (f"{place},{cell}" for place, cell in zip(places, cells, strict=True))
    return "\n".join((f"{table.unit},log_likelihood", *lines)) + "\n"


def _say(console: PlainConsole, data: Path, new: NewRows, log_likelihoods: Array) -> None:
    """Prints the mean NLL, and that of each class."""
    known = log_likelihoods == log_likelihoods
    if not known.any():
        return
    mean = -log_likelihoods[known].mean()
    console.say(f"NLL of {data}: {mean:.4f} nats on average, in the units of the file")
    groups = [(word, rows & known) for word, rows in new.groups.items()]
    for word, rows in groups[:SHOWN]:
        if rows.any():
            console.say(f"  {word}: {-log_likelihoods[rows].mean():.4f} ({counted(int(rows.sum()), 'row')})")
    if len(groups) > SHOWN:
        console.say(f"  and {counted(len(groups) - SHOWN, 'more class', 'more classes')}")
