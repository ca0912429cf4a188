"""What a command prints at its end, and the summary that it leaves: from records alone."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pynode.cli.console import PlainConsole
from pynode.errors import RecordError, StorageError
from pynode.records.files import read_json, write_json
from pynode.records.runs import RUNS
from pynode.settings.known import multilevel, rivals
from pynode.studies.reduction.study import main_reduction, reductions
from pynode.studies.render import PAGE, RenderedResults, read_off, write_all
from pynode.studies.results import Results, load_intact

NOT_MINE = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What a system says of a directory that can only be read."""


def print_results(
    directory: Path,
    console: PlainConsole,
    *,
    failures: list[str] | None = None,
    whole: bool = False,
    brief: bool = False,
    may_skip_files: bool = False,
    parts: Mapping[str, RenderedResults] | None = None,
) -> RenderedResults:
    """Prints the tables and findings of `directory`; writes summary.json, tables.md, the figures and the page.

    `failures` of runs go into summary.json; None keeps those that it names.  `whole` prints long tables and all
    findings, else the two that come first; `brief` prints nothing but one finding, if there is any.  Where a part is
    damaged, raises `RecordError` after the tables of the others, and writes nothing.  Where a file can't be written,
    the tables are printed all the same before the error is raised; with `may_skip_files` a directory that can only be
    read is no error.  `parts` are what this function returned for results directories inside it, whose figures the page
    shows.
    """
    results = load_intact(directory)
    rendered, problem = read_off(results), None
    if may_skip_files:
        results.damaged.extend(_lost_summaries(directory, results))
    if results.damaged:
        _report_intact(results, rendered, console, failures or [])
    try:
        if results.runs:
            write_json(directory / "summary.json", summary(results, _failures(directory, failures)))
        rendered.paths += write_all(rendered, directory, parts)
    except StorageError as error:
        problem = error
    if brief:
        for finding in rendered.findings[-1:]:
            console.say(finding)
    else:
        _print(rendered, directory, console, whole=whole, problem=problem)
    if problem is not None and not (may_skip_files and _is_read_only(problem)):
        raise problem
    return rendered


def _print(
    rendered: RenderedResults, directory: Path, console: PlainConsole, *, whole: bool, problem: StorageError | None
) -> None:
    for table in rendered.tables:
        if whole or not table.long:
            console.print(table)
            console.print()
    drawn = ", ".join(path.stem for path in rendered.paths if path.suffix == ".png")
    if problem is None:
        console.say(f"figures in {directory / 'figures'}: {drawn}")
        console.say(f"all tables in {directory / 'tables.md'}, records beside it")
        console.say(f"page with all of it: {directory / PAGE}")
    elif _is_read_only(problem):
        console.say(f"{directory} can only be read: no figures, no tables.md and no page are written there")
    console.print()
    for finding in rendered.findings if whole else rendered.findings[:2]:
        console.say(finding, style="bold")


def _is_read_only(error: StorageError) -> bool:
    return error.number in NOT_MINE


def _failures(directory: Path, failures: list[str] | None) -> list[str]:
    """`failures`, or where they are not known those that an earlier command has left in summary.json."""
    if failures is not None:
        return failures
    try:
        earlier = read_json(directory / "summary.json")["failures"]
    except (RecordError, KeyError, TypeError):
        return []
    return [str(failure) for failure in earlier] if isinstance(earlier, list) else []


def _lost_summaries(directory: Path, results: Results) -> list[str]:
    """What is to be said where the runs have fewer summaries than the summary of all runs tells of."""
    try:
        told = len(read_json(directory / "summary.json")["runs"])
    except (RecordError, KeyError, TypeError):
        return []
    without = [str(directory / RUNS / run.label / "summary.json") for run in results.runs if run.summary is None]
    if told <= len(results.runs) - len(without):
        return []
    return [
        f"{' and '.join(without)} is missing: the run is being trained, or its command has to be repeated with --resume"
    ]


def _report_intact(results: Results, rendered: RenderedResults, console: PlainConsole, failures: list[str]) -> NoReturn:
    """Prints the tables of what is intact, writes nothing, and raises `RecordError` that names what is damaged."""
    for table in rendered.tables:
        if not table.long:
            console.print(table)
            console.print()
    named = [*failures, *(message for message in results.damaged if message not in "; ".join(failures))]
    raise RecordError(f"the tables leave out what is damaged, and no file was changed: {'; '.join(named)}")


def summary(results: Results, failures: list[str]) -> dict[str, Any]:
    """The content of summary.json: one entry for each run, and what Disc-Opt saves against Opt-Disc at matched loss."""
    return {
        "problem": results.problem,
        "faithful": any(run.config["faithful"] for run in results.runs),
        "runs": [run.summary for run in results.runs if run.summary is not None],
        "reduction": main_reduction(results),
        "multilevel": reductions(results, rivals()[0][1], multilevel(rivals()[0][1])),
        "failures": failures,
    }
