"""Checks the records of the study: whole parts, one clean commit, one engine a run, an idle machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.study.plan import PLAN, Part, chosen, read_plan
from experiments.study.progress import done_in
from pynode.errors import RecordError, UsageError
from pynode.records.files import read_json
from pynode.records.run_files import SUMMARY, read_summary
from pynode.records.runs import run_folders
from pynode.records.schema import parse
from pynode.studies.load import IDLE
from pynode.training.run_directory import ENVIRONMENT

ENGINES = ("eager", "fused", "julia")


def disturbed_runs(directory: Path, words: Sequence[str]) -> list[Path]:
    """The finished runs that a command (its words behind run.py) made in `directory` while the machine was not idle."""
    finished = [folder for folder in run_folders(directory) if (folder / SUMMARY).exists()]
    disturbed = [folder for folder in finished if (read_summary(folder).get("load_average") or 0.0) > IDLE]
    return [folder for folder in disturbed if _made_by(folder, words)]


def _made_by(run: Path, words: Sequence[str]) -> bool:
    """Whether the last start of a run was by this command, resumed or not."""
    starts = environments(run)
    return bool(starts) and _unresumed(starts[-1].get("command", [])[1:]) == _unresumed(words)


def _unresumed(words: Sequence[str]) -> list[str]:
    return [word for word in words if word != "--resume"]


def missing_parts(out: Path, names: Sequence[str] | None = None, plan: Path = PLAN) -> list[str]:
    """The parts of the plan, or those called `names`, that have no folder in `out`."""
    return [part.name for part in chosen(read_plan(plan), names) if not (out / part.name).is_dir()]


def faults_of(out: Path, names: Sequence[str] | None = None, plan: Path = PLAN) -> list[str]:
    """A sentence for each fault in the parts of the study that `out` holds; raises `UsageError` where it holds none."""
    parts = [part for part in chosen(read_plan(plan), names) if (out / part.name).is_dir()]
    if not parts:
        raise UsageError(f"{out} holds no part of the study; run the study, or give another --out")
    faults = [fault for part in parts for fault in _faults(part, out / part.name)]
    commits = {commit for part in parts for commit in commits_in(out / part.name)}
    if len(commits) > 1:
        faults.append(f"the records are of {len(commits)} commits: {', '.join(sorted(c[:9] for c in commits))}")
    return faults


def environments(folder: Path) -> list[dict[str, Any]]:
    """All that is recorded on how the records in `folder` were made: one entry for each start of a run or check."""
    entries: list[dict[str, Any]] = []
    for path in sorted(folder.rglob(ENVIRONMENT)):
        content = read_json(path)
        entries += content if isinstance(content, list) else [content]
    return entries


def commits_in(folder: Path) -> set[str]:
    """The commits that made the records in `folder`: of runs, finished or not, and of commands, some of which leave no
    record of their own on how they were made."""
    return {e["git"]["commit"] for e in environments(folder) if e.get("git")} | {d.commit for d in done_in(folder)}


def _faults(part: Part, folder: Path) -> Iterator[str]:
    done = [d.command for d in done_in(folder)]
    for command in part.commands:
        if list(command) not in done:
            yield f"{part.name}: not done: {' '.join(command)}"
    made = environments(folder)
    if not made and not commits_in(folder):
        yield f"{part.name}: no record of how it was made"
    if any(not e.get("git") for e in made):
        yield f"{part.name}: made outside of a git checkout"
    if any(e["git"]["changed"] for e in made if e.get("git")):
        yield f"{part.name}: made by code that was not committed"
    for run in run_folders(folder):
        yield from _faults_of_run(run, f"{part.name}/{run.name}")
    for file in sorted(folder.glob("*.jsonl")):
        yield from _faults_of_lines(file, f"{part.name}/{file.name}")


def _faults_of_run(run: Path, where: str) -> Iterator[str]:
    if not (run / SUMMARY).exists():
        yield f"{where}: not finished"
        return
    try:
        summary = read_summary(run)
    except RecordError as error:
        yield str(error)
        return
    if summary["status"] != "finished":
        yield f"{where}: failed ({summary.get('error', 'no reason recorded')})"
    if "evaluation_failure" in summary:
        yield f"{where}: its evaluation failed ({summary['evaluation_failure']})"
    engine = summary.get("engine") or "none"
    if engine not in ENGINES:
        yield f"{where}: engines {engine} instead of one"
    load = summary.get("load_average")
    if load is None:
        yield f"{where}: load average not recorded"
    elif load > IDLE:
        yield f"{where}: load average {load:.2f}, above {IDLE}"


def _faults_of_lines(file: Path, where: str) -> Iterator[str]:
    """Of records beside the runs: those that tell the load of the machine, or their engine."""
    try:
        records = [parse(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        yield f"{where}: damaged ({error})"
        return
    if any(r.get("changed") for r in records):
        yield f"{where}: made by code that was not committed"
    loads = [load for r in records if (load := r.get("load", r.get("load_average"))) is not None]
    if busy := [load for load in loads if load > IDLE]:
        yield f"{where}: load average up to {max(busy):.2f}, above {IDLE}, in {len(busy)} of {len(records)} records"
    if several := sorted({r["engine"] for r in records if r.get("engine")} - set(ENGINES)):
        yield f"{where}: engines {', '.join(several)} instead of one"
