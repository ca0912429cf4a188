"""What was cut against the study, part by part of the plan, and the time that each part took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from experiments.study.check import environments
from experiments.study.page.markdown import table
from experiments.study.page.published import PUBLISHED, STUDY
from experiments.study.plan import Part, read_plan
from experiments.study.progress import Done, done_in
from pynode.studies.base import number

COLUMNS = ["part", "minutes", "cut against the study"]
NOTHING = "nothing"

MORE_THAN = "more than "


def cuts() -> str:
    """A row for each part of the plan, and one for all that are done."""
    parts = [(part, _done(part)) for part in read_plan()]
    rows = [[part.name, _minutes(part, done), part.note or NOTHING] for part, done in parts]
    seconds = [d.seconds for _, done in parts for d in done]
    least = MORE_THAN if any(_is_cut_short(part, done) for part, done in parts) else ""
    return table(COLUMNS, [*rows, ["all of these", f"{least}{number(sum(seconds) / 60)}", ""]])


def _done(part: Part) -> list[Done]:
    """The published commands of a part that are still in the plan."""
    return [d for d in done_in(PUBLISHED / STUDY / part.name) if tuple(d.command) in part.commands]


def _minutes(part: Part, done: Sequence[Done]) -> str:
    """What the commands of a part took; "more than" where one was interrupted and the time before is not recorded."""
    if not done:
        return "no record yet"
    least = MORE_THAN if _is_cut_short(part, done) else ""
    share = "" if len(done) == len(part.commands) else f" ({len(done)} of {len(part.commands)} commands)"
    return f"{least}{number(sum(d.seconds for d in done) / 60)}{share}"


def _is_cut_short(part: Part, done: Sequence[Done]) -> bool:
    """Whether a command of a part was interrupted, and the time before that is not recorded."""
    made = environments(PUBLISHED / STUDY / part.name)
    return any(is_cut_short(d, made) for d in done)


def is_cut_short(done: Done, made: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the runs of a command began further apart than the time that is recorded for it: it was interrupted."""
    times = [datetime.fromisoformat(str(e["time"])) for e in made if is_of(e, done.command)]
    return bool(times) and (max(times) - min(times)).total_seconds() > done.seconds


def is_of(environment: Mapping[str, Any], command: Sequence[str]) -> bool:
    """Whether a command of the plan was what ran, resumed or not; any path will do where the plan has a placeholder."""
    words = [word for word in environment.get("command", [])[1:] if word != "--resume"]
    return len(words) == len(command) and all("{" in b or a == b for a, b in zip(words, command, strict=True))
