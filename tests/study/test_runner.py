"""The study's runner: what is done is not done again, what was disturbed is, and one commit makes all of it."""

from __future__ import annotations

import gzip
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


def test_a_part_is_run_once(tmp_path: Path, at_one_commit: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    study(tmp_path).run([SMALL])
    (done,) = done_in(tmp_path / "spiral")
    assert done.command == COMMAND.split()
    assert (done.commit, done.load_average) == ("a" * 40, 0.5)
    assert len(load_run(tmp_path / "spiral" / "runs" / RUN).records) == 3

    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("it is done")

    monkeypatch.setattr(Runner, "_start", refuse)
    study(tmp_path).run([SMALL])
    at_one_commit["commit"] = "b" * 40
    with pytest.raises(UsageError, match="spiral was made by commit aaaaaaaaa, this is bbbbbbbbb"):
        study(tmp_path).run([SMALL])


def test_changed_code_runs_no_study(tmp_path: Path, at_one_commit: dict[str, Any]) -> None:
    at_one_commit["changed"] = True
    with pytest.raises(UsageError, match="the code differs from commit aaaaaaaaa"):
        study(tmp_path).run([SMALL])


def test_a_failed_part_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    wrong = Part("wrong", (("compare", "spirl"), ("list",)))
    with pytest.raises(RunFailure, match=r"1 of 2 parts failed: wrong ended with status 2 \(see .*logs/wrong.txt\)"):
        study(tmp_path).run([wrong, SMALL])
    assert "did you mean 'spiral'" in (tmp_path / "logs" / "wrong.txt").read_text(encoding="utf-8")
    assert done_in(tmp_path / "wrong") == []
    assert len(done_in(tmp_path / "spiral")) == 1


def test_disturbed_runs_are_trained_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time the machine is busy, the second time it is not."""
    start, times = Runner._start, []

    def disturb(self: Runner, name: str, words: list[str], *, resume: bool) -> int:
        status = start(self, name, words, resume=resume)
        times.append(read_json(tmp_path / "spiral" / "runs" / RUN / "environment.json"))
        set_summary(tmp_path / "spiral" / "runs" / RUN, load_average=2.0 if len(times) == 1 else 1.0)
        return status

    monkeypatch.setattr(Runner, "_start", disturb)
    study(tmp_path).run([SMALL])
    assert len(times) == 2
    assert load_run(tmp_path / "spiral" / "runs" / RUN).finished


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


def test_records_are_published_and_checked(tmp_path: Path) -> None:
    study(tmp_path / "out").run([SMALL])
    run = tmp_path / "out" / "spiral" / "runs" / RUN
    set_summary(run, load_average=1.0)
    git = {"commit": "a" * 40, "changed": False}
    write_json(run / "environment.json", [{"git": git}])
    assert faults_of(tmp_path / "out") == []
    ((name, size),) = publish_parts(tmp_path / "out", tmp_path / "published")
    public = tmp_path / "published" / "spiral"
    assert (name, size) == ("spiral", sum(p.stat().st_size for p in public.rglob("*") if p.is_file()))
    assert load_run(public / "runs" / RUN) == load_run(run)
    packed = (public / "runs" / RUN / "records.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == (run / "records.jsonl").read_bytes()
    assert not list(public.rglob("*.safetensors"))
    assert (public / "tables.md").exists()
    assert list(publish_parts(tmp_path / "out", tmp_path / "published")) == [(name, size)]
    assert (public / "runs" / RUN / "records.jsonl.gz").read_bytes() == packed, "the same records, the same bytes"
    assert faults_of(tmp_path / "published") == []
    with pytest.raises(UsageError, match="holds no part of the study"):
        faults_of(tmp_path)


def test_each_fault_of_a_record_is_told(tmp_path: Path) -> None:
    study(tmp_path).run([SMALL])
    run = tmp_path / "spiral" / "runs" / RUN
    write_json(run / "environment.json", [{"git": {"commit": "a" * 40, "changed": True}}, {"git": None}])
    set_summary(run, load_average=1.4, engine="eager, fused")
    assert faults_of(tmp_path) == [
        "spiral: made outside of a git checkout",
        "spiral: made by code that was not committed",
        f"spiral/{RUN}: engines eager, fused instead of one",
        f"spiral/{RUN}: load average 1.40, above 1.3",
    ]
    assert disturbed_runs(tmp_path / "spiral") == [run]
    set_summary(run, load_average=None, engine="fused", status="failed", error="no")
    write_json(run / "environment.json", [{"git": {"commit": c * 40, "changed": False}} for c in "ab"])
    assert faults_of(tmp_path) == [
        f"spiral/{RUN}: failed (no)",
        f"spiral/{RUN}: load average not recorded, above 1.3",
        "the records are of 2 commits: aaaaaaaaa, bbbbbbbbb",
    ]
    (run / "summary.json").unlink()
    (run / "environment.json").unlink()
    assert environments(tmp_path / "spiral") == []
    assert faults_of(tmp_path) == ["spiral: no record of how it was made", f"spiral/{RUN}: not finished"]
