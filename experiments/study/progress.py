"""What of a part of the study has been done: the commands that ended well, kept in `study.json` beside the records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pynode.records.files import make_directory, read_object, write_json
from pynode.records.schema import NonNegative, Seconds, convert

DONE = "study.json"


@dataclass(frozen=True)
class Done:
    """One command that ended with status 0.

    `command` as the plan has it, `seconds` what it took, `load_average` what the machine had to do before it, over the
    last minute, None where the system does not say.
    """

    command: list[str]
    seconds: Seconds
    load_average: NonNegative | None
    commit: str


@dataclass(frozen=True)
class PartRecord:
    """All commands of a part that are done."""

    commands: list[Done]


def done_in(directory: Path) -> list[Done]:
    """The commands of the part in `directory` that are done, in order; raises `RecordError` for a damaged file."""
    path = directory / DONE
    if not path.exists():
        return []
    return convert(read_object(path, PartRecord, "delete it, and the part's commands run again"), PartRecord).commands


def note_done(directory: Path, done: list[Done]) -> None:
    """Writes which commands are done."""
    write_json(make_directory(directory) / DONE, asdict(PartRecord(done)))
