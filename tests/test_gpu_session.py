"""The command `gpu`: parts end in time, and what they have done outlives them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch

from experiments import packages
from experiments.benchmarks.options import NoGpu
from experiments.benchmarks.records import EntryRecord, RepeatRecord, WorkloadRecord, path_of
from experiments.gpu import session
from experiments.gpu.command import gpu
from experiments.gpu.session import Plan, Session
from pynode.errors import UsageError
from pynode.records.files import append_line, write_json


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


@pytest.mark.parametrize("turns", [1, 0])
def test_a_session_leaves_few_files_and_says_what_happened(
    turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With parts that take no time: one test fails, and so does an entrant; without a turn the benchmark fails, too."""

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
        write_json(records / "config.json", {"suite": "gpu"})
        workload = WorkloadRecord("small", "small", "iteration", "disc-opt", "float64", 1, "cpu", 1, 4, 10)
        append_line(path_of(records, "workloads"), workload)
        for entrant, status in (("pynode-eager", "timed"), ("jax", "failed")):
            append_line(path_of(records, "entries"), EntryRecord("small", entrant, status, "out of memory"))
        if turns:
            append_line(path_of(records, "repeats"), RepeatRecord("small", "pynode-eager", 0, 1, 0.1, 0.1))
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
    bench = summary["bench"]
    assert (bench["passed"], bench["turns"]) == (turns == 1, turns)
    assert (bench["entries"], bench["troubles"]) == ({"timed": 1, "failed": 1}, ["small: jax: out of memory"])
    with tarfile.open(out / "records.tar.gz") as archive:
        assert "./bench/tables.md" in archive.getnames()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(NoGpu, match=r"gpu: torch sees no CUDA device here; run it on a machine with one$"):
        gpu(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_packages_for_the_tests_are_looked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "TESTS", {"pytest": "pytest", "no_such_one": "no-such-one", "nor_this": "nor-this"})
    said = "gpu needs no-such-one and nor-this, which are not installed; pip install no-such-one nor-this; or leave the"
    with pytest.raises(UsageError, match=said):
        gpu(tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
    assert packages.lack_of({"torch": "torch"}, "gpu") is None


def test_what_a_bare_machine_lacks_is_named_in_one_sentence(tmp_path: Path) -> None:
    """Python without any package, for which `-S` leaves the folders of packages out."""
    command = [sys.executable, "-S", str(session.RUN), "gpu", "--out", str(tmp_path / "out")]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    *first, last = packages.COMMANDS.values()
    assert done.stderr == (
        f"experiments/run.py needs {', '.join(first)} and {last}, which are not installed; "
        f"pip install {' '.join(packages.COMMANDS.values())}\n"
    )


def test_packages_that_are_looked_for_are_those_of_the_project() -> None:
    text = (session.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for distribution in (*packages.COMMANDS.values(), *packages.TESTS.values()):
        assert f'"{distribution}>=' in text
