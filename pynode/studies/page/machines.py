"""Tables of a page about what made the records: commands, versions, machines and commits."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynode.errors import RecordError
from pynode.records.content import is_there
from pynode.records.files import read_json
from pynode.records.run_files import ENVIRONMENT
from pynode.records.runs import RUNS
from pynode.studies.base import Table
from pynode.studies.page.configurations import value_text
from pynode.studies.results import Results

NAMES = {
    "python": "Python",
    "packages": "packages",
    "julia": "Julia",
    "processor": "processor",
    "cores": "cores",
    "torch_threads": "threads of torch",
    "memory_bytes": "memory",
    "gpus": "GPUs",
    "device": "device",
    "ranks": "processes that share a batch",
    "system": "system",
    "git": "commit",
}
"""What an environment tells, as tables call it and in their order; other keys follow under their own names."""

MOMENT = ("time", "command", "checksum")
"""What differs from one start of a command to the next on the same machine."""

WORKER = "sweeps/worker.py"
"""The program of a sweep's cells, which nobody starts by hand."""

FEW = 3
"""Places that a table lists by name."""


@dataclass(frozen=True)
class Start:
    """A command that was started: what it noted of its environment, and which runs or folders it worked on."""

    place: str
    noted: Mapping[str, Any]


def read_starts(results: Results) -> tuple[list[Start], list[str]]:
    """Every start of a command that left records in `results` or in its parts; and what could not be read of them."""
    starts, damaged = [], []
    for place, folder in _places(results):
        path = folder / ENVIRONMENT
        try:
            noted = read_json(path) if is_there(path) else []
        except RecordError as error:
            damaged.append(str(error))
            continue
        every = noted if isinstance(noted, list) else [noted]
        starts += [Start(place, each) for each in every if isinstance(each, dict)]
    return starts, damaged


def _places(results: Results, prefix: str = "") -> Iterator[tuple[str, Path]]:
    yield prefix.rstrip("/"), results.directory
    for run in results.runs:
        yield f"{prefix}{run.label}", results.directory / RUNS / run.label
    for name, part in results.parts.items():
        yield from _places(part, f"{prefix}{name}/")


def start_tables(starts: Iterable[Start]) -> list[Table]:
    """The machines with their versions, a column each, and the commands."""
    machines: dict[str, list[str]] = {}
    commands: dict[str, list[Start]] = {}
    for start in starts:
        lasting = {key: value for key, value in start.noted.items() if key not in MOMENT}
        machines.setdefault(json.dumps(lasting, sort_keys=True), []).append(start.place)
        command = start.noted.get("command")
        if isinstance(command, list) and command and not str(command[0]).endswith(WORKER):
            commands.setdefault(shlex.join(map(str, command)), []).append(start)
    if not machines:
        return []
    described = [dict(_described(json.loads(lasting))) for lasting in machines]
    names = dict.fromkeys([*NAMES.values(), *(name for each in described for name in each)])
    heads = [_together(places) for places in machines.values()] if len(machines) > 1 else ["all records"]
    rows = [[name, *(each.get(name, "–") for each in described)] for name in names if any(name in d for d in described)]
    tables = [Table("Versions and machines", ["", *heads], rows)]
    if commands:
        made = [[_first(begun), text, _together([s.place for s in begun])] for text, begun in commands.items()]
        tables.append(Table("Commands", ["first started", "command", "records in"], sorted(made)))
    return tables


def _described(noted: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in noted.items():
        name = NAMES.get(key, key)
        if key == "git" and isinstance(value, dict):
            changed = ", with changes that were not committed" if value.get("changed") else ""
            yield name, f"{value.get('commit')}{changed}"
        elif key == "memory_bytes" and isinstance(value, int):
            yield name, f"{value / 2**30:.1f} GiB"
        elif isinstance(value, dict):
            yield name, ", ".join(f"{part} {text}" for part, text in value.items() if text is not None)
        elif isinstance(value, list):
            yield name, ", ".join(map(str, value)) or "none"
        else:
            yield name, value_text(value)


def _together(places: list[str]) -> str:
    """Some places in words: the first ones, and how many more."""
    each = [place or "the directory itself" for place in dict.fromkeys(places)]
    if len(each) <= FEW:
        return ", ".join(each)
    return f"{', '.join(each[: FEW - 1])} and {len(each) - FEW + 1} more"


def _first(starts: list[Start]) -> str:
    return min(str(start.noted.get("time", "–")) for start in starts)
