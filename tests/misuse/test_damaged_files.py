"""A table of file x damage x command: one line that names the file, no traceback, no hang, nothing changed on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pynode.cli import main
from pynode.errors import PynodeError, RecordError
from pynode.records.files import read_json
from pynode.records.runs import load_run
from pynode.studies.results import LINES
from pynode.sweeps.layout import FILE
from pynode.training.checkpoint import NAME, PREVIOUS, decode
from pynode.training.trainer import train
from tests.misuse.damage import (
    CUT,
    FEW,
    FOLDER,
    IRREGULAR,
    RUN,
    RUN_FILES,
    WRONG,
    as_folder,
    as_pipe,
    content_of,
    halved,
    refused,
    replaced,
    rows,
)

pytestmark = pytest.mark.timeout(60)

# --- the table --------------------------------------------------------------------------------------------------------


@rows(IRREGULAR, WRONG, {"cut in half": halved})
@pytest.mark.parametrize("file", RUN_FILES)
def test_show_of_a_run(
    here: Path, file: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = here / "out" / FOLDER / file
    damage(path)
    assert "--resume" in refused(["show", str(here / "out")], path, here, capsys)


@rows(FEW)
@pytest.mark.parametrize("file", [file for file, _ in LINES.values()])
def test_show_of_other_records(
    here: Path, file: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = here / "out" / file
    damage(path)
    refused(["show", str(here / "out")], path, here, capsys, "restore it")


@rows(FEW)
@pytest.mark.parametrize("file", ["config.json", "summary.json", "evaluation.json", NAME])
@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_use_of_a_trained_flow(
    here: Path, command: str, file: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = here / "flow" / "runs" / "one" / file
    damage(path)
    if file == NAME:
        path.with_name(PREVIOUS).unlink(missing_ok=True)
    refused([command, str(here / "flow")], path, here, capsys)


@rows(IRREGULAR)
@pytest.mark.parametrize("file", [*RUN_FILES, "environment.json", "events.jsonl", NAME, PREVIOUS])
def test_resume_refuses_what_is_no_file(here: Path, file: str, damage: Callable[[Path], None]) -> None:
    """In the library, so that no report is drawn: nothing but the lock is touched."""
    path = here / "out" / FOLDER / file
    path.touch()
    damage(path)
    before = content_of(here)
    with pytest.raises(RecordError, match=file):
        train(replace(RUN, iterations=6), path.parent, resume=True)
    assert content_of(here) == before


@rows(WRONG, CUT)
@pytest.mark.parametrize("file", [*RUN_FILES, "environment.json", NAME])
def test_resume_mends_what_is_damaged(here: Path, file: str, damage: Callable[[Path], None]) -> None:
    path = here / "out" / FOLDER / file
    damage(path)
    if path.stat().st_size > 1 << 30 and path.suffix == ".jsonl":  # more than records may have
        with pytest.raises(RecordError, match=file):
            train(RUN, path.parent, resume=True)
        return
    train(RUN, path.parent, resume=True)
    assert load_run(path.parent).finished


@rows(IRREGULAR, WRONG, CUT)
def test_crosscheck_of_a_case(here: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "case.json"
    damage(path)
    refused(["crosscheck", "--case", str(path), "--out", str(here / "new")], path, here, capsys)


@rows({k: v for k, v in IRREGULAR.items() if "link" not in k}, WRONG, CUT)
def test_resume_of_a_sweep(here: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "sweep" / FILE
    damage(path)
    refused(["sweep", "--resume", "--out", str(path.parent)], path, here, capsys)


@rows(FEW)
@pytest.mark.parametrize("file", RUN_FILES)
def test_a_sweep_with_a_damaged_run_can_be_listed(
    here: Path, file: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = (here / "sweep" / "spiral" / "runs").iterdir()
    damage(folder / file)
    before = content_of(here)
    assert main(["sweep", "--resume", "--dry-run", "--out", str(here / "sweep")]) == 0
    assert "spiral/disc-opt" in capsys.readouterr().out
    assert content_of(here) == before


# --- records as a whole, checkpoints, parts of a suite ----------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, "x", ["x"], {"a": 1}], ids=str)
@pytest.mark.parametrize("option", ["memory", "budget", "scheme", "engine"])
def test_a_method_that_can_not_be_is_taken_from_the_checkpoint(here: Path, option: str, value: Any) -> None:
    path = here / "out" / FOLDER / "config.json"
    plain = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    path.write_text(json.dumps({**plain, "method": {**plain["method"], option: value}}))
    train(RUN, path.parent, resume=True)
    assert RUN.check_resumes(read_json(path)) == {}


def test_reversed_records_are_told_and_mended(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "out" / FOLDER / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(reversed(whole.splitlines(keepends=True))))
    refused(["show", str(here / "out")], path, here, capsys, "its iterations are not in order", "--resume")
    train(RUN, path.parent, resume=True)
    assert path.read_bytes() == whole


def changed_tensors(tensors: dict[str, torch.Tensor], what: str) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint with one damage."""
    name = next(name for name in sorted(tensors) if name.startswith(what.split()[0]))
    return {
        "lacks": lambda: {k: v for k, v in tensors.items() if k != name},
        "shape": lambda: {**tensors, name: torch.zeros(3, 3, dtype=tensors[name].dtype)},
        "dtype": lambda: {**tensors, name: tensors[name].to(torch.int32)},
        "more": lambda: {**tensors, f"{what.split()[0]}.77.more": torch.zeros(1)},
    }[what.split()[1]]()


