"""A disk that is full or can only be read, from the start or in the middle of a run.

The file systems are real ones, mounted in a namespace of the command's own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import ITERATIONS, LABEL, ROOT, RUN, SPIRAL, Ended, environment, namespaces, run, untimed

pytestmark = pytest.mark.slow  # the mounts are seen by processes that begin after them

Records = Callable[[int], list[dict[str, Any]]]

OPTIONS = [*SPIRAL, "--iterations", str(ITERATIONS), "--checkpoint-every", "20"]


def in_mount(out: Path, keep: Path, size: str, *scripts: str) -> Ended:
    """Runs shell scripts with a file system of `size` at `out`, which is copied to `keep` after the last one."""
    out.mkdir()
    keep.mkdir()
    script = "\n".join([f"mount -t tmpfs -o size={size} none {out} || exit 99", *scripts])
    done = subprocess.run(
        [*namespaces("--mount"), "sh", "-c", f"{script}\nstatus=$?\ncp -a {out}/. {keep}\nexit $status"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=environment(),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def command(out: Path, *more: str) -> str:
    """The training command for a shell."""
    return " ".join([sys.executable, str(RUN), *OPTIONS, "--out", str(out), *more])


def test_a_full_disk_ends_the_run_with_all_that_was_written(tmp_path: Path, unbroken: Records) -> None:
    out, keep = tmp_path / "out", tmp_path / "keep"
    end = in_mount(out, keep, "100k", command(out)).check(1)
    assert "No space left on device; what was written before is intact: make room on the disk" in end.complained
    assert "then run again with --resume" in end.complained
    assert end.complained.count("\n") == 1
    records = untimed(keep)
    assert 20 < len(records) < ITERATIONS
    assert records == unbroken(ITERATIONS)[: len(records)]
    assert not list((keep / "runs" / LABEL).glob(".*.tmp")), "half a file would hold the space that is missing"
    run(*OPTIONS, "--out", str(keep), "--resume").check()
    assert untimed(keep) == unbroken(ITERATIONS)


def test_a_directory_that_turns_read_only_in_the_middle(tmp_path: Path, unbroken: Records) -> None:
    """A read-only file system comes over it (the one below can't turn while the run's lock is open in it)."""
    out, keep = tmp_path / "out", tmp_path / "keep"
    folder = out / "runs" / LABEL
    turn = f"""
        ( while [ "$(cat {folder}/records.jsonl 2>/dev/null | wc -l)" -lt 50 ]; do sleep 0.02; done
          mount -t tmpfs -o ro none {folder} ) &
    """
    end = in_mount(out, keep, "10m", turn, command(out), f"status=$?; umount {folder}; (exit $status)").check(1)
    assert "Read-only file system; what was written before is intact" in end.complained
    assert end.complained.count("\n") == 1
    records = untimed(keep)
    assert 50 <= len(records) < ITERATIONS
    run(*OPTIONS, "--out", str(keep), "--resume").check()
    assert untimed(keep) == unbroken(ITERATIONS)


def test_a_directory_that_can_only_be_read(tmp_path: Path) -> None:
    out, keep = tmp_path / "out", tmp_path / "keep"
    end = in_mount(out, keep, "1m", f"mount -o remount,ro {out}", command(out)).check(2)
    assert end.complained == (
        f"error: --out {out}: can't write there (Read-only file system); choose another directory\n"
    )
