"""The suite `gpu` by stand-ins: what is finished is recorded, and what breaks down or is late costs its own cells."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks import heats, on_gpu
from experiments.benchmarks.agreement import difference
from experiments.benchmarks.entrants import ENTRANTS
from experiments.benchmarks.entrants.base import by_precision, precision_of
from experiments.benchmarks.entrants.reduce_overhead import BACKEND, TorchReduceOverhead
from experiments.benchmarks.figures import render
from experiments.benchmarks.heats import Heats
from experiments.benchmarks.process import Child, EntrantFailure
from experiments.benchmarks.race import Settings
from experiments.benchmarks.records import CeilingRecord, EntryRecord, RepeatRecord, WorkloadRecord, path_of, read
from experiments.benchmarks.workload import Workload, first_rows, load
from pynode.records.files import append_line, write_json

SHORT = Settings(repeats=3, block=0.001, ceilings=False)

traces = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
"""torch.compile asks every tensor for its gradient, and hides the warning, which is an error in tests before that."""


def said(text: str) -> None:
    """Nobody listens."""


def statuses(entries: list[EntryRecord]) -> dict[str, str]:
    """What became of each entrant."""
    return {entry.entrant: entry.status for entry in entries}


def test_all_take_turns_and_what_fails_costs_its_own_cells(
    stand_in: Callable[..., Any], series: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pynode, of one that is not installed, one that computes something else, and one that raises."""
    monkeypatch.setattr(heats, "CELL", 250.0)  # machines that run tests are busy
    kinds = [
        ENTRANTS.load("pynode-eager"),
        stand_in("absent", packages="('no_such_package',)"),
        stand_in("other"),
        stand_in("broken", work="raise ValueError('no such kernel')"),
    ]
    entries = Heats(SHORT, tmp_path, said, 600).run([series, replace(series, name="second", steps=2)], kinds)
    assert statuses(entries) == {
        "pynode-eager": "timed",
        "absent": "skipped",
        "other": "refused",
        "broken": "failed",
    }
    write_json(tmp_path / "config.json", {"suite": "gpu"})
    benchmark = read(tmp_path)
    assert [w.name for w in benchmark.workloads] == ["small", "second"]
    assert {(r.workload, r.entrant, r.repeat) for r in benchmark.repeats} == {
        (name, "pynode-eager", turn) for name in ("small", "second") for turn in range(3)
    }
    mine = [e for e in benchmark.entries if e.entrant == "pynode-eager"]
    # the reference is this entrant with the option to keep states alone, which sums the gradient in another order
    assert all(e.gradient_error is not None and e.gradient_error < 1e-14 for e in mine)
    assert all(e.trained_error is not None and e.trained_error < 1e-9 for e in mine)
    assert "no such kernel" in next(str(e.reason) for e in benchmark.entries if e.entrant == "broken")


def test_who_is_late_is_left_behind(stand_in: Callable[..., Any], series: Workload, tmp_path: Path) -> None:
    """A process that does not answer is ended, the rest is recorded within the limit."""
    import time

    late = stand_in("late", work="import time; time.sleep(600)")
    start = time.monotonic()
    entries = Heats(SHORT, tmp_path, said, 12).run([series, replace(series, name="second")], [late])
    assert time.monotonic() - start < 120
    assert [e.status for e in entries] == ["failed", "skipped"]
    assert "no answer within" in str(entries[0].reason)
    assert "the time limit of 12 s left no time to prepare it" in str(entries[1].reason)
    assert len(path_of(tmp_path, "entries").read_text().splitlines()) == 2


def test_a_process_that_has_ended_is_told_of(tmp_path: Path) -> None:
    """Also when it is asked once more, after it has been closed."""
    with Child(1, "cpu", tmp_path / "log") as child:
        child._process.kill()
        child._process.wait()
        for _ in range(2):
            with pytest.raises(EntrantFailure, match="its process ended with status -9: it said nothing"):
                child.ask("forget", key="x")
            child.close()