@pytest.mark.parametrize("change", ["lacks", "shape", "dtype", "more"])
@pytest.mark.parametrize("part", ["model", "optimiser", "extra"])
def test_a_checkpoint_with_another_part(here: Path, part: str, change: str) -> None:
    """Of a version without a digest, so that the change is all that is wrong with it."""
    folder = here / "out" / FOLDER
    whole = decode((folder / NAME).read_bytes(), NAME)
    changed = changed_tensors(whole.tensors, f"{part} {change}")
    content = safetensors.torch.save(changed, metadata={"progress": json.dumps(whole.progress)})
    (folder / NAME).write_bytes(content)
    (folder / PREVIOUS).unlink()
    with pytest.raises(PynodeError, match=part):
        train(replace(RUN, iterations=6), folder, resume=True)


@pytest.mark.parametrize(
    "progress",
    [
        *(3, None, [], {}, {"iteration": -1}, {"iteration": "2"}, {"iteration": 2, "pace": 3}),
        *({"iteration": 2, "pace": {"level": -1}}, {"iteration": 2, "best_loss": "low"}, {"iteration": 2, "colour": 1}),
    ],
    ids=str,
)
def test_a_checkpoint_with_another_progress(here: Path, progress: Any) -> None:
    folder = here / "out" / FOLDER
    whole = decode((folder / NAME).read_bytes(), NAME)
    (folder / NAME).write_bytes(safetensors.torch.save(whole.tensors, metadata={"progress": json.dumps(progress)}))
    (folder / PREVIOUS).unlink()
    before = content_of(here)
    with pytest.raises(RecordError, match=NAME):
        train(replace(RUN, iterations=6), folder, resume=True)
    assert content_of(here) == before


@pytest.mark.parametrize("damage", [as_pipe, as_folder, replaced(b"3\n")], ids=["pipe", "folder", "number"])
@pytest.mark.parametrize("file", ["config.json", "records.jsonl"])
def test_a_damaged_part_of_a_suite_does_not_hide_the_others(
    here: Path, file: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    suite = here / "suite"
    for name in ("spiral", "other", "third"):
        shutil.copytree(here / "out" / "runs", suite / name / "runs")
    path = suite / "other" / FOLDER / file
    damage(path)
    before = content_of(here)
    assert main(["show", str(suite)]) == 1
    shown = capsys.readouterr()
    assert "spiral" in shown.out
    assert "third" in shown.out
    assert shown.err.count("\n") == 1
    assert str(path) in shown.err
    assert content_of(here) == before


def test_a_damaged_run_does_not_hide_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = here / "out" / "runs"
    shutil.copytree(runs / RUN.label, runs / "second")
    (runs / "second" / "summary.json").write_text("{")
    before = content_of(here)
    assert main(["show", str(here / "out")]) == 1
    shown = capsys.readouterr()
    assert "RQ1 Quality and cost" in shown.out
    assert str(runs / "second" / "summary.json") in shown.err
    assert "--resume" in shown.err
    assert content_of(here) == before


def test_show_ignores_what_it_does_not_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("events.jsonl", "environment.json", ".holder", "notes.txt"):
        (here / "out" / FOLDER / file).touch()
        as_pipe(here / "out" / FOLDER / file)
    for file, _ in LINES.values():  # nothing to draw
        (here / "out" / file).unlink()
    assert main(["show", str(here / "out")]) == 0
    assert "RQ1 Quality and cost: spiral" in capsys.readouterr().out
