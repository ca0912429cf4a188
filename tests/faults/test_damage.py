"""Files of a run that were damaged, runs that are resumed as something else, and two commands in one directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pynode.records.files import read_json, write_json
from tests.faults.conftest import LABEL, SPIRAL, ended, namespaces, run, run_here, start, untimed, wait_for_records

SHORT = [*SPIRAL, "--iterations", "60", "--checkpoint-every", "20"]
LONGER = [*SPIRAL, "--iterations", "70", "--checkpoint-every", "20", "--resume"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 60 iterations, with checkpoints of iterations 60 and 40."""
    out = tmp_path_factory.mktemp("template") / "out"
    run_here(*SHORT, "--out", str(out)).check()
    return out


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Its records, and those of ten iterations more."""
    out = Path(shutil.copytree(template, tmp_path_factory.mktemp("whole") / "out"))
    run_here(*LONGER, "--out", str(out)).check()
    return untimed(out)


@pytest.fixture
def out(template: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(template, tmp_path / "out"))


def flip(path: Path, byte: int) -> None:
    """Turns over one bit of a byte."""
    content = bytearray(path.read_bytes())
    content[byte] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit_in_the_checkpoint(out: Path, whole: list[dict[str, Any]]) -> None:
    folder = out / "runs" / LABEL
    flip(folder / "checkpoint.safetensors", -100)
    end = run_here(*LONGER, "--out", str(out)).check()
    assert "its SHA-256 is another, so it was damaged" in end.said
    assert "the checkpoint before it is taken" in end.said
    assert "iteration 40: resumed: from the last checkpoint" in end.said
    assert [r["loss"] for r in untimed(out)] == [r["loss"] for r in whole]


def test_a_truncated_checkpoint_and_no_other(out: Path) -> None:
    folder = out / "runs" / LABEL
    records = (folder / "records.jsonl").read_bytes()
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    end = run_here(*LONGER, "--out", str(out)).check(1)
    assert f"can't read {folder / 'checkpoint.safetensors'}: " in end.complained
    assert f"remove {folder} to train this run again" in end.complained
    assert (folder / "records.jsonl").read_bytes() == records


def test_a_flipped_bit_in_the_records(out: Path, whole: list[dict[str, Any]]) -> None:
    folder = out / "runs" / LABEL
    path = folder / "records.jsonl"
    lines = path.read_bytes().split(b"\n")
    flip(path, len(b"\n".join(lines[:50])) + 40)
    shown = run_here("show", str(out)).check(1)
    assert f"{path}, line 51 is damaged: " in shown.complained
    end = run_here(*LONGER, "--out", str(out)).check()
    assert "went back: from iteration 60: records before it are damaged" in end.said
    assert [r["loss"] for r in untimed(out)] == [r["loss"] for r in whole]
    assert (folder / "records.damaged").read_bytes().count(b"\n") == 1
    assert path.read_bytes().split(b"\n")[:40] == lines[:40], "what came before is not touched"


def test_truncated_records(out: Path) -> None:
    """So far back that no checkpoint has all of them: those are lost and the run is not, and all are told."""
    path = out / "runs" / LABEL / "records.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(lines[:30]) + b'\n{"iteration": 30, "lo')
    end = run_here(*LONGER, "--out", str(out)).check()
    assert "lost records: 30 of 60, the first of iteration 30; the run goes on" in end.said
    assert "30 of its records are lost" in end.said, "the tables say so too"
    assert [r["iteration"] for r in untimed(out)] == [*range(30), *range(60, 70)]


def test_another_configuration(out: Path) -> None:
    before = {p: p.read_bytes() for p in (out / "runs" / LABEL).iterdir() if p.is_file() and p.name[0] != "."}
    end = run_here(*LONGER, "--lr", "0.5", "--out", str(out)).check(2)
    assert "started with another configuration (learning_rate: 0.1 -> 0.5)" in end.complained
    assert "resume with the same options, or choose another --out" in end.complained
    assert {p: p.read_bytes() for p in before} == before
    run_here(*SHORT[:-4], "--iterations", "50", "--resume", "--out", str(out)).check(2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu(out: Path, whole: list[dict[str, Any]]) -> None:
    """A run that was begun on a GPU, on a machine without."""
    path = out / "runs" / LABEL / "config.json"
    write_json(path, {**read_json(path), "device": "cuda"})
    end = run_here(*LONGER, "--device", "cuda", "--out", str(out)).check(2)
    assert end.complained.startswith("error: --device = cuda: not available on this machine; use cpu, on which")
    assert end.complained.count("\n") == 1
    end = run_here(*LONGER, "--device", "cpu", "--out", str(out)).check()
    assert "changed: device: cuda -> cpu" in end.said
    assert untimed(out) == whole


@pytest.mark.slow
def test_two_commands_in_one_directory(tmp_path: Path) -> None:
    options = [*SPIRAL, "--iterations", "3000", "--out", str(tmp_path / "out")]
    first = start(*options)
    records = tmp_path / "out" / "runs" / LABEL / "records.jsonl"
    wait_for_records(records, 5, first)
    second = run_here(*options, "--resume").check(2)
    assert f"in use by process {first.pid} on " in second.complained
    assert "wait for it, stop it, or choose another directory" in second.complained
    first.terminate()
    ended(first).check(143)
    assert [r["iteration"] for r in untimed(tmp_path / "out")] == list(range(records.read_bytes().count(b"\n")))


LEAPING = """
import datetime, itertools, sys, time
real, leaps = time.time, itertools.cycle([0, -86400, 3600, -1e6, 7e7])
time.time = lambda: real() + next(leaps)
class Leaping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(time.time(), tz)
datetime.datetime = Leaping
from pynode.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_clock_that_leaps(template: Path, tmp_path: Path) -> None:
    """The wall clock goes back and forth by days at every look: no number, no order and no second depends on it."""
    out = tmp_path / "out"
    run(
        *SHORT[:-4], "--iterations", "30", "--checkpoint-every", "20", "--out", str(out), python=("-c", LEAPING)
    ).check()
    run(*SHORT, "--resume", "--out", str(out), python=("-c", LEAPING)).check()
    assert untimed(out) == untimed(template)
    lines = [json.loads(line) for line in (out / "runs" / LABEL / "records.jsonl").read_text().splitlines()]
    assert all(0 < line["seconds_forward"] < 60 for line in lines)


