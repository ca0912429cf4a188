"""What a whole training leaves, on the disk or in memory: records and checkpoints of its parts, events, its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pynode.errors import CheckpointMismatch
from pynode.problems.base import Evaluation
from pynode.records.events import Event, note
from pynode.records.files import end_line, lines_if_any, make_directory, remove, write_json
from pynode.records.iteration import IterationRecord
from pynode.records.run_files import EVALUATION, SUMMARY
from pynode.records.runs import RECORDS, records_of
from pynode.training import checkpoint
from pynode.training.progress import FinishingProgress
from pynode.training.run_directory import cut
from pynode.training.storage import FolderStorage, MemoryStorage, Storage
from pynode.training.weights import FINISHING


class Keeper(Protocol):
    """Where a training keeps what it leaves."""

    @property
    def adam(self) -> Storage:
        """Takes what Adam's iterations leave."""

    @property
    def stages(self) -> Storage:
        """Takes what those of the stages leave."""

    def records(self) -> tuple[list[IterationRecord], list[IterationRecord]]:
        """Those of Adam's iterations, and of the stages after them."""

    def begins_again(self, *, stages_too: bool) -> None:
        """Forgets what was said at the end, and the stages after Adam, now that the training goes on before that."""

    def point_of_stages(
        self, check: Callable[[checkpoint.Checkpoint], None], every: int
    ) -> checkpoint.Checkpoint | None:
        """The checkpoint from which the stages go on, None where they begin; `check` raises for one of another run."""

    def keep_evaluation(self, evaluation: Evaluation) -> None:
        """Takes the evaluation."""

    def keep_summary(self, summary: dict[str, Any]) -> None:
        """Takes the summary."""


@dataclass
class OnDisk:
    """The folder of a run, with one in it for the stages after Adam."""

    directory: Path
    adam: FolderStorage = field(init=False)
    stages: FolderStorage = field(init=False)

    def __post_init__(self) -> None:
        self.adam = FolderStorage(self.directory, self.directory)
        self.stages = FolderStorage(self.directory / FINISHING, self.directory)

    def records(self) -> tuple[list[IterationRecord], list[IterationRecord]]:
        of_adam, of_stages = (
            lines_if_any(folder / RECORDS, IterationRecord) for folder in (self.directory, self.stages.folder)
        )
        return of_adam, of_stages

    def begins_again(self, *, stages_too: bool) -> None:
        for stale in (SUMMARY, EVALUATION):
            remove(self.directory / stale)
        if stages_too:
            for stale in (checkpoint.NAME, checkpoint.PREVIOUS, RECORDS, records_of(self.stages.folder).name):
                remove(self.stages.folder / stale)

    def point_of_stages(
        self, check: Callable[[checkpoint.Checkpoint], None], every: int
    ) -> checkpoint.Checkpoint | None:
        folder = self.stages.folder
        make_directory(folder)
        intact, damaged = checkpoint.read_intact(folder, FinishingProgress.from_json)
        if damaged:
            end_line(self.directory / "events.jsonl")
        for name, error in damaged.items():
            note(self.directory, "damaged", 0, f"{error}; it is set aside")
            checkpoint.set_aside(folder, name, "damaged")
        points = []
        for name, candidate in intact:
            try:
                check(candidate)
            except CheckpointMismatch as error:
                note(self.directory, "unused", candidate.iteration, f"{folder / name}: {error}; it is set aside")
                checkpoint.set_aside(folder, name, "unused")
            else:
                points.append(candidate)
        point = cut(folder, points, every, run=self.directory)
        if point is not None:
            self.stages.saved = point.iteration
            note(self.directory, "resumed", point.iteration, f"{FINISHING}, from its last checkpoint")
        return point

    def keep_evaluation(self, evaluation: Evaluation) -> None:
        write_json(self.directory / EVALUATION, evaluation, indent=None)

    def keep_summary(self, summary: dict[str, Any]) -> None:
        write_json(self.directory / SUMMARY, summary)


@dataclass
class InMemory:
    """A training in memory, called `label`."""

    label: str
    summary: dict[str, Any] = field(default_factory=dict)
    adam: MemoryStorage = field(init=False)
    stages: MemoryStorage = field(init=False)

    def __post_init__(self) -> None:
        self.adam, self.stages = MemoryStorage(self.label), MemoryStorage(self.label)

    @property
    def events(self) -> list[Event]:
        """All that happened, in words."""
        return [*self.adam.events, *self.stages.events]

    def records(self) -> tuple[list[IterationRecord], list[IterationRecord]]:
        return self.adam.records, self.stages.records

    def begins_again(self, *, stages_too: bool) -> None:
        """Nothing to do: what is in memory begins once."""

    def point_of_stages(
        self,
        check: Callable[[checkpoint.Checkpoint], None],  # noqa: ARG002
        every: int,  # noqa: ARG002
    ) -> checkpoint.Checkpoint | None:
        return None

    def keep_evaluation(self, evaluation: Evaluation) -> None:
        """Nothing to do: it is asked for where it is wanted."""

    def keep_summary(self, summary: dict[str, Any]) -> None:
        self.summary = summary
