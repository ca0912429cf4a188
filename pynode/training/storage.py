"""Where a training keeps what it leaves: the folder of a run, or memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pynode.records.content import is_there
from pynode.records.events import Event, new_event, note, tell
from pynode.records.files import append_line, sync_file
from pynode.records.iteration import IterationRecord
from pynode.records.runs import RECORDS
from pynode.training import checkpoint


class Storage(Protocol):
    """Takes records, checkpoints and events of a training.

    What can't be written raises `StorageError`.
    """

    def append(self, record: IterationRecord) -> None:
        """Keeps the record of a finished iteration."""

    def save(self, content: Callable[[], bytes], iteration: int) -> None:
        """Keeps the state before `iteration`, of which `content` gives a checkpoint's bytes."""

    def note(self, event: str, iteration: int, detail: str) -> None:
        """Keeps an event, and says it in the log."""


@dataclass
class FolderStorage:
    """Records and checkpoints of a part of a training in `folder`, events in those of the run in `run`."""

    folder: Path
    run: Path
    saved: int | None = None
    """The iteration of the checkpoint on the disk."""

    def append(self, record: IterationRecord) -> None:
        append_line(self.folder / RECORDS, record)

    def save(self, content: Callable[[], bytes], iteration: int) -> None:
        records = self.folder / RECORDS
        if is_there(records):  # they are to be on the disk before the checkpoint that they belong to
            sync_file(records)
        checkpoint.write(self.folder, content(), again=self.saved == iteration)
        self.saved = iteration

    def note(self, event: str, iteration: int, detail: str) -> None:
        note(self.run, event, iteration, detail)


@dataclass
class MemoryStorage:
    """Records and events of a training called `label`; its state stays where it is."""

    label: str
    records: list[IterationRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def append(self, record: IterationRecord) -> None:
        self.records.append(record)

    def save(self, content: Callable[[], bytes], iteration: int) -> None:
        """Nothing to do: nobody resumes what is in memory."""

    def note(self, event: str, iteration: int, detail: str) -> None:
        happened = new_event(event, iteration, detail)
        self.events.append(happened)
        tell(self.label, happened)
