"""Importing pynode and asking for help are quick, and bring no heavy package."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.test_imports import ROOT


def seconds_of(*command: str) -> tuple[float, str]:
    """The best of three wall-clock times, since other work may share the machine, and what was printed."""
    best, printed = float("inf"), ""
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        best = min(best, time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        printed = done.stdout + done.stderr
    return best, printed


def imported(*command: str) -> set[str]:
    """Top-level packages that a Python command imports."""
    _, printed = seconds_of(sys.executable, "-X", "importtime", *command)
    lines = [line for line in printed.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


HEAVY = {"torch", "juliacall", "torchdiffeq", "matplotlib", "scipy"}


def test_importing_pynode_is_quick() -> None:
    """And brings in nothing heavy; the names of the public API load it when they are used."""
    packages = imported("-c", "import pynode")
    assert "pynode" in packages
    assert packages & HEAVY == set()
    assert seconds_of(sys.executable, "-c", "import pynode")[0] < 1.5


def test_help_is_quick() -> None:
    """Neither torch nor Julia starts to print a page of text."""
    run = str(ROOT / "experiments" / "run.py")
    packages = imported(run, "--help")
    assert "pynode" in packages
    assert packages & HEAVY == set()
    seconds, printed = seconds_of(sys.executable, run, "--help")
    assert "compare" in printed
    assert seconds < 1.5


def test_what_solves_brings_no_compiler() -> None:
    """torch's compiler takes as long to import as torch itself, and is there for those who compile."""
    script = "import sys, pynode; pynode.DiscOpt, pynode.OptDisc, pynode.Flow; print('torch._dynamo' in sys.modules)"
    assert seconds_of(sys.executable, "-c", script)[1].strip() == "False"
