"""One session on a GPU: the tests and the benchmark in processes of their own, each within a time limit.

Results are written as soon as they are known, so that a session which is killed leaves what it had finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from experiments.benchmarks.records import FAILED, REFUSED, NoBenchmark, path_of, read
from pynode.records.files import write_json

ROOT = Path(__file__).resolve().parents[2]

RUN = ROOT / "experiments" / "run.py"

PARTS = ("tests", "bench")
BOTH = "all"

TESTING = 0.45
"""Share of the time that the tests may take, where both parts are run."""

ENDING = 12.0
"""Seconds kept for tables and figures."""

PACKED_EVERY = 10.0
"""Seconds after which the archive of records is written again."""

GRACE = 8.0
"""Seconds that a part has to end by itself after SIGINT, before it is killed."""


@dataclass(frozen=True)
class Plan:
    """What is run: `only` one of `PARTS`, or both, on `device`, with `workers` processes for tests, in `seconds`."""

    seconds: float
    quick: bool = False
    only: str = BOTH
    device: str = "cuda"
    workers: int = 4
    commit: str | None = None


@dataclass
class Session:
    """Runs a plan and writes the results into `directory`."""

    directory: Path
    plan: Plan
    start: float = field(default_factory=time.monotonic)
    summary: dict[str, Any] = field(default_factory=dict)

    def run(self) -> bool:
        """Runs the parts; returns whether all tests passed and no entrant failed."""
        plan = self.plan
        self.summary = {"limit": plan.seconds, "quick": plan.quick, "device": plan.device, "commit": plan.commit}
        shelf = Path(tempfile.mkdtemp(prefix="pynode-gpu-"))
        done = threading.Event()
        packer = threading.Thread(target=self._keep_packing, args=(shelf, done), daemon=True)
        packer.start()
        try:
            self._note(machine=_machine())
            if plan.only != "bench":
                self._note(tests=self._test(self.left() * (TESTING if plan.only == BOTH else 0.95)))
            if plan.only != "tests":
                self._note(bench=self._bench(shelf))
        finally:
            done.set()
            packer.join()
            self._pack(shelf)
            shutil.rmtree(shelf, ignore_errors=True)
        self._note(seconds=round(time.monotonic() - self.start, 1))
        print(json.dumps({k: v for k, v in self.summary.items() if k != "machine"}, indent=1))
        parts = [self.summary[name] for name in PARTS if name in self.summary]
        return all(part["passed"] for part in parts)

    def left(self) -> float:
        """Seconds until the limit, at least one."""
        return max(1.0, self.start + self.plan.seconds - time.monotonic())

    def _note(self, **values: Any) -> None:
        self.summary |= values
        write_json(self.directory / "summary.json", self.summary)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _test(self, seconds: float) -> dict[str, Any]:
        """Runs `pytest -m gpu`, which adds a line to tests.log for each finished test; returns its outcome."""
        report, log = self.directory / "tests.xml", self.directory / "tests.log"
        marked = "gpu and not slow" if self.plan.quick else "gpu"
        command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", marked, "-v", "--color=no", "-rfE"]
        command += ["-n", str(self.plan.workers), "--tb=short", "--durations=10", f"--junitxml={report}"]
        # plugins that happen to be installed are not loaded, and warnings, which differ between versions of torch, do
        # not fail tests
        command += ["-p", "xdist.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider", "-W", "default"]
        command += ["--timeout=90"]
        start = time.monotonic()
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        status, overdue = _call(command, log, seconds, environment(self.plan.device) | alone)
        outcome = _outcome(report) or _outcome_of_log(log)
        passed = status == 0 and outcome["passed_tests"] > 0
        spent = round(time.monotonic() - start, 1)
        return {"passed": passed, "status": status, "overdue": overdue, "seconds": spent, **outcome}

    def _bench(self, shelf: Path) -> dict[str, Any]:
        """Runs `bench --suite gpu`; where it has to be ended, tables are made from the records so far."""
        records, log = shelf / "bench", self.directory / "bench.log"
        limit = max(5.0, self.left() - ENDING - GRACE - (3 if self.plan.quick else 8))
        options = ["--suite", "gpu", "--device", self.plan.device, "--limit", f"{limit:.0f}", "--out", str(records)]
        command = [sys.executable, str(RUN), "bench", *options, *(["--quick"] * self.plan.quick)]
        start = time.monotonic()
        status, overdue = _call(command, log, self.left() - ENDING, environment(self.plan.device))
        if overdue and path_of(records, "workloads").exists():
            show = [sys.executable, str(RUN), "bench", "--show", str(records)]
            _call(show, log, max(5.0, self.left() - 1), environment(self.plan.device))
        for made in ("tables.md", "figures/seconds.png"):
            if (records / made).exists():
                shutil.copy(records / made, self.directory / Path(made).name)
        spent, entered = round(time.monotonic() - start, 1), _entered(records)
        passed = status == 0 and entered["turns"] > 0
        return {"passed": passed, "status": status, "overdue": overdue, "seconds": spent, **entered}

    # --- records so far -----------------------------------------------------------------------------------------------

    def _keep_packing(self, shelf: Path, done: threading.Event) -> None:
        while not done.wait(PACKED_EVERY):
            self._pack(shelf)

    def _pack(self, shelf: Path) -> None:
        """Writes all records so far into one archive, in the place of the previous one."""
        if not any(shelf.iterdir()):
            return
        beside = self.directory / ".records.tmp"
        with contextlib.suppress(OSError):  # a file was being replaced: the next archive will hold it
            with tarfile.open(beside, "w:gz") as archive:
                archive.add(shelf, arcname=".")
            beside.replace(self.directory / "records.tar.gz")
        beside.unlink(missing_ok=True)


def environment(device: str) -> dict[str, str]:
    """Environment variables of a part: modules are found in this source tree first."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    extra = {} if device == "cuda" else {"PYNODE_GPU_TESTS": device}
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "120", **extra}


