"""Records without the folders of the machine that they were made on: paths from the checkout, the results or home."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

Folders = Mapping[str, str]
"""What stands for a folder at the beginning of a path, longer folders first."""

PROGRAM = ("experiments", "run.py")

_ENDS = r"\s'\"`()\[\],;<>|"
"""Characters that end a path inside a message."""

ELSEWHERE = re.compile(rf"(?<![^\s'\"`(\[=:,;])/(?=[\w.])[^{_ENDS}]*/[^{_ENDS}]*[^{_ENDS}:.!?]")
"""An absolute path of two names or more inside a message; what ends a sentence is no part of it."""


def folders_of(out: Path, made: Iterable[Mapping[str, Any]]) -> Folders:
    """The folders behind records in the results directory `out`, from the environments that they were made in.

    Nothing stands for the checkout whose run.py made them, nor for what holds `out` where that is elsewhere, and `~`
    for the home of the user.
    """
    programs = [PurePath(str(e["command"][0])) for e in made if e.get("command")]
    checkouts = {p.parents[1] for p in programs if p.is_absolute() and p.parts[-2:] == PROGRAM}
    here = PurePath(out.absolute())
    beside = set() if any(here.is_relative_to(checkout) for checkout in checkouts) else {here.parent}
    marks = {str(Path.home()): "~/"} | {str(folder): "" for folder in (*checkouts, *beside)}
    return {folder: marks[folder] for folder in sorted(marks, key=len, reverse=True) if PurePath(folder).name}


def portable(value: Any, folders: Folders) -> Any:
    """A value of a record, and all in it, with its paths made relative."""
    if isinstance(value, str):
        return portable_text(value, folders)
    if isinstance(value, Mapping):
        return {key: portable(entry, folders) for key, entry in value.items()}
    if isinstance(value, list):
        return [portable(entry, folders) for entry in value]
    return value


def portable_text(text: str, folders: Folders) -> str:
    """A text with its paths made relative; the paths of other places in it are left with their names alone."""
    for folder, mark in folders.items():
        text = re.sub(rf"(?<![\w./~-]){re.escape(folder)}(/|(?![\w.-]))", _Beginning(mark), text)
    if PurePath(text).is_absolute() and not re.search(r"\s", text):
        return PurePath(text).name or text
    return ELSEWHERE.sub(lambda match: PurePath(match[0]).name, text)


class _Beginning:
    """What a folder at the beginning of a path is replaced by; `.` where the path is the folder itself."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def __call__(self, match: re.Match[str]) -> str:
        return self._mark if match[1] else self._mark.rstrip("/") or "."
