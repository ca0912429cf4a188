"""What a command prints at its end, and the summary it leaves: from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from pynode.errors import RecordError
from pynode.records.files import write_json
from pynode.records.results import Results, load_intact
from pynode.render import render_all, tables_of
from pynode.studies.reduction import main_reduction, reductions


def report(
    directory: Path, console: Console, *, failures: list[str] | None = None, whole: bool = False, brief: bool = False
) -> None:
    """Renders tables and figures of `directory`, writes summary.json, prints what was found.

    `whole` prints long tables and all findings, else the two that come first; `brief` prints nothing but one of these.
    Where a part is damaged, raises `RecordError` after the tables of the others, and writes nothing.
    """
    results = load_intact(directory)
    if results.damaged:
        _report_intact(results, console, failures or [])
    if results.runs:
        write_json(directory / "summary.json", summary(results, failures or []))
    rendered = render_all(results, directory)
    if brief:
        console.print(rendered.findings[-1] if rendered.findings else "nothing to compare", highlight=False)
        return
    for table in rendered.tables:
        if whole or not table.long:
            console.print(table.rich())
            console.print()
    drawn = ", ".join(path.stem for path in rendered.paths if path.suffix == ".png")
    console.print(f"figures in {directory / 'figures'}: {drawn}", highlight=False, soft_wrap=True)
    console.print(f"all tables in {directory / 'tables.md'}, records beside it", highlight=False, soft_wrap=True)
    console.print()
    for finding in rendered.findings if whole else rendered.findings[:2]:
        console.print(finding, style="bold", highlight=False)


def _report_intact(results: Results, console: Console, failures: list[str]) -> NoReturn:
    """Prints the tables of what is intact, writes nothing, and raises `RecordError` that names what is damaged."""
    for table in tables_of(results):
        if not table.long:
            console.print(table.rich())
            console.print()
    named = [*failures, *(message for message in results.damaged if message not in "; ".join(failures))]
    raise RecordError(f"the tables leave out what is damaged, and no file was changed: {'; '.join(named)}")


def summary(results: Results, failures: list[str]) -> dict[str, Any]:
    """The content of summary.json: one entry a run, and what Disc-Opt saves against Opt-Disc at matched loss."""
    return {
        "problem": results.problem,
        "faithful": any(run.config["faithful"] for run in results.runs),
        "runs": [run.summary for run in results.runs if run.summary is not None],
        "reduction": main_reduction(results),
        "multilevel": reductions(results, "disc-opt", "disc-opt-multilevel"),
        "failures": failures,
    }