def _call(command: Sequence[str], log: Path, seconds: float, env: dict[str, str]) -> tuple[int, bool]:
    """Runs a command; returns its exit status, and whether it took longer than `seconds` and was ended.

    It gets SIGINT `GRACE` seconds before that, and SIGKILL with all its processes at the end.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=ROOT,
            start_new_session=True,  # its processes are one group, which can be killed
        )
        try:
            return process.wait(max(0.5, seconds - GRACE)), False
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            status = process.wait(GRACE)
        except subprocess.TimeoutExpired:
            status = -int(signal.SIGKILL)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return status, True


def _machine() -> dict[str, Any]:
    """The GPU according to `nvidia-smi`, the number of cores, and the version of Python."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,clocks.sm", "--format=csv,noheader"]
    said = None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    return {"gpu": said, "cores": os.cpu_count(), "python": sys.version.split()[0]}


def _outcome(report: Path) -> dict[str, Any] | None:
    """Number of tests that passed, names of those that failed, and reasons of skips with their numbers.

    None where there is no report, since the run was killed.
    """
    try:
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return None
    failed = [_name(c) for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skips = [skip.get("message", "") for c in cases if (skip := c.find("skipped")) is not None]
    reasons = {reason: skips.count(reason) for reason in sorted(set(skips))}
    return {"passed_tests": len(cases) - len(failed) - len(skips), "failed": failed, "skipped": reasons}


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"


def _outcome_of_log(log: Path) -> dict[str, Any]:
    """The outcome by the lines of the log, which do not tell why tests were skipped."""
    names: dict[str, list[str]] = {outcome: [] for outcome in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()  # pytest-xdist writes the outcome before the test's name, pytest behind it
        for outcome in names:
            if len(words) > 1 and outcome in words[:4]:
                names[outcome].append(words[-1] if words[-1].startswith("tests/") else words[0])
    return {
        "passed_tests": len(names["PASSED"]),
        "failed": names["FAILED"] + names["ERROR"],
        "skipped": {"": len(names["SKIPPED"])},
    }


def _entered(records: Path) -> dict[str, Any]:
    """Numbers of entrants by status, reasons of those that failed, and the number of turns."""
    try:
        benchmark = read(records)
    except NoBenchmark as error:
        return {"entries": {}, "troubles": [str(error)], "turns": 0}
    troubles = [f"{e.workload}: {e.entrant}: {e.reason}" for e in benchmark.entries if e.status in (FAILED, REFUSED)]
    return {
        "entries": dict(Counter(entry.status for entry in benchmark.entries)),
        "troubles": troubles,
        "turns": len(benchmark.repeats),
    }
