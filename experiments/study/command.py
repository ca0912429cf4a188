"""`study`: runs the whole study by its plan, checks what it left, and publishes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pynode.cli import values
from pynode.cli.pages import App
from pynode.errors import RunFailure
from pynode.wording import counted, verb

study = App(
    help="Run the study of seven problems and five questions, check its records, and publish them.",
    no_args_is_help=True,
)

Parts = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help="Parts of the plan, separated by commas. [dim]Default: all.[/dim]"),
]
Out = Annotated[
    Path, typer.Option(parser=values.path, metavar="DIR", help="Directory of the study, with one folder a part.")
]
Plan = Annotated[
    Path | None,
    typer.Option(parser=values.path, metavar="FILE", help="Another plan than experiments/study/plan.toml."),
]
RESULTS = Path("results") / "study"
PUBLISHED = Path(__file__).resolve().parents[1] / "published" / "study"


@study.command("run")
def run(
    parts: Parts = None,
    data: Annotated[
        Path | None,
        typer.Option(parser=values.path, metavar="DIR", help="Folder with the files that the plan calls {data}."),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(metavar="H", help="Begin no command after so many hours; the same command goes on later."),
    ] = None,
    out: Out = RESULTS,
    plan: Plan = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is done and what would run.")] = False,
) -> None:
    """Run what is not done yet, one command at a time on a machine that does nothing else.

    Every command resumes where it was cut; SIGINT, SIGTERM and SIGHUP are passed on to it, and it saves before all
    ends. A run during which the load average was above 1.3 is trained again, up to two times. All parts come from one
    commit without changes.

    Examples:

      study run --data ~/rows

      study run --parts spiral,8gaussians --hours 1
    """
    from experiments.study.plan import PLAN, chosen, read_plan
    from experiments.study.runner import Runner
    from pynode.cli.console import new_console

    names = None if parts is None else values.names("--parts", parts)
    wanted = chosen(read_plan(plan or PLAN), names)
    runner = Runner(out, data, new_console(), hours=hours)
    if dry_run:
        runner.tell(wanted)
    else:
        runner.run(wanted)


@study.command("check")
def check(out: Out = PUBLISHED, parts: Parts = None, plan: Plan = None) -> None:
    """Check that every part is whole, and every record of a clean commit, on one engine, and of an idle machine.

    The exit status is 1 if one is not; parts that are not there at all are only named.

    Example:

      study check --out results/study
    """
    from experiments.study.check import faults_of, missing_parts
    from experiments.study.plan import PLAN
    from pynode.cli.console import new_console

    names = None if parts is None else values.names("--parts", parts)
    console, faults = new_console(), faults_of(out, names, plan or PLAN)
    for fault in faults:
        console.say(fault)
    if missing := missing_parts(out, names, plan or PLAN):
        console.say(f"not there: {', '.join(missing)}")
    if faults:
        raise RunFailure(f"{counted(len(faults), 'fault')} in the records of {out}")
    console.say(f"all records in {out} are of one clean commit, one engine each, and an idle machine")


@study.command("publish")
def publish(
    out: Out = RESULTS,
    to: Annotated[
        Path, typer.Option("--to", parser=values.path, metavar="DIR", help="Where the published records are.")
    ] = PUBLISHED,
    parts: Parts = None,
    plan: Plan = None,
) -> None:
    """Copy the records, tables and figures of parts that are done, without checkpoints.

    Replaces what was published, and nothing else: a folder that holds any other file is refused. Without --parts, parts
    that are not done are left out, and named.

    Example:

      study publish --parts spiral,map
    """
    from experiments.study.plan import PLAN
    from experiments.study.publish import publish_parts, unfinished_parts
    from pynode.cli.console import new_console

    names = None if parts is None else values.names("--parts", parts)
    console = new_console()
    for folder, size in publish_parts(out, to, names, plan or PLAN):
        console.say(f"{folder}: {size / 1e6:.1f} MB")
    if names is None and (left_out := unfinished_parts(out, plan or PLAN)):
        console.say(f"left out, because they are not done: {', '.join(left_out)}")


@study.command("page")
def page(
    write: Annotated[
        bool, typer.Option("--write", help="Put the records' tables and sentences into the pages.")
    ] = False,
) -> None:
    """Compare the tables and sentences of both READMEs with the published records.

    The exit status is 1 if a page differs and is not written.

    Example:

      study page --write
    """
    from experiments.study.page import contents
    from pynode.cli.console import new_console

    console = new_console()
    untrue = {f"{p}, {name}": why for p in contents.PAGES for name, why in contents.untrue(contents.page(p)).items()}
    for place, why in untrue.items():
        console.say(f"{place}: {why}")
    if write:
        for path in contents.PAGES:
            contents.write(path)
    if untrue:
        claim = f"{counted(len(untrue), 'text')} {verb(len(untrue), 'claims', 'claim')}"
        raise RunFailure(f"{claim} what the records don't say; rewrite in study/page/texts")
    stale = {path: names for path in contents.PAGES if (names := contents.differing(path))}
    for path, names in stale.items():
        console.say(f"{path} differs from the records: {', '.join(names)}")
    if stale:
        raise RunFailure("the pages differ from the records; mend them by study page --write")
    console.say("the pages say what the records say")
