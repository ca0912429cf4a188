"""The plan of the study: its parts, and the commands that make each of them, read from `plan.toml`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.study.progress import BEGUN, LOGS
from pynode.errors import UnknownName, UsageError
from pynode.settings.values import read_toml

PLAN = Path(__file__).with_name("plan.toml")

OUT, DATA = "{out}", "{data}"
"""What stands in a command for the part's own directory, and for the folder with files of data."""

SIMPLE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
"""A name that is a folder's on every system, inside the one it is put in; those with a first dot are `publish`'s."""

TAKEN = (LOGS, BEGUN, "figures", "tables.md")
"""Names of what lies beside the parts: of the runner's files, and of what `show` draws of all parts."""


@dataclass(frozen=True)
class Part:
    """One results directory of the study: its name, its commands in order, and what was cut and why.

    A command is the words behind `experiments/run.py`; `{out}` in a word stands for the directory of the part, and
    `{out}/../NAME` for that of another part, `{data}` for the folder of `--data`.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    note: str = ""

    def words(self, out: Path, data: Path | None) -> list[list[str]]:
        """The commands with their paths filled in; raises `UsageError` where one needs `--data` and there is none."""
        if data is None and any(DATA in word for command in self.commands for word in command):
            raise UsageError(f"the part {self.name} reads a file of data; add --data DIR, or leave it out by --parts")
        # a path through the part's own directory would need that to be there already
        replaced = {f"{OUT}/../": f"{out.parent}/", OUT: str(out), DATA: str(data)}
        return [[_filled(word, replaced) for word in command] for command in self.commands]


def _filled(word: str, replaced: dict[str, str]) -> str:
    for mark, path in replaced.items():
        word = word.replace(mark, path)
    return word


def read_plan(file: Path = PLAN) -> list[Part]:
    """All parts of a plan, in its order; raises `UsageError` for a file that is no plan."""
    parts = [_part(file, name, values) for name, values in read_toml(file, f"the plan {file}").items()]
    if not parts:
        raise UsageError(f"the plan {file} has no part; add a table [NAME] with commands = [...]")
    return parts


def _part(file: Path, name: str, values: Any) -> Part:
    if not isinstance(values, dict) or not set(values) <= {"commands", "note"}:
        raise UsageError(f"{file}: {name} is no table of commands and note alone; write [{name}] and commands = [...]")
    _check_name(file, name)
    commands = values.get("commands")
    if not isinstance(commands, list) or not commands or not all(isinstance(c, str) and c.strip() for c in commands):
        raise UsageError(f"{file}: {name}.commands is no list of command lines; write commands = ['compare ...']")
    return Part(name, tuple(_words(file, name, command) for command in commands), str(values.get("note", "")))


def _check_name(file: Path, name: str) -> None:
    """Raises `UsageError` for a name that is no simple folder name, or that of something else beside the parts."""
    if not SIMPLE.fullmatch(name):
        problem = "is no simple folder name; use letters, digits, '-', '_' and '.', but no '.' in front"
    elif name.lower() in TAKEN:
        problem = f"is taken: {', '.join(TAKEN)} lie beside the parts; give it another name"
    else:
        return
    raise UsageError(f"{file}: the name {name!r} of a part {problem}")


def _words(file: Path, name: str, command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        problem = str(error).rstrip(".").lower()
        raise UsageError(
            f"{file}: {name}.commands has {command!r}, which is no command line ({problem}); close its quotes, and "
            "write a backslash twice"
        ) from None


def chosen(parts: Sequence[Part], names: Sequence[str] | None) -> list[Part]:
    """The parts called `names`, in the plan's order, or all; raises `UnknownName`."""
    known = [part.name for part in parts]
    for name in names or ():
        if name not in known:
            raise UnknownName("part of the study", name, known)
    return [part for part in parts if names is None or part.name in names]
