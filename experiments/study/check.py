"""Checks the records of the study: one clean commit, one engine a run, an idle machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.study.plan import chosen, read_plan
from pynode.errors import RecordError, UsageError
from pynode.records.files import read_json
from pynode.records.run_files import SUMMARY, read_summary
from pynode.records.runs import run_folders
from pynode.training.run_directory import ENVIRONMENT

IDLE = 1.3
"""Load average above which the seconds of a record are not believed: one process makes 1."""


def disturbed_runs(directory: Path) -> list[Path]:
    """The finished runs of a results directory during which the machine was not idle."""
    summaries = ((folder, read_summary(folder)) for folder in run_folders(directory) if (folder / SUMMARY).exists())
    return [folder for folder, summary in summaries if (summary.get("load_average") or 0.0) > IDLE]


def faults_of(out: Path, names: Sequence[str] | None = None) -> list[str]:
    """A sentence for each fault in the records of the study in `out`; raises `UsageError` where there is none."""
    folders = [out / part.name for part in chosen(read_plan(), names) if (out / part.name).is_dir()]
    if not folders:
        raise UsageError(f"{out} holds no part of the study; run the study, or give another --out")
    faults = [fault for folder in folders for fault in _faults(folder)]
    commits = {e["git"]["commit"] for folder in folders for e in environments(folder) if e.get("git")}
    if len(commits) > 1:
        faults.append(f"the records are of {len(commits)} commits: {', '.join(sorted(c[:9] for c in commits))}")
    return faults


def environments(folder: Path) -> list[dict[str, Any]]:
    """All that is recorded on how a part was made: one entry for each start of a run or check."""
    entries: list[dict[str, Any]] = []
    for path in sorted(folder.rglob(ENVIRONMENT)):
        content = read_json(path)
        entries += content if isinstance(content, list) else [content]
    return entries


def _faults(folder: Path) -> Iterator[str]:
    made = environments(folder)
    if not made:
        yield f"{folder.name}: no record of how it was made"
    if any(not e.get("git") for e in made):
        yield f"{folder.name}: made outside of a git checkout"
    if any(e["git"]["changed"] for e in made if e.get("git")):
        yield f"{folder.name}: made by code that was not committed"
    for run in run_folders(folder):
        where = f"{folder.name}/{run.name}"
        if not (run / SUMMARY).exists():
            yield f"{where}: not finished"
            continue
        try:
            summary = read_summary(run)
        except RecordError as error:
            yield str(error)
            continue
        if summary["status"] != "finished":
            yield f"{where}: failed ({summary.get('error', 'no reason recorded')})"
        engine = summary.get("engine") or "none"
        if engine not in ("eager", "fused", "julia"):
            yield f"{where}: engines {engine} instead of one"
        load = summary.get("load_average")
        if load is None or load > IDLE:
            yield f"{where}: load average {'not recorded' if load is None else format(load, '.2f')}, above {IDLE}"
