"""Publishes parts of the study: records, tables and figures without checkpoints, long records gzipped.

Paths in them are relative (`portable.py`), so that they tell nothing of the machine, and mean something on another.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.study.check import environments
from experiments.study.plan import PLAN, Part, chosen, read_plan
from experiments.study.portable import Folders, folders_of, portable, portable_text
from experiments.study.progress import DONE, LOGS, done_in
from experiments.study.replaceable import FIGURES, OF_RUN, PACKED, TABLES, foreign_file
from pynode.errors import InvalidArgument, UsageError
from pynode.records.files import read_json, write_json, write_lines
from pynode.records.runs import RECORDS, RUNS
from pynode.records.schema import parse

PATTERNS = ("*.json", "*.jsonl", TABLES, f"{FIGURES}/*.png")
"""Files of a part that are published, beside those of its runs."""

ELSEWHERE = "give another --to"


def publish_parts(
    out: Path, to: Path, names: Sequence[str] | None = None, plan: Path = PLAN
) -> Iterator[tuple[str, int]]:
    """Copies the parts called `names`, or all that are done, from `out` to `to`; gives name and bytes of each.

    A part in `to` is replaced whole: there is the old one or the new one, never a part of it.  Raises `UsageError`
    before anything is copied where no part is done, or not all that are named, and where something else than published
    records would go.
    """
    planned = read_plan(plan)
    parts = _done(out, planned, names)
    for part in parts:
        _check_target(to, to / part.name, [out / other.name for other in planned])
        _check_content(to, to / part.name, out / part.name)
    for part in parts:
        target = to / part.name
        _publish(out / part.name, target, folders_of(out, environments(out / part.name)))
        yield part.name, sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def unfinished_parts(out: Path, plan: Path = PLAN) -> list[str]:
    """The parts of the plan that are not done in `out`, which `publish_parts` leaves out where none are named."""
    return [part.name for part in read_plan(plan) if _to_do(part, out) is not None]


def _done(out: Path, planned: Sequence[Part], names: Sequence[str] | None) -> list[Part]:
    """The chosen parts that are done; raises `UsageError` where there is none, or one that is named is not done."""
    parts = chosen(planned, names)
    to_do = {part.name: command for part in parts if (command := _to_do(part, out)) is not None}
    if len(to_do) == len(parts):
        problem = f"none of the parts {', '.join(to_do)} is done there" if out.is_dir() else "there is no such folder"
        raise InvalidArgument("--out", out, problem, "run the study first, or give another --out")
    if names is not None and to_do:
        told = ", ".join(f"{name} ({command})" for name, command in to_do.items())
        raise UsageError(f"--parts {','.join(names)}: not done: {told}; run the study first, or leave them out")
    return [part for part in parts if part.name not in to_do]


def _to_do(part: Part, out: Path) -> str | None:
    """The first command of a part that is not done; None where all are."""
    done = [d.command for d in done_in(out / part.name)]
    return next((" ".join(command) for command in part.commands if list(command) not in done), None)


def _check_target(to: Path, target: Path, sources: Sequence[Path]) -> None:
    """Raises `InvalidArgument` where to replace `target` would take away results of the study, or of anything else."""
    place = target.resolve()
    for source in (source.resolve() for source in sources):
        if place.is_relative_to(source) or source.is_relative_to(place):
            raise InvalidArgument("--to", to, f"{target} would replace results of --out, or lie in them", ELSEWHERE)
    if (to / LOGS).exists():
        raise InvalidArgument("--to", to, f"a study ran there (it holds {LOGS}); its results would go", ELSEWHERE)


def _check_content(to: Path, target: Path, source: Path) -> None:
    """Raises `InvalidArgument` where `target` is neither an empty folder nor a part as `publish_parts` leaves it."""
    if not os.path.lexists(target):
        return
    remedy = f"{ELSEWHERE}, or move it away"
    is_folder = target.is_dir() and not target.is_symlink()
    if is_folder and (foreign := foreign_file(target, _published(source))) is not None:
        problem = f"{target} holds {foreign}, which this command does not write, and which would be lost"
        raise InvalidArgument("--to", to, problem, remedy)
    is_empty = is_folder and not any(path.is_file() for path in target.rglob("*"))
    if not is_empty and not (is_folder and (target / DONE).is_file()):
        problem = f"{target} was not published by this command, and would be replaced"
        raise InvalidArgument("--to", to, problem, remedy)


def _publish(source: Path, target: Path, folders: Folders) -> None:
    """Copies a part to a folder beside `target`, which then takes its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new, old = (target.with_name(f".{target.name}.{state}") for state in ("new", "old"))
    if old.exists() and not target.exists():  # a process was killed between the two renames
        old.rename(target)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        _copy_part(source, new, folders)
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _published(source: Path) -> list[Path]:
    """What is published of a part, as paths in the copy: last of all what says that it is done."""
    paths = [path for pattern in PATTERNS for path in sorted(source.glob(pattern)) if path.name != DONE]
    for run in sorted((source / RUNS).glob("*")):
        paths += [run / name for name in OF_RUN if (run / name).exists()]
        if (run / RECORDS).exists():
            paths.append(run / PACKED)
    return [path.relative_to(source) for path in [*paths, source / DONE]]


def _copy_part(source: Path, target: Path, folders: Folders) -> None:
    """Copies what is published of a part."""
    for path in _published(source):
        if path.name == PACKED:
            _pack(source / path.with_name(RECORDS), target / path)
        else:
            _copy(source / path, target / path, folders)


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
