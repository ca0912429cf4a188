"""What a disk may do to a run: damage is noticed, the checkpoint before it taken, and nothing intact is lost."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from pynode.engines.fused import unavailable
from pynode.errors import ConfigurationMismatch, OutputDirectoryError, RecordError
from pynode.methods.disc_opt import DiscOpt
from pynode.records.events import EVENTS, Event
from pynode.records.files import read_json, read_lines
from pynode.records.iteration import is_timed
from pynode.records.lock import lock
from pynode.records.runs import load_run
from pynode.training.checkpoint import NAME, PREVIOUS
from pynode.training.config import RunConfig
from pynode.training.trainer import train
from pynode.training.weights import best_theta
from tests.runs import untimed

CONFIG = RunConfig(
    problem="spiral",
    method=DiscOpt(),
    seed=0,
    iterations=14,
    learning_rate=0.1,
    weight_decay=0.0,
    validate_every=3,
    checkpoint_every=5,
    memory_every=100,
)
SHORTER = replace(CONFIG, iterations=12)
"""Leaves checkpoints of iterations 12 and 10."""


def events(directory: Path) -> list[tuple[str, str]]:
    """What befell a run, and how it is told."""
    return [(e.event, e.detail) for e in read_lines(directory / EVENTS, Event)]


def flip(path: Path, bit: int) -> None:
    """Turns one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def flip_in_line(path: Path, number: int) -> bytes:
    """Turns over one bit of a digit in the loss of a line; returns the line as it was."""
    lines = path.read_bytes().split(b"\n")
    before = lines[number]
    at = before.index(b'"loss": ') + 10
    changed = bytearray(before)
    changed[at] ^= 1
    lines[number] = bytes(changed)
    path.write_bytes(b"\n".join(lines))
    return before


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of the whole run.  That of `SHORTER` validates its last iteration too, so both are made alike."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    train(SHORTER, folder)
    train(CONFIG, folder, resume=True)
    return untimed(folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 iterations."""
    folder = tmp_path_factory.mktemp("template") / "run"
    train(SHORTER, folder)
    return folder


@pytest.fixture
def run(template: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(template, tmp_path / "run"))


def test_a_flipped_bit_of_a_checkpoint_is_noticed(run: Path, unbroken: list[dict[str, Any]]) -> None:
    """600 of them: half in the header, half in the numbers."""
    path = run / NAME
    whole = path.read_bytes()
    header = 8 * (8 + int.from_bytes(whole[:8], "little"))
    chosen = random.Random(1)
    bits = [chosen.randrange(header) for _ in range(300)] + [
        chosen.randrange(header, 8 * len(whole)) for _ in range(300)
    ]
    (run / PREVIOUS).unlink()
    for bit in bits:
        flip(path, bit)
        with pytest.raises(RecordError, match=r"checkpoint\.safetensors"):
            best_theta(run, "spiral")
        path.write_bytes(whole)
    train(CONFIG, run, resume=True)
    assert untimed(run) == unbroken


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_the_checkpoint_before_a_damaged_one_is_taken(
    run: Path, damage: str, unbroken: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    path = run / NAME
    size = path.stat().st_size
    {
        "flip": lambda: flip(path, 8 * size - 100),
        "truncate": lambda: os.truncate(path, size // 2),
        "empty": lambda: os.truncate(path, 0),
        "remove": path.unlink,
    }[damage]()
    train(CONFIG, run, resume=True)
    assert [r["iteration"] for r in untimed(run)] == list(range(14))
    # iterations 10 and 11 are made again; the 12th, no longer the last, is not validated now
    again = untimed(run)
    unbroken = [dict(r) for r in unbroken]
    assert unbroken[11].pop("validation_loss") is not None
    assert again[11].pop("validation_loss") is None
    assert again == unbroken
    told = dict(events(run))
    assert "from the last checkpoint" in told["resumed"]
    if damage != "remove":
        assert "the checkpoint before it is taken" in told["damaged"]
        assert "the checkpoint before it is taken" in caplog.text
        left = {"flip": size, "truncate": size // 2, "empty": 0}[damage]
        assert (run / f"{NAME}.damaged").stat().st_size == left


def test_two_damaged_checkpoints_are_named_and_nothing_else_is_touched(run: Path) -> None:
    for name in (NAME, PREVIOUS):
        flip(run / name, 8 * (run / name).stat().st_size - 9)
    before = {p.name: p.read_bytes() for p in run.iterdir() if not p.name.startswith(".")}
    with pytest.raises(RecordError, match=r"checkpoint\.safetensors: its SHA-256 is another.*; remove "):
        train(CONFIG, run, resume=True)
    assert {p.name: p.read_bytes() for p in run.iterdir() if not p.name.startswith(".")} == before


def test_damaged_records_are_made_again_from_the_checkpoint_before_them(run: Path) -> None:
    whole = untimed(run)
    flip_in_line(run / "records.jsonl", 10)
    train(SHORTER, run, resume=True)
    assert untimed(run) == whole
    assert dict(events(run))["went back"] == "from iteration 12: records before it are damaged"


def test_damage_before_both_checkpoints_costs_its_lines_alone(run: Path, unbroken: list[dict[str, Any]]) -> None:
    line = flip_in_line(run / "records.jsonl", 4)
    summary = train(CONFIG, run, resume=True)
    assert untimed(run) == [r for r in unbroken if r["iteration"] != 4]
    assert summary["lost_records"] == 1
    assert summary["iterations"] == 14
    assert dict(events(run))["lost records"] == "1 of 12, the first of iteration 4; the run goes on"
    kept = (run / "records.damaged").read_bytes().rstrip(b"\n")
    assert sum(a != b for a, b in zip(kept, line, strict=True)) == 1
    assert train(CONFIG, run, resume=True) == summary, "a finished run that lost records is finished nevertheless"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.97])
def test_truncated_records(run: Path, unbroken: list[dict[str, Any]], share: float) -> None:
    path = run / "records.jsonl"
    os.truncate(path, int(share * path.stat().st_size))
    left = path.read_bytes().count(b"\n")
    summary = train(CONFIG, run, resume=True)
    if left >= 10:  # the checkpoint of iteration 10 has all its records
        assert summary["lost_records"] == 0
        assert [r["loss"] for r in untimed(run)] == [r["loss"] for r in unbroken]
    else:
        assert summary["lost_records"] == 12 - left
        assert untimed(run) == [r for r in unbroken if r["iteration"] < left or r["iteration"] >= 12]


def test_a_damaged_configuration_is_read_from_the_checkpoint(run: Path, unbroken: list[dict[str, Any]]) -> None:
    path = run / "config.json"
    path.write_bytes(path.read_bytes().replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(ConfigurationMismatch, match=r"learning_rate: 0\.1 -> 0\.2"):
        train(replace(CONFIG, learning_rate=0.2), run, resume=True)
    train(CONFIG, run, resume=True)
    assert untimed(run) == unbroken
    assert "the copy in the checkpoint is taken" in dict(events(run))["damaged"]
    assert replace(RunConfig.from_json(read_json(path)), decided_engine=None) == CONFIG


@pytest.mark.parametrize("name", ["summary.json", "evaluation.json"])
def test_what_a_finished_run_said_at_its_end_is_made_again(run: Path, name: str) -> None:
    records, before = untimed(run), read_json(run / name)
    path = run / name
    path.write_bytes(path.read_bytes().replace(b"2", b"3", 1))
    summary = train(SHORTER, run, resume=True)
    assert read_json(run / "summary.json") == summary
    assert untimed(run) == records
    after = read_json(path)
    assert {k: v for k, v in after.items() if not is_timed(k)} == {k: v for k, v in before.items() if not is_timed(k)}


@pytest.mark.parametrize("name", ["config.json", "environment.json", "records.jsonl", "summary.json"])
def test_a_file_that_is_gone(run: Path, unbroken: list[dict[str, Any]], name: str) -> None:
    """Never a second run on top of the first."""
    (run / name).unlink()
    with pytest.raises(OutputDirectoryError, match="holds a run already"):
        train(CONFIG, run)
    summary = train(CONFIG, run, resume=True)
    assert summary["lost_records"] == (12 if name == "records.jsonl" else 0)
    assert untimed(run) == (unbroken[12:] if name == "records.jsonl" else unbroken)
    load_run(run)


def test_gzipped_records_are_records(run: Path, unbroken: list[dict[str, Any]]) -> None:
    path = run / "records.jsonl"
    (run / "records.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    before = (run / "summary.json").read_bytes()
    train(SHORTER, run, resume=True)
    assert (run / "summary.json").read_bytes() == before, "a finished run is left alone"
    train(CONFIG, run, resume=True)
    assert untimed(run) == unbroken
    assert not (run / "records.jsonl.gz").exists()


def test_an_engine_that_was_left_open_is_that_of_the_run(template: Path, tmp_path: Path) -> None:
    eager = replace(CONFIG, method=DiscOpt(engine="eager"))
    train(replace(eager, iterations=12), tmp_path / "run")
    train(CONFIG, tmp_path / "run", resume=True)
    assert {r["engine"] for r in untimed(tmp_path / "run")} == {"eager"}
    if unavailable() is None:
        with pytest.raises(ConfigurationMismatch, match="method: "):
            train(replace(CONFIG, method=DiscOpt(engine="fused"), iterations=20), tmp_path / "run", resume=True)
    run = Path(shutil.copytree(template, tmp_path / "open"))
    train(eager, run, resume=True)
    before = "eager" if unavailable() else "fused"
    assert (before == "eager") or ("changed", f"engine: {before} -> eager") in events(run)


def test_damage_is_set_aside_as_often_as_it_happens(run: Path) -> None:
    for longer in (14, 16):
        flip(run / NAME, 8 * (run / NAME).stat().st_size - 9)
        train(replace(CONFIG, iterations=longer), run, resume=True)
    assert sorted(p.name for p in run.glob("*.damaged*")) == [f"{NAME}.damaged", f"{NAME}.damaged.2"]


def test_a_damaged_earlier_checkpoint_is_of_no_account(run: Path, unbroken: list[dict[str, Any]]) -> None:
    flip(run / PREVIOUS, 8 * (run / PREVIOUS).stat().st_size - 9)
    train(CONFIG, run, resume=True)
    assert untimed(run) == unbroken
    assert dict(events(run))["damaged"].endswith("so it was damaged; the newest is taken as it is")


def test_weights_of_an_older_checkpoint_are_warned_of(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    flip(run / NAME, 8 * (run / NAME).stat().st_size - 9)
    best_theta(run, "spiral")
    assert "so it was damaged; the checkpoint before it is taken" in caplog.text


def test_a_damaged_environment_is_set_aside(run: Path) -> None:
    (run / "environment.json").write_text("[{")
    train(CONFIG, run, resume=True)
    assert (run / "environment.damaged").read_text() == "[{"
    assert len(read_json(run / "environment.json")) == 1


def test_records_without_any_checkpoint_are_kept_elsewhere(run: Path) -> None:
    records = (run / "records.jsonl").read_bytes()
    for name in (NAME, PREVIOUS, "summary.json"):
        (run / name).unlink()
    train(SHORTER, run, resume=True)
    assert (run / "records.left").read_bytes() == records
    assert len(untimed(run)) == 12


def test_another_configuration_is_refused_before_anything_is_touched(run: Path) -> None:
    flip(run / NAME, 8 * (run / NAME).stat().st_size - 9)
    before = {p.name: p.read_bytes() for p in run.iterdir() if not p.name.startswith(".")}
    with pytest.raises(ConfigurationMismatch, match=r"validate_every: 3 -> 4\); resume with the same"):
        train(replace(CONFIG, validate_every=4, weight_decay=0.1), run, resume=True)
    assert {p.name: p.read_bytes() for p in run.iterdir() if not p.name.startswith(".")} == before


def test_what_decides_no_number_may_change(run: Path) -> None:
    train(replace(CONFIG, checkpoint_every=3, on_failure="skip"), run, resume=True)
    changes = [detail for event, detail in events(run) if event == "changed"]
    assert changes == ["iterations: 12 -> 14", "checkpoint_every: 5 -> 3", "on_failure: stop -> skip"]


def test_a_run_of_an_earlier_version_goes_on(run: Path, unbroken: list[dict[str, Any]]) -> None:
    """Without checksums, and without the options that came later."""

    def strip(text: str) -> str:
        parts = [line.partition(', "checksum"') for line in text.split("\n")]
        return "\n".join(f"{start}}}" if separator else start for start, separator, _ in parts)

    path = run / "records.jsonl"
    path.write_text(strip(path.read_text()))
    config = read_json(run / "config.json")
    del config["on_failure"]
    (run / "config.json").write_text(json.dumps(config))
    train(CONFIG, run, resume=True)
    assert untimed(run) == unbroken


def test_a_config_of_a_later_version_is_told(run: Path) -> None:
    config = read_json(run / "config.json")
    (run / "config.json").write_text(json.dumps({**config, "hyperdrive": True}))
    with pytest.raises(ConfigurationMismatch, match="another version of pynode, which knew hyperdrive"):
        train(CONFIG, run, resume=True)


def test_one_process_at_a_time(run: Path) -> None:
    with lock(run), pytest.raises(OutputDirectoryError, match=rf"in use by process {os.getpid()} on .*; wait for it"):
        train(CONFIG, run, resume=True)
    train(CONFIG, run, resume=True)
    assert not (run / ".holder").exists()


def test_a_file_system_without_locks_is_used_with_a_warning(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As NFS may answer; another answer is no reason to go on."""

    def refuse(number: int) -> None:
        def acquire(_lock: FileLock) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(FileLock, "acquire", acquire)

    refuse(errno.ENOLCK)
    train(CONFIG, run, resume=True)
    assert "its file system knows no locks; start no other command in it" in caplog.text
    refuse(errno.EIO)
    with pytest.raises(OutputDirectoryError, match="can't be locked"):
        train(CONFIG, run, resume=True)