@pytest.mark.slow
def test_a_monotonic_clock_of_another_start(template: Path, tmp_path: Path) -> None:
    """After a restart of the machine it begins anew; here really, in a time namespace: ahead at first, behind later."""
    out = tmp_path / "out"
    first = [*SPIRAL, "--iterations", "30", "--checkpoint-every", "20", "--out", str(out)]
    run(*first, prefix=[*namespaces("--time", "--monotonic", "500000"), "--fork"]).check()
    run(*SHORT, "--resume", "--out", str(out)).check()
    assert untimed(out) == untimed(template)


@pytest.mark.parametrize(("method", "label"), [("disc-opt", LABEL), ("opt-disc", "opt-disc-dopri5-rtol1e-03-seed0")])
def test_failed_solves(tmp_path: Path, method: str, label: str) -> None:
    """A learning rate that no solve survives: stopped, or gone on after; recorded either way."""
    options = ["compare", "spiral", "--methods", method, "--no-checks", "--iterations", "12", "--lr", "1e200"]
    options += ["--rtol", "1e-3", "--adjoint-rtol", "1e-3"] if method == "opt-disc" else []
    stopped = run_here(*options, "--out", str(tmp_path / "stop")).check(1)
    assert f"1 of 1 run failed: {label}, iteration 1: forward solve failed at t = " in stopped.complained
    assert "(saved; see " in stopped.complained
    first = untimed(tmp_path / "stop", label)
    assert [(r["iteration"], r["failure"]) for r in first] == [(0, None)]

    skipped = run_here(*options, "--out", str(tmp_path / "stop"), "--on-failure", "skip", "--resume").check(1)
    assert "changed: on_failure: stop -> skip" in skipped.said
    assert "10 iterations in a row failed, the last one: forward solve failed" in skipped.complained
    assert untimed(tmp_path / "stop", label)[:1] == first, "what came before is not touched"
    assert [r["iteration"] for r in untimed(tmp_path / "stop", label) if r["failure"]] == list(range(1, 10))

    restored = run_here(*options, "--on-failure", "restore", "--out", str(tmp_path / "restore")).check()
    assert "the best weights are restored, the learning rate is 0.5 of what it would be" in restored.said
    assert "6 iterations failed, and the run continued (restore)" in " ".join(restored.said.split())
    assert [r["iteration"] for r in untimed(tmp_path / "restore", label) if r["failure"]] == [1, 3, 5, 7, 9, 11]


def test_an_unknown_policy(tmp_path: Path) -> None:
    end = run_here(*SHORT, "--on-failure", "hope", "--out", str(tmp_path / "out")).check(2)
    assert end.complained == "error: unknown value of --on-failure 'hope' (known: stop, skip, restore)\n"
