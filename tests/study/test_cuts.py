"""The table of cuts: minutes of each part, what is not recorded, and that published parts are the plan's."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.study.page import cuts
from experiments.study.page.cuts import is_of
from experiments.study.page.published import PUBLISHED, STUDY
from experiments.study.plan import Part, read_plan
from experiments.study.progress import Done, done_in, note_done
from pynode.records.files import write_json

COMPARE = ("compare", "csv", "--data", "{data}/rows.csv", "--out", "{out}")
PLAN = [Part("a", (("list",), COMPARE), "half of the rows"), Part("b", (("list",),))]


def started(minute: int, *words: str) -> dict[str, object]:
    """What a run records of a start."""
    return {"command": ["experiments/run.py", *words], "time": f"2026-11-29T02:{minute:02}:00+00:00"}


def done(command: tuple[str, ...], seconds: float) -> Done:
    return Done(list(command), seconds, 1.0, "a" * 40)


def test_each_part_has_its_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the commands that are in the plan; "more than" where runs of a command began further apart than it took."""
    monkeypatch.setattr(cuts, "PUBLISHED", tmp_path)
    monkeypatch.setattr(cuts, "read_plan", lambda: PLAN)
    part = tmp_path / STUDY / "a"
    note_done(part, [done(("list",), 60.0), done(("gone",), 6000.0)])
    assert cuts.cuts().splitlines()[2:] == [
        "| a | 1 (1 of 2 commands) | half of the rows |",
        "| b | no record yet | nothing |",
        "| all of these | 1 |  |",
    ]
    note_done(part, [done(("list",), 60.0), done(COMPARE, 90.0)])
    words = [word.format(out="results/study/a", data="rows") for word in COMPARE]
    for run, minute in (("x-seed0", 10), ("x-seed1", 11)):
        (part / "runs" / run).mkdir(parents=True)
        write_json(part / "runs" / run / "environment.json", [started(minute, *words)])
    assert "| a | 2.5 | half of the rows |" in cuts.cuts()
    assert "| all of these | 2.5 |  |" in cuts.cuts()
    write_json(part / "runs" / "x-seed1" / "environment.json", [started(11, *words), started(30, *words, "--resume")])
    assert "| a | more than 2.5 | half of the rows |" in cuts.cuts()
    assert "| all of these | more than 2.5 |  |" in cuts.cuts()


def test_commands_are_known_by_their_words() -> None:
    assert is_of(started(0, "compare", "csv", "--data", "/my/rows.csv", "--out", "x", "--resume"), COMPARE)
    assert not is_of(started(0, "compare", "npy", "--data", "/my/rows.csv", "--out", "x"), COMPARE)
    assert not is_of(started(0, "compare", "csv", "--out", "x"), COMPARE)
    assert not is_of({}, COMPARE)


def test_what_is_published_was_made_by_the_plan() -> None:
    """So that the notes of the plan are about these records."""
    published = {part: done_in(PUBLISHED / STUDY / part.name) for part in read_plan()}
    made = {part: {tuple(d.command) for d in done} for part, done in published.items() if done}
    assert made
    assert {part.name: commands for part, commands in made.items() if commands != set(part.commands)} == {}
