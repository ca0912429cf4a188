"""Each way of keeping states stays within what it allows, and gives the same gradient."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks import suites
from experiments.benchmarks.records import read
from experiments.benchmarks.suites import Task
from pynode.records.files import write_json


def test_memory_stays_within_its_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "QUICK_STEPS", (1, 3, 12))
    monkeypatch.setattr(suites, "BATCH", 64)
    write_json(tmp_path / "config.json", {"suite": "cpu"})
    task = Task((), None, None, None, True, tmp_path, lambda _: None)
    entries = suites.Memory().run(task)
    assert {e.entrant: e.status for e in entries} == dict.fromkeys(suites.WAYS, "timed")
    records = read(tmp_path).memory
    for way in suites.WAYS:
        mine = [r for r in records if r.way == way]
        assert mine
        assert [r for r in mine if r.bound_bytes is None or r.peak_bytes > r.bound_bytes] == []
        if way != suites.ADJOINT:
            assert [r.steps for r in mine] == [1, 3, 12]
            assert all(r.gradient_error is not None and r.gradient_error < 1e-13 for r in mine)
    store, recompute, checkpoint = ([r.peak_bytes for r in records if r.way == way] for way in suites.WAYS[:3])
    assert store[2] > 8 * store[0]
    assert checkpoint[2] < recompute[2] < 2 * recompute[0]
