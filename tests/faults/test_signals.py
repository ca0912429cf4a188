"""SIGINT, SIGTERM and SIGKILL at a command that trains."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import ITERATIONS, LABEL, SPIRAL, ended, run, start, untimed, wait_for_records

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

Records = Callable[[int], list[dict[str, Any]]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_saves_and_goes_on(tmp_path: Path, unbroken: Records, number: signal.Signals) -> None:
    options = [*SPIRAL, "--iterations", str(ITERATIONS), "--checkpoint-every", "1000", "--out", str(tmp_path / "out")]
    process = start(*options)
    records = tmp_path / "out" / "runs" / LABEL / "records.jsonl"
    wait_for_records(records, random.randrange(20, 90), process)
    process.send_signal(number)
    end = ended(process).check(128 + number)
    left = records.read_bytes()
    count = left.count(b"\n")
    assert end.complained.count("\n") == 1
    assert f"interrupted in {LABEL} before iteration {count}; saved: --resume continues there" in end.complained
    assert untimed(tmp_path / "out") == unbroken(ITERATIONS)[:count]
    again = run(*options, "--resume").check()
    assert f"iteration {count}: resumed: from the last checkpoint" in again.said
    assert records.read_bytes().startswith(left), "what was recorded is not touched"
    assert untimed(tmp_path / "out") == unbroken(ITERATIONS)
