"""Entrants are compared before they are timed; what is wrong, broken or absent is said, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks.agreement import Reference, difference
from experiments.benchmarks.figures import render
from experiments.benchmarks.process import Child, EntrantFailure, environment
from experiments.benchmarks.race import Settings, race
from experiments.benchmarks.records import read
from experiments.benchmarks.workload import Workload, layers, load
from pynode.records.files import write_json

QUICK = Settings(repeats=3, block=0.002, ceilings=False, caches=False)


def reference_of(workload: Workload) -> Reference:
    """What the stand-ins give, after three iterations too."""
    theta = workload.arrays["theta"]
    return Reference(1.0, 2 * theta, theta * 0.9**3)


def test_only_those_that_compute_the_same_are_timed(
    stand_in: Callable[..., Any], series: Workload, tmp_path: Path
) -> None:
    kinds = [
        stand_in("right"),
        stand_in("wrong", scale=1 + 1e-8),
        stand_in("trains_otherwise", work="self.values = self.values * 0.8"),
        stand_in("huge", scale=1e300),
        stand_in("broken", work="raise ValueError('no such\\nthing')"),
        stand_in("dies", work="import os; os._exit(3)"),
        stand_in("absent", packages="('no_such_package',)"),
    ]
    out = tmp_path / "out"
    out.mkdir()
    write_json(out / "config.json", {"suite": "cpu"})
    race(series, kinds, QUICK, out, lambda _: None, reference_of(series))
    benchmark = read(out)
    said = {e.entrant: (e.status, e.reason) for e in benchmark.entries}
    assert said["right"] == ("timed", None)
    assert said["wrong"] == ("refused", "its gradient is off by 1.0e-08, allowed are 1.0e-10")
    assert said["trains_otherwise"][0] == "refused"
    assert "its training is off by" in str(said["trains_otherwise"][1])
    assert said["huge"][0] == "refused"
    assert said["broken"] == ("failed", "ValueError: no such thing")
    assert said["dies"] == ("failed", "its process ended with status 3: it said nothing")
    assert said["absent"] == ("skipped", "no_such_package not installed; pip install -e '.[peers]'")
    assert {r.entrant for r in benchmark.repeats} == {"right"}
    assert [r.repeat for r in benchmark.repeats] == [0, 1, 2]
    assert all(r.seconds > 0 and r.calls >= 1 for r in benchmark.repeats)
    # tables come from the records alone
    titles = {t.title: t for t in render(out).tables}
    assert [row[0] for row in titles["small"].rows] == ["right"]
    assert {row[0] for row in titles["Not timed"].rows} == set(said) - {"right"}


def test_all_take_turns(stand_in: Callable[..., Any], series: Workload, tmp_path: Path) -> None:
    kinds = [stand_in("one"), stand_in("two")]
    race(series, kinds, QUICK, tmp_path, lambda _: None, reference_of(series))
    write_json(tmp_path / "config.json", {"suite": "cpu"})
    order = [r.entrant for r in read(tmp_path).repeats]
    assert order == ["one", "two", "two", "one", "one", "two"], "round after round, another one first"


def test_every_turn_records_the_load_of_the_machine(
    stand_in: Callable[..., Any], series: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read after the turn, which is part of it; older records and other systems have none."""
    loads = iter([0.5, None, 1.5])
    monkeypatch.setattr("experiments.benchmarks.race.load_average", lambda: next(loads))
    race(series, [stand_in("one")], QUICK, tmp_path, lambda _: None, reference_of(series))
    write_json(tmp_path / "config.json", {"suite": "cpu"})
    assert [r.load_average for r in read(tmp_path).repeats] == [0.5, None, 1.5]


def test_a_child_that_does_not_answer_is_given_up(
    stand_in: Callable[..., Any], series: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = stand_in("sleeps", work="import time; time.sleep(60)")
    monkeypatch.setattr("experiments.benchmarks.process.PATIENCE", 2.0)
    series.save(tmp_path / "workload")
    with Child(1, "cpu", tmp_path / "log") as child, pytest.raises(EntrantFailure, match="no answer within 2 s"):
        child.ask(
            "prepare",
            key="k",
            module=kind.__module__,
            name=kind.__qualname__,
            variant="",
            workload=str(tmp_path / "workload"),
            dtype="f",
        )


def test_threads_are_set_before_anything_is_imported() -> None:
    variables = environment(3, "cpu", {"NUMBA_CACHE_DIR": "here"})
    assert {variables[k] for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")} == {"3"}
    assert variables["NUMBA_CACHE_DIR"] == "here"
    assert "multi_thread_eigen=false" in environment(1, "cpu")["XLA_FLAGS"]


def test_a_workload_survives_its_file(series: Workload, tmp_path: Path) -> None:
    series.save(tmp_path / "w")
    loaded = load(tmp_path / "w")
    # a list in JSON is a tuple in Python
    assert replace(loaded, tableau={}, spec={}) == replace(series, tableau={}, spec={})
    assert loaded.widths == series.widths
    assert [list(row) for row in loaded.tableau["a"]] == [list(row) for row in series.tableau["a"]]
    assert all(np.array_equal(loaded.arrays[k], v) for k, v in series.arrays.items())
    assert [[t.shape for t in layer] for layer in layers(loaded, loaded.arrays["theta"])] == [
        [(4, 2), (4,)],
        [(2, 4), (2,)],
    ]


def test_differences_of_nonsense_are_infinite() -> None:
    one = np.ones(3)
    assert difference(one, one) == 0
    assert difference(one[:2], one) == float("inf")
    assert difference(one * np.nan, one) == float("inf")
