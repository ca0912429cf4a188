"""What has been done of the study: in `study.json` of a part the commands that ended well, in `begun.json` the others.

`begun.json` lies beside the parts, because a command takes whatever is in the directory of its part for its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pynode.records.content import is_there
from pynode.records.files import make_directory, read_object, remove, write_json
from pynode.records.schema import NonNegative, Seconds, convert

DONE, BEGUN = "study.json", "begun.json"

LOGS = "logs"
"""Folder beside the parts with the output of their commands."""


@dataclass(frozen=True)
class Done:
    """One command that ended with status 0.

    `command` as the plan has it, `seconds` what it took, with what it took before interruptions, `load_average` that of
    the machine over the minute before it, None where the system does not say.
    """

    command: list[str]
    seconds: Seconds
    load_average: NonNegative | None
    commit: str


@dataclass(frozen=True)
class PartRecord:
    """All commands of a part that are done."""

    commands: list[Done]


@dataclass(frozen=True)
class Begun:
    """One command that was interrupted or failed, and what it took until then."""

    part: str
    command: list[str]
    seconds: Seconds


@dataclass(frozen=True)
class BegunRecord:
    """All commands of a study that have begun and are not done."""

    commands: list[Begun]


def done_in(directory: Path) -> list[Done]:
    """The commands of the part in `directory` that are done, in order; raises `RecordError` for a damaged file."""
    path = directory / DONE
    if not path.exists():
        return []
    return convert(read_object(path, PartRecord, "delete it, and the part's commands run again"), PartRecord).commands


def note_done(directory: Path, done: list[Done]) -> None:
    """Writes which commands are done."""
    write_json(make_directory(directory) / DONE, asdict(PartRecord(done)))


def seconds_begun(out: Path, part: str, command: Sequence[str]) -> float:
    """What a command took until it was interrupted, 0 where it never was; raises `RecordError` for a damaged file."""
    return sum(b.seconds for b in _begun_in(out) if (b.part, b.command) == (part, list(command)))


def note_begun(out: Path, part: str, command: Sequence[str], seconds: float) -> None:
    """Writes what an interrupted command has taken so far."""
    others = _others(out, part, command)
    write_json(make_directory(out) / BEGUN, asdict(BegunRecord([*others, Begun(part, list(command), seconds)])))


def forget_begun(out: Path, part: str, command: Sequence[str]) -> None:
    """Takes out a command that is done; the file goes with its last one."""
    if not is_there(out / BEGUN):
        return
    if others := _others(out, part, command):
        write_json(out / BEGUN, asdict(BegunRecord(others)))
    else:
        remove(out / BEGUN)


def _others(out: Path, part: str, command: Sequence[str]) -> list[Begun]:
    return [b for b in _begun_in(out) if (b.part, b.command) != (part, list(command))]


def _begun_in(out: Path) -> list[Begun]:
    path = out / BEGUN
    if not is_there(path):
        return []
    remedy = "delete it; the time before interruptions is then lost"
    return convert(read_object(path, BegunRecord, remedy), BegunRecord).commands
