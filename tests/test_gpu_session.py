"""The command `gpu`: parts end in time, and what they have done outlives them."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import time
from pathlib import Path

import pytest

from experiments.gpu import session
from experiments.gpu.session import Plan, Session


def test_a_part_that_goes_on_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to end first, then ended; a child that ignores signals goes as well."""
    monkeypatch.setattr(session, "GRACE", 1.0)
    child = "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    start_child = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}])"
    script = f"{start_child}; print(p.pid, flush=True); p.wait()"
    start = time.monotonic()
    status, overdue = session._call([sys.executable, "-c", script], tmp_path / "log", 4, dict(os.environ))
    assert overdue
    assert status != 0
    assert time.monotonic() - start < 20
    pid = int((tmp_path / "log").read_text().split()[0])
    time.sleep(0.2)
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_a_part_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    assert session._call([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log", 60, dict(os.environ)) == (
        3,
        False,
    )


def test_outcomes_are_read_from_the_report_and_without_one_from_the_log(tmp_path: Path) -> None:
    report, log = tmp_path / "tests.xml", tmp_path / "tests.log"
    assert session._outcome(report) is None
    report.write_text(
        "<testsuites><testsuite><testcase classname='a' name='b'/>"
        "<testcase classname='a' name='c'><failure/></testcase>"
        "<testcase classname='a' name='d'><skipped message='no GPU'/></testcase></testsuite></testsuites>"
    )
    assert session._outcome(report) == {"passed_tests": 1, "failed": ["a::c"], "skipped": {"no GPU": 1}}
    log.write_text(
        "[gw0] [ 10%] PASSED tests/gpu/test_a.py::test_b \n[gw1] [ 20%] FAILED tests/gpu/test_a.py::test_c \n"
        "tests/gpu/test_a.py::test_d \n[gw1] [ 30%] SKIPPED tests/gpu/test_a.py::test_d \n"
    )
    outcome = session._outcome_of_log(log)
    assert outcome["passed_tests"] == 1
    assert outcome["failed"] == ["tests/gpu/test_a.py::test_c"]


def test_a_session_leaves_few_files_and_says_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parts that take no time: one test fails, the benchmark has one entrant in trouble."""

    def call(command: list[str], log: Path, seconds: float, env: dict[str, str]) -> tuple[int, bool]:
        assert 0 < seconds < 60
        assert env["PYTHONPATH"].split(os.pathsep)[0] == str(session.ROOT)
        if "pytest" in command:
            report = next(c.partition("=")[2] for c in command if c.startswith("--junitxml"))
            Path(report).write_text("<testsuite><testcase classname='a' name='b'><failure/></testcase></testsuite>")
            log.write_text("")
            return 1, False
        records = Path(command[command.index("--out") + 1])
        (records / "figures").mkdir(parents=True)
        (records / "tables.md").write_text("tables")
        (records / "figures" / "seconds.png").write_bytes(b"png")
        (records / "config.json").write_text("{}")
        return 0, False

    monkeypatch.setattr(session, "_call", call)
    out = tmp_path / "out"
    out.mkdir()
    assert not Session(out, Plan(60.0, device="cpu", commit="abc")).run()
    assert {p.name for p in out.iterdir()} == {
        "summary.json", "tests.log", "tests.xml", "records.tar.gz", "tables.md", "seconds.png",
    }  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["commit"] == "abc"
    assert summary["tests"]["failed"] == ["a::b"]
    assert summary["bench"]["passed"]
    with tarfile.open(out / "records.tar.gz") as archive:
        assert "./bench/tables.md" in archive.getnames()
