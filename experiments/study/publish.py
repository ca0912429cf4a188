"""Publishes parts of the study: records, tables and figures without checkpoints, long records gzipped.

Paths in them are relative (`portable.py`), so that they tell nothing of the machine, and mean something on another.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.study.check import environments
from experiments.study.plan import chosen, read_plan
from experiments.study.portable import Folders, folders_of, portable, portable_text
from experiments.study.progress import done_in
from pynode.errors import UsageError
from pynode.records.events import EVENTS
from pynode.records.files import read_json, write_json, write_lines
from pynode.records.run_files import CONFIG, EVALUATION, SUMMARY
from pynode.records.runs import RECORDS, RUNS
from pynode.records.schema import parse
from pynode.training.run_directory import ENVIRONMENT

OF_RUN = (CONFIG, ENVIRONMENT, SUMMARY, EVALUATION, EVENTS)
"""Files of a run that are published."""

OF_PART = ("*.json", "*.jsonl", "tables.md", "figures/*.png")


def publish_parts(out: Path, to: Path, names: Sequence[str] | None = None) -> Iterator[tuple[str, int]]:
    """Copies the parts called `names`, or all that are done, from `out` to `to`; gives name and bytes of each.

    A part in `to` is replaced whole.  Raises `UsageError` for a part that is not done.
    """
    for part in chosen(read_plan(), names):
        source = out / part.name
        done = [d.command for d in done_in(source)]
        if missing := [" ".join(c) for c in part.commands if list(c) not in done]:
            if names is not None:
                raise UsageError(f"--parts {part.name}: not done ({missing[0]}); run the study first")
            continue
        target = to / part.name
        folders = folders_of(out, environments(source))
        shutil.rmtree(target, ignore_errors=True)
        for pattern in OF_PART:
            for path in sorted(source.glob(pattern)):
                _copy(path, target / path.relative_to(source), folders)
        for run in sorted((source / RUNS).glob("*")):
            for name in OF_RUN:
                if (run / name).exists():
                    _copy(run / name, target / RUNS / run.name / name, folders)
            if (run / RECORDS).exists():
                _pack(run / RECORDS, target / RUNS / run.name / f"{RECORDS}.gz")
        yield part.name, sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _copy(path: Path, target: Path, folders: Folders) -> None:
    """Copies a file byte for byte where it holds no path, else with its paths made relative."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        content = read_json(path)
        if (made := portable(content, folders)) != content:
            write_json(target, made)
            return
    elif path.suffix == ".jsonl":
        records = [parse(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if (made := portable(records, folders)) != records:
            write_lines(target, made)
            return
    elif path.suffix == ".md":
        lines = path.read_text(encoding="utf-8").split("\n")
        target.write_text("\n".join(portable_text(line, folders) for line in lines), encoding="utf-8")
        return
    shutil.copyfile(path, target)


def _pack(path: Path, target: Path) -> None:
    """Gzips `path`, without the time, so that the same records give the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(path.read_bytes())
