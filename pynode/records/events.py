"""Events of a run (interruptions, restarts, failures): a line each in events.jsonl, and a message to the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pynode.records.files import append_line
from pynode.records.schema import Count

EVENTS = "events.jsonl"

USUAL = ("resumed", "changed")
"""Events that are no reason for a warning."""

_log = logging.getLogger("pynode")


@dataclass(frozen=True)
class Event:
    """One thing that happened before iteration `iteration`: `event` in a word or two, `detail` in a sentence.

    `time` is wall clock (UTC) and for readers only: nothing depends on it.
    """

    time: str
    event: str
    iteration: Count
    detail: str


def note(directory: Path, event: str, iteration: int, detail: str) -> Event:
    """Appends an event to those of the run in `directory`."""
    happened = new_event(event, iteration, detail)
    append_line(directory / EVENTS, happened)
    tell(directory.name, happened)
    return happened


def new_event(event: str, iteration: int, detail: str) -> Event:
    """An event of now."""
    return Event(datetime.now(timezone.utc).isoformat(timespec="seconds"), event, iteration, detail)


def tell(label: str, happened: Event) -> None:
    """Says an event of the run `label` in the log."""
    level = logging.INFO if happened.event in USUAL else logging.WARNING
    _log.log(level, "%s, iteration %d: %s: %s", label, happened.iteration, happened.event, happened.detail)
