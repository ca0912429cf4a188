"""The study's runner: what is done is not done again, what was disturbed is, and one commit makes all of it."""

from __future__ import annotations

import gzip
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.study import check, publish, runner
from experiments.study.check import disturbed_runs, environments, faults_of
from experiments.study.plan import Part
from experiments.study.progress import done_in
from experiments.study.publish import publish_parts
from experiments.study.runner import Runner
from pynode.cli.console import new_console
from pynode.errors import RunFailure, UsageError
from pynode.records.files import read_json, write_json
from pynode.records.runs import load_run

COMMAND = "compare spiral --methods disc-opt --iterations 3 --engine eager --no-checks --out {out}"
SMALL = Part("spiral", (tuple(COMMAND.split()),))
RUN = "disc-opt-rk4-x1-seed0"


QUICK = Part("listed", (("list",),))
"""A part that trains nothing."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study after its one part: made once, copied by the tests."""
    out = tmp_path_factory.mktemp("study") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "environment", lambda: {"git": {"commit": "a" * 40, "changed": False}})
        patch.setattr(runner, "load_average", lambda: 0.5)
        patch.setattr(runner, "disturbed_runs", lambda _: [])
        study(out).run([SMALL])
    return out


@pytest.fixture
def done(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "out"))


@pytest.fixture(autouse=True)
def at_one_commit(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The commit that the runner sees, whatever the tests run from; the machine is idle and the plan small."""
    git: dict[str, Any] = {"commit": "a" * 40, "changed": False}
    monkeypatch.setattr(runner, "environment", lambda: {"git": git})
    monkeypatch.setattr(runner, "load_average", lambda: 0.5)
    for module in (check, publish):
        monkeypatch.setattr(module, "read_plan", lambda: [SMALL])
    return git


def study(out: Path) -> Runner:
    """A runner that says nothing."""
    return Runner(out, None, new_console(quiet=True))


def set_summary(run: Path, **changes: Any) -> None:
    """Changes entries of a run's summary."""
    path = run / "summary.json"
    write_json(path, {**read_json(path), **changes})


def test_a_part_is_run_once(done: Path, at_one_commit: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = done_in(done / "spiral")
    assert command.command == COMMAND.split()
    assert (command.commit, command.load_average) == ("a" * 40, 0.5)
    assert len(load_run(done / "spiral" / "runs" / RUN).records) == 3

    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("it is done")

    monkeypatch.setattr(Runner, "_start", refuse)
    study(done).run([SMALL])
    at_one_commit["commit"] = "b" * 40
    with pytest.raises(UsageError, match="spiral was made by commit aaaaaaaaa, this is bbbbbbbbb"):
        study(done).run([SMALL])


def test_changed_code_runs_no_study(tmp_path: Path, at_one_commit: dict[str, Any]) -> None:
    at_one_commit["changed"] = True
    with pytest.raises(UsageError, match="the code differs from commit aaaaaaaaa"):
        study(tmp_path).run([SMALL])


def test_a_failed_part_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    wrong = Part("wrong", (("compare", "spirl"), ("list",)))
    with pytest.raises(RunFailure, match=r"1 of 2 parts failed: wrong ended with status 2 \(see .*logs/wrong.txt\)"):
        study(tmp_path).run([wrong, QUICK])
    assert "did you mean 'spiral'" in (tmp_path / "logs" / "wrong.txt").read_text(encoding="utf-8")
    assert done_in(tmp_path / "wrong") == []
    assert [d.command for d in done_in(tmp_path / "listed")] == [["list"]]


def test_disturbed_runs_are_trained_once_more(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time the machine is busy, the second time it is not; the run is gone in between."""
    part, resumed = tmp_path / "spiral", []

    def disturb(_: Runner, name: str, words: list[str], *, resume: bool) -> int:
        assert words == [word.replace("{out}", str(part)) for word in COMMAND.split()]
        assert not (part / "runs" / RUN).exists()
        shutil.copytree(trained / name, part, dirs_exist_ok=True)
        (part / "study.json").unlink()
        resumed.append(resume)
        set_summary(part / "runs" / RUN, load_average=2.0 if len(resumed) == 1 else 1.0)
        return 0

    monkeypatch.setattr(Runner, "_start", disturb)
    study(tmp_path).run([SMALL])
    assert resumed == [False, True]
    assert load_run(part / "runs" / RUN).finished
    assert len(done_in(part)) == 1


def test_a_busy_machine_is_waited_for_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter([3.0, 2.0, 1.0])
    monkeypatch.setattr(runner, "load_average", lambda: next(loads))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(Runner, "_start", lambda *_, **__: 0)
    (tmp_path / "spiral").mkdir()
    study(tmp_path).run([SMALL])
    assert next(loads, None) is None
    monkeypatch.setattr(runner, "load_average", lambda: 3.0)
    monkeypatch.setattr(runner, "PATIENCE", -1.0)
    with pytest.raises(RunFailure, match=r"the load average has been above 1.15 .* \(now 3.00\)"):
        study(tmp_path / "other").run([SMALL])


def test_records_are_published_and_checked(done: Path, tmp_path: Path) -> None:
    run = done / "spiral" / "runs" / RUN
    set_summary(run, load_average=1.0)
    git = {"commit": "a" * 40, "changed": False}
    write_json(run / "environment.json", [{"git": git}])
    assert faults_of(done) == []
    ((name, size),) = publish_parts(done, tmp_path / "published")
    public = tmp_path / "published" / "spiral"
    assert (name, size) == ("spiral", sum(p.stat().st_size for p in public.rglob("*") if p.is_file()))
    assert load_run(public / "runs" / RUN) == load_run(run)
    packed = (public / "runs" / RUN / "records.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == (run / "records.jsonl").read_bytes()
    assert not list(public.rglob("*.safetensors"))
    assert (public / "tables.md").exists()
    assert list(publish_parts(done, tmp_path / "published")) == [(name, size)]
    assert (public / "runs" / RUN / "records.jsonl.gz").read_bytes() == packed, "the same records, the same bytes"
    assert faults_of(tmp_path / "published") == []
    with pytest.raises(UsageError, match="holds no part of the study"):
        faults_of(tmp_path)


def test_each_fault_of_a_record_is_told(done: Path) -> None:
    run = done / "spiral" / "runs" / RUN
    write_json(run / "environment.json", [{"git": {"commit": "a" * 40, "changed": True}}, {"git": None}])
    set_summary(run, load_average=1.4, engine="eager, fused")
    assert faults_of(done) == [
        "spiral: made outside of a git checkout",
        "spiral: made by code that was not committed",
        f"spiral/{RUN}: engines eager, fused instead of one",
        f"spiral/{RUN}: load average 1.40, above 1.3",
    ]
    assert disturbed_runs(done / "spiral") == [run]
    set_summary(run, load_average=None, engine="fused", status="failed", error="no")
    write_json(run / "environment.json", [{"git": {"commit": c * 40, "changed": False}} for c in "ab"])
    assert faults_of(done) == [
        f"spiral/{RUN}: failed (no)",
        f"spiral/{RUN}: load average not recorded, above 1.3",
        "the records are of 2 commits: aaaaaaaaa, bbbbbbbbb",
    ]
    (run / "summary.json").unlink()
    (run / "environment.json").unlink()
    assert environments(done / "spiral") == []
    assert faults_of(done) == ["spiral: no record of how it was made", f"spiral/{RUN}: not finished"]
