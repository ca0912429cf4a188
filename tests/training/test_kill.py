"""A run killed by SIGKILL at a random moment and resumed leaves the records of an unbroken one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pynode.records.iteration import is_timed
from tests.runs import untimed

RUN = Path(__file__).parents[2] / "experiments" / "run.py"
LABEL = "disc-opt-rk4-x1-seed0"


def command(out: Path, *more: str) -> list[str]:
    """A short comparison of one method, without the checks."""
    options = ["--methods", "disc-opt", "--iterations", "150", "--checkpoint-every", "7", "--no-checks"]
    return [sys.executable, str(RUN), "compare", "spiral", *options, "--out", str(out), *more]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL exists on POSIX systems only")
def test_killed_and_resumed_equals_unbroken(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    subprocess.run(command(unbroken), check=True, capture_output=True, env=environment)

    target = random.randrange(2, 140)  # another moment in every run of the test; named below if it fails
    process = subprocess.Popen(command(broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    path = broken / "runs" / LABEL / "records.jsonl"
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < target):
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    left = path.read_bytes().count(b"\n")
    assert left < 150

    subprocess.run(command(broken, "--resume"), check=True, capture_output=True, env=environment)
    assert untimed(broken / "runs" / LABEL) == untimed(unbroken / "runs" / LABEL), f"killed after {left} records"
    summaries = [json.loads((out / "summary.json").read_text())["runs"][0] for out in (broken, unbroken)]
    for summary in summaries:
        for key in [k for k in summary if is_timed(k)]:
            del summary[key]
    assert summaries[0] == summaries[1]