DYING = '''
"""pynode's torch operators, in a process that ends while it is timed on the second workload."""

import os
import sys

from experiments.benchmarks.entrants.of_pynode import PynodeEager


class {kind}(PynodeEager):
    name = "{name}"
    resets = 0

    def reset(self):
        super().reset()
        self.resets += 1  # when it is built, for its gradient, for its training, for each warm-up and turn
        if self.workload.name == "second" and self.resets == {most}:
            print("{name} has ended", file=sys.stderr, flush=True)
            os._exit(9)
'''


@pytest.mark.usefixtures("stand_in")
def test_whose_process_ends_after_it_has_been_prepared_has_failed(
    series: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a turn; what the same entrant has been timed on before stays timed, with what happened then."""
    monkeypatch.setattr(heats, "CELL", 250.0)
    kinds = []
    for kind, name, most in (("Early", "early", 4), ("Late", "late", 7)):
        (tmp_path / f"dying_{name}.py").write_text(DYING.format(kind=kind, name=name, most=most), encoding="utf-8")
        importlib.invalidate_caches()
        kinds.append(getattr(importlib.import_module(f"dying_{name}"), kind))
    out = tmp_path / "out"
    out.mkdir()
    entries = Heats(SHORT, out, said, 600).run([series, replace(series, name="second")], kinds)
    write_json(out / "config.json", {"suite": "gpu"})
    benchmark = read(out)
    assert sorted(benchmark.entries, key=str) == sorted(entries, key=str)
    told = {(e.workload, e.entrant): (e.status, e.reason) for e in entries}
    assert told == {
        ("small", "early"): ("failed", "its process ended with status 9: early has ended"),
        ("second", "early"): ("failed", "its process ended with status 9: early has ended"),
        ("small", "late"): ("timed", "2 turns, then its process ended with status 9: late has ended"),
        ("second", "late"): ("failed", "its process ended with status 9: late has ended"),
    }
    assert all(e.gradient_error is not None for e in entries), "what was found out before is kept"
    assert {w: sorted(benchmark.seconds(w)) for w in ("small", "second")} == {"small": ["late"], "second": []}


def test_who_has_no_turn_within_the_limit_is_not_timed(
    series: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heats, "CELL", 250.0)
    monkeypatch.setattr(Heats, "_take_rounds", lambda *_: None)
    (entry,) = Heats(SHORT, tmp_path, said, 600).run([series], [ENTRANTS.load("pynode-eager")])
    assert (entry.status, entry.reason) == ("skipped", "the time limit of 600 s left no time for a turn")
    lines = [json.loads(line)["status"] for line in path_of(tmp_path, "entries").read_text().splitlines()]
    assert lines == ["prepared", "skipped"]


@traces
def test_the_compiled_step_computes_the_same(series: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_traced_like_eager(series, monkeypatch)


@traces
def test_the_compiled_step_of_a_flow_computes_the_same(flow: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_traced_like_eager(flow, monkeypatch)


def assert_traced_like_eager(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced by torch.compile and run by torch operators: compiling it in full needs a GPU to be worth it."""
    monkeypatch.setitem(os.environ, BACKEND, "eager")
    for one in (workload, replace(workload, steps=3)):
        reference = ENTRANTS.load("pynode-eager")(one, "", "float64").gradient()
        mine = TorchReduceOverhead(one, "", "float64").gradient()
        assert difference(mine.theta, reference.theta) < 1e-12
        assert mine.loss == pytest.approx(reference.loss, rel=1e-13)


def test_variants_are_the_precisions_of_the_workload(series: Workload, tmp_path: Path) -> None:
    reduced = replace(series, precisions=("full", "tf32", "bf16"))
    assert by_precision(series) == ("",)
    assert by_precision(reduced) == ("", "tf32", "bf16")
    assert by_precision(reduced, known=("full", "tf32")) == ("", "tf32")
    assert [precision_of(v) for v in ("", "tf32", "tsit5 bf16", "recompute")] == ["full", "tf32", "bf16", "full"]
    reduced.save(tmp_path / "workload")
    assert load(tmp_path / "workload").precisions == reduced.precisions
    full, less = (ENTRANTS.load("pynode-eager")(reduced, v, "float32").gradient().theta for v in ("", "bf16"))
    assert 1e-4 < difference(less, full) < 5e-2


def test_the_first_rows_of_a_batch(flow: Workload, series: Workload) -> None:
    cut = first_rows(flow, 7)
    assert cut.batch == 7
    assert np.array_equal(cut.arrays["y0"], flow.arrays["y0"][:7])
    assert all(len(cut.arrays[name]) == 7 for name in cut.arrays if name == "probes")
    assert first_rows(series, 1) is series
    assert first_rows(flow, 100) is flow


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run in which graphs take a tenth of the time, and TF32 half of that, at known limits."""
    workload = WorkloadRecord(
        "wide", "wide, CUDA", "iteration", "disc-opt", "float32", 2, "cuda", 100, 16, 1000,
        operations=8e9, product_operations=8e9, bytes=1e6, products=[[4096, 64, 32, "nt", 500]],
    )  # fmt: skip
    write_json(tmp_path / "config.json", {"suite": "gpu"})
    append_line(path_of(tmp_path, "workloads"), workload)
    seconds = {"pynode-eager": 0.04, "pynode-graph": 0.004, "pynode-graph tf32": 0.002}
    for name, value in seconds.items():
        append_line(path_of(tmp_path, "entries"), EntryRecord("wide", name, "timed", peak_bytes=3_000_000))
        for turn in range(3):
            append_line(path_of(tmp_path, "repeats"), RepeatRecord("wide", name, turn, 5, value, value))
    for precision, square, own in (("", 4000.0, 2500.0), ("tf32", 8000.0, 5000.0)):
        for sizes, rate in (([4096, 4096, 4096], square), ([4096, 64, 32], own)):
            append_line(
                path_of(tmp_path, "ceilings"), CeilingRecord("wide", 0, "product", sizes, "nt", rate, precision)
            )
    for what, rate in (("copy", 4000.0), ("launch", 2e-4), ("replay", 1e-3)):
        append_line(path_of(tmp_path, "ceilings"), CeilingRecord("wide", 0, what, [500], "", rate))
    return tmp_path


def test_tables_of_the_suite(recorded: Path) -> None:
    times, shares, limits, memory = on_gpu.tables(read(recorded))
    assert times.rows == [
        ["pynode-graph", "4 (10 x)"],
        ["pynode-graph tf32", "2 (20 x)"],
        ["pynode-eager", "40"],
    ]
    # 8e9 operations in 4 ms are 2e12 a second; each against the limits in its own precision
    assert shares.rows[0] == ["pynode-graph", "2 (50 % / 80 %)"]
    assert shares.rows[1] == ["pynode-graph tf32", "4 (50 % / 80 %)"]
    assert [row[:2] for row in limits.rows] == [
        ["copy, GB/s (read and written)", "4,000"],
        ["kernels in a CUDA graph, microseconds each", "1"],
        ["kernels one by one, microseconds each", "5"],
        ["product, float32, 1e12 operations/s", "4"],
        ["product, tf32, 1e12 operations/s", "8"],
    ]
    assert memory.rows[0] == ["pynode-graph", "3"]
    assert on_gpu.findings(read(recorded)) == ["Speed-up of pynode-graph over pynode-eager: 10 on wide."]
    rendered = render(recorded, write=False)
    assert [t.title for t in rendered.tables][:4] == [t.title for t in (times, shares, limits, memory)]
    assert "Profile" not in {t.title for t in rendered.tables}


def test_other_suites_have_no_such_tables(recorded: Path) -> None:
    write_json(recorded / "config.json", {"suite": "cpu"})
    assert on_gpu.tables(read(recorded)) == []
    assert on_gpu.findings(read(recorded)) == []
