"""The script that kills a run by SIGKILL, with fewer kills than it does by itself."""

from __future__ import annotations

import os

import pytest

from tests.faults.conftest import ROOT, run

SCRIPT = str(ROOT / "experiments" / "faults" / "kills.py")


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_four_kills() -> None:
    end = run("--kills", "4", "--iterations", "60", python=(SCRIPT,), timeout=280).check()
    assert end.said.count("\nkill ") == 4
    assert end.said.endswith("equal those of the unbroken run, apart from seconds\n")


def test_bad_arguments() -> None:
    end = run("--kills", "0", python=(SCRIPT,)).check(2)
    assert "take at least 1 kill and 20 iterations" in end.complained
