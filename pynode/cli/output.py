"""Where results go: a fresh directory by default, never over an earlier one."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pynode.errors import OutputDirectoryError
from pynode.records.files import PROBE, make_directory, read_json, write_json
from pynode.records.lock import HOLDER, LOCK
from pynode.records.runs import RUNS
from pynode.studies.results import LINES

ROOT = Path("results")

ENVIRONMENT = "environment.json"
"""File in a results directory with how its records were made: one entry for each start of the command."""

LAUNCH = ".launch"
"""File in a results directory that says which launch of torchrun made it."""


def output_directory(
    out: Path | None, default: str, *, resume: bool, problem: str | None = None, begun: Collection[str] = ()
) -> Path:
    """The directory to write to, created and proven writable.

    Without `out`: results/`default`, or with the next free number; to resume, the latest of these.  A directory with
    nothing but the files `begun`, which the command writes before its first record, can be resumed.

    Raises `OutputDirectoryError` where it can't be written, holds something and is not to be resumed, or holds results
    of another `problem`.
    """
    if out is None:
        out = _default(default, resume=resume)
    if not str(out).strip() or str(out) == ".":
        raise OutputDirectoryError("--out: empty; give a new directory, e.g. --out results/mine")
    used = _used(out)
    if used and not resume:
        raise OutputDirectoryError(
            f"--out {out}: not empty; continue what is there with --resume, or choose another directory"
        )
    resumable = [out / RUNS, *(out / file for file, _ in LINES.values()), *out.glob(f"*/{RUNS}")]
    if used and not any(part.exists() for part in resumable) and not is_begun(out, begun):
        raise OutputDirectoryError(f"--out {out}: holds nothing that could be resumed; choose another directory")
    if used and problem is not None and (others := _problems(out) - {problem}):
        raise OutputDirectoryError(
            f"--out {out}: holds results of {', '.join(sorted(others))}, not of {problem}; choose another directory"
        )
    return make_directory(out)


def is_begun(out: Path, names: Collection[str]) -> bool:
    """Whether a directory holds files called `names` and nothing else: a command ended before its first record."""
    present = {path.name for path in out.iterdir()} if out.is_dir() else set()
    return not present.isdisjoint(names) and all(name in names or _is_leftover(name) for name in present)


def note_environment(directory: Path, made: Mapping[str, Any]) -> None:
    """Adds what `training.machine.environment` says of this start of the command to what it said of earlier ones."""
    path = directory / ENVIRONMENT
    earlier = read_json(path) if path.exists() else []
    write_json(path, [*(earlier if isinstance(earlier, list) else [earlier]), made])


def _problems(out: Path) -> set[str]:
    """Names of the problems that the records in `out` are about; what can't be read is left to whoever needs it."""
    names = set()
    for path in [*(out / RUNS).glob("*/config.json"), *(out / file for file, _ in LINES.values())]:
        try:
            with path.open(encoding="utf-8") as file:
                # a configuration is one object, the records of a check one in each line
                record = json.load(file) if path.suffix == ".json" else json.loads(file.readline())
            names.add(record["problem"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return {name for name in names if isinstance(name, str)}


def candidates(out: Path | None, default: str) -> list[Path]:
    """The directories that an earlier command with the same `out` may have written to, the latest first."""
    if out is not None:
        return [out]
    taken = [ROOT / default]
    while (ROOT / f"{default}-{len(taken) + 1}").exists():
        taken.append(ROOT / f"{default}-{len(taken) + 1}")
    return taken[::-1]


def _default(name: str, *, resume: bool) -> Path:
    latest, first = (paths := candidates(None, name))[0], paths[-1]
    if resume or not first.exists():
        return latest
    return ROOT / f"{name}-{len(paths) + 1}"


def _used(path: Path) -> bool:
    """Whether there is anything but what a command that was killed at its very beginning has left."""
    try:
        return path.is_dir() and not all(_is_leftover(entry.name) for entry in path.iterdir())
    except OSError:
        return False  # make_directory says why


def _is_leftover(name: str) -> bool:
    """Whether a file of this name is no result, but something that a kill kept from being removed."""
    return name in (PROBE, LOCK, HOLDER, LAUNCH) or (name.startswith(".") and name.endswith(".tmp"))


def check_results(directory: Path) -> None:
    """Raises `OutputDirectoryError` for the argument DIR of a command where it is no directory."""
    if not directory.is_dir():
        what = "a file, not a directory" if directory.exists() else "no such directory"
        raise OutputDirectoryError(f"{directory}: {what}; give the results directory of an earlier command")


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raises `OutputDirectoryError` unless a file can be written there without losing another one."""
    if path.is_dir():
        raise OutputDirectoryError(f"--out {path}: is a directory; name a file")
    if os.path.lexists(path) and not overwrite:
        raise OutputDirectoryError(f"--out {path}: exists; choose another file, or replace it with --overwrite")
    if os.path.lexists(path) and not path.is_file():
        raise OutputDirectoryError(f"--out {path}: not a regular file; choose another one")
    if not path.parent.is_dir():
        raise OutputDirectoryError(f"--out {path}: the directory {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputDirectoryError(f"--out {path}: can't write to {path.parent}; choose another file with --out")
