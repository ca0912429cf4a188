"""Ranks of a test: processes with the environment that torchrun would give them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]

Ranks = list[subprocess.Popen[str]]
Start = Callable[..., Ranks]


def environment(rank: int, size: int, meeting: Path, **more: str) -> dict[str, str]:
    """Of one rank of `size` on this machine, whose launch is known by `meeting`."""
    told = {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "TORCHELASTIC_RUN_ID": str(meeting),
        "TMPDIR": str(meeting),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MASTER_", "TORCHELASTIC_", "GLOO_"))}
    return {**kept, **told, **more}


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Starts `size` ranks (or only `only`) of work.py with some arguments; none outlives the tests."""
    running: Ranks = []

    def start(size: int, meeting: Path, *arguments: object, only: int | None = None, **more: str) -> Ranks:
        ranks = [
            subprocess.Popen(
                [sys.executable, str(HERE.parent / "work.py"), *map(str, arguments)],
                env=environment(rank, size, meeting, **more),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(size)
            if only in (None, rank)
        ]
        running.extend(ranks)
        return ranks

    yield start
    for process in running:
        if process.returncode is None:
            process.kill()
            process.communicate()
