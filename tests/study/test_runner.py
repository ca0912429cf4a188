"""The study's runner: what is done is not done again, what was disturbed is, and one commit makes all of it."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.study import check, publish, runner
from experiments.study.check import disturbed_runs, environments, faults_of, missing_parts
from experiments.study.command import run as study_run
from experiments.study.page.words import word
from experiments.study.plan import Part
from experiments.study.progress import done_in, forget_begun, note_begun, seconds_begun
from experiments.study.publish import publish_parts
from experiments.study.runner import TRIES, Runner
from pynode.cli.console import PlainConsole, new_console
from pynode.errors import OutputDirectoryError, RunFailure, Stopped, UsageError
from pynode.records.files import read_json, write_json, write_lines
from pynode.records.runs import load_run
from pynode.studies.load import IDLE

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
        patch.setattr(runner, "disturbed_runs", lambda *_: [])
        study(out).run([SMALL])
    write_json(out / "spiral" / "runs" / RUN / "environment.json", [made_at("a")])  # as the study sees it
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
        monkeypatch.setattr(module, "read_plan", lambda *_: [SMALL])
    return git


def study(out: Path) -> Runner:
    """A runner that prints nothing."""
    return Runner(out, None, new_console(quiet=True))


def test_a_second_study_in_the_same_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the first one waits for an idle machine, and no command of it holds its part."""
    said: list[str] = []

    def busy() -> float:
        with pytest.raises(OutputDirectoryError, match=rf"/out: in use by process {os.getpid()}") as no:
            study(tmp_path / "out").run([QUICK])
        said.append(str(no.value))
        monkeypatch.setattr(runner, "load_average", lambda: 0.5)
        return 0.5

    monkeypatch.setattr(runner, "load_average", busy)
    study(tmp_path / "out").run([QUICK])
    assert len(said) == 1
    assert [d.command for d in done_in(tmp_path / "out" / "listed")] == [["list"]]
    study(tmp_path / "out").run([QUICK])


def test_a_dry_run_warns_of_missing_data(tmp_path: Path) -> None:
    reading = Part("rows", (("compare", "npy", "--data", "{data}/rows.npy", "--out", "{out}"),))
    for data, warned in ((None, True), (tmp_path, False)):
        out = io.StringIO()
        Runner(tmp_path / "out", data, PlainConsole(file=out, width=200)).tell([QUICK, reading])
        assert ("warning: the part rows reads a file of data; add --data DIR" in out.getvalue()) is warned
        assert "to do" in out.getvalue()


def made_at(letter: str) -> dict[str, Any]:
    """The environment of a run that was made at the commit of one letter."""
    return {"git": {"commit": letter * 40, "changed": False}}


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


