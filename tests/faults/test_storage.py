"""A disk that is full or can only be read, from the start or in the middle of a run.

The file systems are real ones, mounted in a namespace of the command's own.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


def test_results_that_can_only_be_read_are_used(tmp_path: Path) -> None:
    """Whoever may not write there predicts, scores, draws samples, shows and reports, and writes elsewhere."""
    out, keep, data = tmp_path / "out", tmp_path / "keep", tmp_path / "swing.csv"
    lines = [f"{k},{np.cos(k / 4):.4f},{np.sin(k / 4):.4f}" for k in range(30)]
    data.write_text("\n".join(["t,x,y", *lines]) + "\n")

    def words(*arguments: object) -> str:
        return f"{sys.executable} {RUN} {shlex.join(map(str, arguments))}"

    short = ("--methods", "disc-opt", "--iterations", 2, "--data", data)
    scripts = [
        f"{words('series', *short, '--out', out / 'series')} >/dev/null || exit 98",
        f"{words('density', *short, '--drop', 't', '--out', out / 'density')} >/dev/null || exit 97",
        f"mount -o remount,ro {out} || exit 96",
        f"touch {out}/series/x 2>/dev/null && exit 95",
        *(
            f"{words(*arguments)} || exit {number}"
            for number, arguments in enumerate(
                (
                    ("predict", out / "series", "--until", 33, "--out", tmp_path / "forecast.csv"),
                    ("score", out / "density", "--data", data, "--out", tmp_path / "scores.csv"),
                    ("sample", out / "density", "--number", 5, "--out", tmp_path / "new.csv"),
                    ("show", out / "series"),
                    ("report", out / "density", "--out", tmp_path / "page.html"),
                ),
                1,
            )
        ),
        words("report", out / "series"),
        words("evaluate", out / "density"),
    ]
    end = in_mount(out, keep, "10m", *scripts).check(2)
    assert f"{out / 'series'} can only be read: no figures, no tables.md and no page are written there" in end.said
    said = end.complained.splitlines()[-2:]
    assert (
        said[0]
        == f"error: {out / 'series'} can only be read; name a file of your own for the page, e.g. --out report.html"
    )
    assert said[1].startswith(f"error: {out / 'density'} can only be read, and what is measured is kept there; copy it")
    for name, count in (("forecast.csv", 5), ("scores.csv", 31), ("new.csv", 6)):
        assert len((tmp_path / name).read_text().splitlines()) == count
    assert (tmp_path / "page.html").stat().st_size > 10_000
