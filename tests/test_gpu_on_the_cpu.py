"""The tests of tests/gpu on the CPU, where a stand-in records and replays operators in the place of CUDA graphs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.gpu.session import _outcome

ROOT = Path(__file__).resolve().parents[1]

LEAST_PASSED = 200

SKIPPED = {
    "streams are those of a GPU",
    "synchronisation is that of a GPU",
    "the memory of a GPU is meant",
    "TF32 is that of a GPU",
}
"""Why a test may be skipped where there is no GPU."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_that_needs_no_gpu_passes(tmp_path: Path) -> None:
    report = tmp_path / "tests.xml"
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    env = {**os.environ, "PYNODE_GPU_TESTS": "cpu", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=880)
    outcome = _outcome(report)
    assert outcome is not None, done.stdout + done.stderr
    assert outcome["failed"] == [], done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome["passed_tests"] >= LEAST_PASSED
    assert set(outcome["skipped"]) == SKIPPED
