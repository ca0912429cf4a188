"""The script that kills a run by SIGKILL, with fewer kills than it does by itself."""

from __future__ import annotations

import os

import pytest

from tests.faults.conftest import ROOT, run

SCRIPT = str(ROOT / "experiments" / "faults" / "kills.py")

pytestmark = pytest.mark.slow


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.timeout(900)
def test_five_kills_of_a_run_with_schedules() -> None:
    end = run("--kills", "5", "--iterations", "40", "--schedules", python=(SCRIPT,), timeout=800).check()
    assert end.said.count("\nkill ") == 5
    assert end.said.endswith("equal those of the unbroken run, apart from seconds\n")


def test_bad_arguments() -> None:
    end = run("--kills", "0", python=(SCRIPT,)).check(2)
    assert "take at least 1 kill and 20 iterations" in end.complained
