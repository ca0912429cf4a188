"""`list`: the names that commands take, with a line each; `list --options` explains the options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pynode.cli.console import PlainConsole
    from pynode.settings.declared import Declared


def list_members(
    options: Annotated[
        bool,
        typer.Option("--options", help="Explain the options of methods, of runs and of problems (--set) instead."),
    ] = False,
) -> None:
    """List problems, gradient methods, engines, fields, schemes and studies, with a line each."""
    from pynode.cli.console import new_console
    from pynode.engines import ENGINES
    from pynode.fields import FIELDS
    from pynode.methods import METHODS
    from pynode.problems import PROBLEMS
    from pynode.schemes import SCHEMES
    from pynode.settings.known import owners, problem_options, run_settings, shared, usual
    from pynode.studies import STUDIES

    console = new_console()
    if options:
        methods, settings, problems = METHODS.names(), run_settings(), PROBLEMS.names()
        of_problems = shared({problem: problem_options(problem) for problem in problems})
        _explain(console, "options of gradient methods", owners(methods), methods, usual)
        _explain(console, "settings of a run", {n: {"": d} for n, d in settings.items()}, (), usual)
        _explain(
            console,
            "options of problems, for --set NAME=VALUE",
            of_problems,
            problems,
            lambda option, problem: of_problems[option][problem].default,
        )
        return
    for registry in (PROBLEMS, METHODS, ENGINES, FIELDS, SCHEMES, STUDIES):
        plural = {"study": "studies"}.get(registry.kind, f"{registry.kind}s")
        rows = {name: registry.summary(name) for name in registry.names()}
        _print(console, plural, _with_parts(rows) if registry is PROBLEMS else rows)
        if outside := registry.outside():
            rows = {name: f"{origin.summary} From {origin}.".strip() for name, origin in outside.items()}
            _print(console, f"{plural} from outside", rows)


def _with_parts(rows: Mapping[str, str]) -> dict[str, str]:
    """The lines of problems; that of a public set whose rows here are not the published ones says so."""
    from pynode.datasets.cache import NAMES, dataset
    from pynode.datasets.errors import CacheError, DataMissing

    lines = dict(rows)
    for name in NAMES:
        with suppress(DataMissing, CacheError):
            provenance = dataset(name).provenance
            if provenance is not None and not provenance.whole:
                extent = provenance.extent.replace(": ", ", ")
                lines[name] = f"{lines[name]} On this machine: {extent}."
    return lines


def _explain(
    console: PlainConsole,
    title: str,
    options: Mapping[str, Mapping[str, Declared]],
    everyone: Collection[str],
    default: Callable[[str, str], Any],
) -> None:
    """Prints each option with its values, what it does, who of `everyone` has it, and its default."""
    from pynode.settings.help_text import described, metavar
    from pynode.settings.known import shared_kind

    rows = {}
    for name, owned in options.items():
        told = described(owned, everyone, {owner: default(name, owner) for owner in owned})
        rows[f"{name} {metavar(shared_kind(owned.values()))}"] = " ".join(told).strip()
    _print(console, title, rows)


def _print(console: PlainConsole, title: str, rows: Mapping[str, str]) -> None:
    """A table of names with a line each, under a title."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
    table.add_column(style="cyan", overflow="fold")
    table.add_column()
    for name, line in rows.items():
        table.add_row(name, line)
    console.print(table)
    console.print()