def test_a_part_that_was_interrupted_is_not_continued_by_another_commit(
    done: Path, at_one_commit: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command of it is done: its runs tell the commit."""
    (done / "spiral" / "study.json").unlink()
    at_one_commit["commit"] = "b" * 40
    with pytest.raises(UsageError, match="spiral was made by commit aaaaaaaaa, this is bbbbbbbbb"):
        study(done).run([SMALL])
    at_one_commit["commit"] = "a" * 40
    monkeypatch.setattr(Runner, "_start", lambda *_, **__: 0)
    study(done).run([SMALL])
    assert len(done_in(done / "spiral")) == 1


def test_changed_code_runs_no_study(tmp_path: Path, at_one_commit: dict[str, Any]) -> None:
    at_one_commit["changed"] = True
    with pytest.raises(UsageError, match="the code differs from commit aaaaaaaaa"):
        study(tmp_path).run([SMALL])


def test_a_failed_part_is_told_at_once_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = Part("wrong", (("compare", "spirl"), ("list",)))
    with pytest.raises(RunFailure, match=r"1 of 2 parts failed: wrong ended with status 2 \(see .*logs/wrong.txt\)"):
        Runner(tmp_path, None, new_console()).run([wrong, QUICK])
    said = capsys.readouterr().out
    assert 0 < said.index("wrong ended with status 2") < said.index("listed: list")
    assert "did you mean 'spiral'" in (tmp_path / "logs" / "wrong.txt").read_text(encoding="utf-8")
    assert done_in(tmp_path / "wrong") == []
    assert [d.command for d in done_in(tmp_path / "listed")] == [["list"]]


def copies(trained: Path, part: Path, loads: list[float], started: list[bool]) -> Any:
    """What stands for `Runner._start`: copies the trained run, each time with the next of `loads`."""

    def start(_: Runner, name: str, words: list[str], *, resume: bool) -> int:
        assert words == [word.replace("{out}", str(part)) for word in COMMAND.split()]
        assert not (part / "runs" / RUN).exists()
        shutil.copytree(trained / name, part, dirs_exist_ok=True)
        (part / "study.json").unlink()
        write_json(part / "runs" / RUN / "environment.json", [{"command": ["run.py", *words, "--resume"]}])
        set_summary(part / "runs" / RUN, load_average=loads[len(started)])
        started.append(resume)
        return 0

    return start


def test_disturbed_runs_are_trained_once_more(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time the machine is busy, the second time it is not; the run is gone in between."""
    part, resumed = tmp_path / "spiral", list[bool]()
    monkeypatch.setattr(Runner, "_start", copies(trained, part, [2.0, 1.0], resumed))
    study(tmp_path).run([SMALL])
    assert resumed == [False, True]
    assert load_run(part / "runs" / RUN).finished
    assert len(done_in(part)) == 1


def test_a_run_is_trained_three_times_at_most(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one stays, also when another command of the part has runs of its own to judge."""
    part, resumed = tmp_path / "spiral", list[bool]()
    monkeypatch.setattr(Runner, "_start", copies(trained, part, [2.0, 1.5, 1.4], resumed))
    study(tmp_path).run([SMALL])
    assert resumed == [False, True, True]
    assert disturbed_runs(part, COMMAND.replace("{out}", str(part)).split()) == [part / "runs" / RUN]
    monkeypatch.setattr(Runner, "_start", lambda *_, **__: 0)
    study(tmp_path).run([Part("spiral", (*SMALL.commands, ("evaluate", "{out}")))])
    assert load_run(part / "runs" / RUN).finished
    assert [d.command for d in done_in(part)] == [COMMAND.split(), ["evaluate", "{out}"]]


def test_a_busy_machine_is_waited_for_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter([3.0, 2.0, 1.0])
    monkeypatch.setattr(runner, "load_average", lambda: next(loads))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(Runner, "_start", lambda *_, **__: 0)
    (tmp_path / "spiral").mkdir()
    said = io.StringIO()
    Runner(tmp_path, None, PlainConsole(file=said, width=200)).run([SMALL])
    assert next(loads, None) is None
    assert said.getvalue().count("the load average is") == 1
    assert "the load average is 3.00: waiting until it is at most 1.15" in said.getvalue()
    monkeypatch.setattr(runner, "load_average", lambda: 3.0)
    monkeypatch.setattr(runner, "PATIENCE", -1.0)
    with pytest.raises(RunFailure, match=r"the load average has been above 1.15 .* \(now 3.00\)"):
        study(tmp_path / "other").run([SMALL])


def test_a_signal_stops_the_command_and_then_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM to this process alone: the command hears it, says so in the log, and the time it took is kept."""
    script = tmp_path / "command.py"
    script.write_text(
        "import signal, sys, time\n"
        "def stop(*_):\n"
        "    print('saved', flush=True)\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('begun', flush=True)\n"
        "time.sleep(60)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(runner, "RUN", script)
    out, log = tmp_path / "out", tmp_path / "out" / "logs" / "listed.txt"

    def terminate() -> None:
        while not (log.exists() and "begun" in log.read_text(encoding="utf-8")):
            time.sleep(0.01)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    killer = threading.Thread(target=terminate)
    killer.start()
    said = "stopped by SIGTERM in listed; 0 of 2 commands are done; run the same command again to continue"
    with pytest.raises(Stopped, match=said) as stopped:
        study(out).run([QUICK, SMALL])
    killer.join()
    assert stopped.value.exit_status == 143
    assert log.read_text(encoding="utf-8").splitlines()[-1] == "saved"
    assert signal.getsignal(signal.SIGTERM) is before
    assert 0 < seconds_begun(out, "listed", ["list"]) < 60


def test_nothing_starts_after_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes while the machine is not idle yet; a command that a signal has ended counts as interrupted too."""

    def busy() -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return 3.0

    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(runner, "load_average", busy)
    with pytest.raises(Stopped, match="stopped by SIGTERM before listed; 0 of 1") as stopped:
        study(tmp_path).run([QUICK])
    assert stopped.value.exit_status == 143
    assert not (tmp_path / "logs").exists()
    monkeypatch.setattr(runner, "load_average", lambda: 0.5)
    monkeypatch.setattr(Runner, "_start", lambda *_, **__: -signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped by SIGTERM in listed") as stopped:
        study(tmp_path).run([QUICK])
    assert stopped.value.exit_status == 143


def test_time_before_an_interruption_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_begun(tmp_path, "listed", ["list"], 100.0)
    note_begun(tmp_path, "other", ["list"], 7.0)
    monkeypatch.setattr(Runner, "_start", lambda *_, **__: 0)
    study(tmp_path).run([QUICK])
    (command,) = done_in(tmp_path / "listed")
    assert 100 <= command.seconds < 110
    assert seconds_begun(tmp_path, "listed", ["list"]) == 0
    assert seconds_begun(tmp_path, "other", ["list"]) == 7
    forget_begun(tmp_path, "other", ["list"])
    assert not (tmp_path / "begun.json").exists()


def test_the_help_says_when_and_how_often_a_run_is_trained_again() -> None:
    said = " ".join((study_run.__doc__ or "").split())
    assert f"the load average was above {IDLE} is trained again, up to {word(TRIES - 1)} times." in said


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan")])
def test_hours_are_positive(tmp_path: Path, hours: float) -> None:
    with pytest.raises(UsageError, match=r"--hours = .*: not a positive number; use e\.g\. 2"):
        Runner(tmp_path, None, new_console(quiet=True), hours=hours)


def test_records_are_published_and_checked(done: Path, tmp_path: Path) -> None:
    run = done / "spiral" / "runs" / RUN
    set_summary(run, load_average=1.0)
    git = {"commit": "a" * 40, "changed": False}
    command = [str(runner.RUN), "compare", "--out", str(done / "spiral")]
    write_json(run / "environment.json", [{"git": git, "command": command}])
    assert faults_of(done) == []
    ((name, size),) = publish_parts(done, tmp_path / "published")
    public = tmp_path / "published" / "spiral"
    (made,) = read_json(public / "runs" / RUN / "environment.json")
    assert made == {"git": git, "command": ["experiments/run.py", "compare", "--out", "out/spiral"]}
    assert not [path for path in public.rglob("*.json*") if str(tmp_path).encode() in path.read_bytes()]
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
    set_summary(run, load_average=None, engine="fused", status="failed", error="no")
    write_json(run / "environment.json", [{"git": {"commit": c * 40, "changed": False}} for c in "ab"])
    assert faults_of(done) == [
        f"spiral/{RUN}: failed (no)",
        f"spiral/{RUN}: load average not recorded",
        "the records are of 2 commits: aaaaaaaaa, bbbbbbbbb",
    ]
    write_json(run / "environment.json", [{"git": {"commit": "a" * 40, "changed": False}}])
    set_summary(run, load_average=1.0, status="finished", evaluation_failure="solve failed")
    assert faults_of(done) == [f"spiral/{RUN}: its evaluation failed (solve failed)"]
    (run / "summary.json").unlink()
    (run / "environment.json").unlink()
    assert environments(done / "spiral") == []
    assert faults_of(done) == [f"spiral/{RUN}: not finished"], "study.json has the commit of its command"
    (done / "spiral" / "study.json").unlink()
    assert faults_of(done)[1:] == ["spiral: no record of how it was made", f"spiral/{RUN}: not finished"]


def test_records_beside_the_runs_are_checked(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What commands other than `compare` leave: load and engine of each record, and commits of the commands."""
    part = done / "spiral"
    set_summary(part / "runs" / RUN, load_average=1.0)
    write_json(part / "runs" / RUN / "environment.json", [{"git": {"commit": "b" * 40, "changed": False}}])
    lines: list[dict[str, Any]] = [{"load": 1.0, "engine": "fused"}, {"load": None, "engine": ""}]
    lines.append({"load_average": 1.42, "engine": "mixed", "changed": True})
    write_lines(part / "winners.jsonl", lines)
    assert faults_of(done) == [
        "spiral/winners.jsonl: made by code that was not committed",
        "spiral/winners.jsonl: load average up to 1.42, above 1.3, in 1 of 3 records",
        "spiral/winners.jsonl: engines mixed instead of one",
        "the records are of 2 commits: aaaaaaaaa, bbbbbbbbb",
    ]
    (part / "winners.jsonl").write_text('{"load": 1.0\n', encoding="utf-8")
    assert faults_of(done)[0].startswith("spiral/winners.jsonl: damaged (")
    (part / "winners.jsonl").unlink()
    (part / "study.json").unlink()
    other = Part("other", (("list",),))
    monkeypatch.setattr(check, "read_plan", lambda *_: [SMALL, other])
    assert faults_of(done) == [f"spiral: not done: {COMMAND}"]
    assert missing_parts(done) == ["other"]
    assert missing_parts(done, ["spiral"]) == []
