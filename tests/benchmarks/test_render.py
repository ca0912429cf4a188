"""From records to tables and figures, and what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.figures import render
from experiments.benchmarks.records import (
    CeilingRecord,
    EntryRecord,
    MemoryRecord,
    NoBenchmark,
    RepeatRecord,
    WorkloadRecord,
    ceiling,
    path_of,
    power_law,
    ratios,
    read,
)
from experiments.benchmarks.tables import tables
from pynode.records.files import append_line, write_json


def workload(name: str, **more: object) -> WorkloadRecord:
    """A workload of 4e9 operations in one kind of product."""
    common = {
        "title": f"case {name}",
        "unit": "iteration",
        "method": "disc-opt",
        "dtype": "float32",
        "threads": 2,
        "device": "cpu",
        "batch": 10,
        "n_stages": 4,
        "n_params": 7,
        "operations": 4e9,
        "product_operations": 4e9,
        "bytes": 1e9,
        "products": [[1000, 1000, 1000, "nn", 2]],
    }
    return WorkloadRecord(name=name, **{**common, **more})  # type: ignore[arg-type]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Records of a race of two, of a family, and of memory."""
    write_json(tmp_path / "config.json", {"suite": "cpu"})
    append_line(path_of(tmp_path, "workloads"), workload("a"))
    for name, seconds in (("pynode-fused", 0.05), ("jax", 0.1)):
        append_line(
            path_of(tmp_path, "entries"), EntryRecord("a", name, "timed", gradient_error=1e-15, first_seconds=2.0)
        )
        for turn in range(4):
            drift = 1 + turn  # the machine gets slower, for both
            append_line(
                path_of(tmp_path, "repeats"), RepeatRecord("a", name, turn, 3, drift * seconds, drift * seconds)
            )
    append_line(path_of(tmp_path, "entries"), EntryRecord("a", "julia", "skipped", "there is no Julia"))
    for rate in (90.0, 100.0, 110.0):
        append_line(path_of(tmp_path, "ceilings"), CeilingRecord("a", 0, "product", [1000, 1000, 1000], "nn", rate / 2))
        append_line(path_of(tmp_path, "ceilings"), CeilingRecord("a", 0, "product", [64, 64, 64], "nt", rate))
        append_line(path_of(tmp_path, "ceilings"), CeilingRecord("a", 0, "copy", [1 << 28], "", 10.0))
    for size in (1, 2, 4, 8, 16):
        append_line(
            path_of(tmp_path, "workloads"), workload(f"s{size}", title="family", axis="steps", value=float(size))
        )
        append_line(
            path_of(tmp_path, "repeats"), RepeatRecord(f"s{size}", "pynode-eager", 0, 1, 1e-3 * size, 1e-3 * size)
        )
        append_line(path_of(tmp_path, "memory"), MemoryRecord("m", "store", size, 1000 * size, 1000.0 * size, 0.0))
        append_line(path_of(tmp_path, "memory"), MemoryRecord("m", "adjoint", size, 2000, 1000.0, 0.1))
    append_line(path_of(tmp_path, "workloads"), workload("m", title="memory of a", axis="steps"))
    return tmp_path


@pytest.mark.usefixtures("drawn_figures")
def test_tables_say_what_records_say(directory: Path) -> None:
    rendered = render(directory)
    made = {t.title: {row[0]: row[1:] for row in t.rows} for t in rendered.tables}
    race = made["case a"]
    assert list(race) == ["pynode-fused", "jax"], "the fastest first"
    assert race["jax"][2] == "2", "turn by turn the ratio is exact, whatever the machine does in between"
    assert race["jax"][3] == "2–2"
    assert made["Not timed"]["julia"] == ["skipped", "a", "there is no Julia"]
    profile = made["Profile"]
    assert profile["ms measured"] == ["125"]
    assert profile["GFLOP/s reached"] == ["32"]
    assert profile["of products of these sizes"] == ["64 %"]
    assert made["Scaling: family"]["pynode-eager"][2] == "1.00 ± 0.00"
    assert made["memory of a"]["store"][-1] == "yes"
    assert made["memory of a"]["adjoint"][-1] == "no"
    assert rendered.findings == ["case a: against pynode-fused, jax 2 times (2 to 2) as long (median and quartiles)."]
    assert {p.name for p in rendered.paths if p.suffix == ".png"} == {"seconds.png", "scaling.png", "memory.png"}
    assert all(p.stat().st_size > 1000 for p in rendered.paths)
    before = (directory / "tables.md").read_text()
    render(directory)
    assert (directory / "tables.md").read_text() == before


@pytest.mark.parametrize(
    ("start", "turns", "said"),
    [
        (0.25, (1.0, 2.5), "0.25 at the start, at most 2.50 with the turns' own work"),
        (None, (1.0, 2.5), "at most 2.50 with the turns' own work"),
        (1.5, (), "1.50 (not idle) at the start"),
        (0.25, (1.0, None), "0.25 at the start"),
        (None, (), "not recorded"),
    ],
)
def test_the_load_of_the_machine_is_told(
    directory: Path, start: float | None, turns: tuple[float | None, ...], said: str
) -> None:
    """Below the table of the workload, for its turns alone."""
    write_json(directory / "environment.json", {"load_average": start})
    append_line(path_of(directory, "workloads"), workload("b"))
    append_line(path_of(directory, "entries"), EntryRecord("b", "jax", "timed", gradient_error=0.0))
    for turn, load in enumerate(turns or (None,)):
        append_line(path_of(directory, "repeats"), RepeatRecord("b", "jax", turn, 1, 1.0, 1.0, load))
    notes = {t.title: t.notes for t in tables(read(directory))}
    assert notes["case b"][-1] == f"Load average of the machine: {said}."
    of_others = "not recorded" if start is None else said.partition(", at most")[0]
    assert notes["case a"][-1] == f"Load average of the machine: {of_others}."
    assert notes["Scaling: family"][-1] == notes["case a"][-1]


def test_entrants_that_broke_down_between_turns_are_in_no_race(directory: Path) -> None:
    append_line(path_of(directory, "entries"), EntryRecord("a", "torchdiffeq", "failed", "no answer within 900 s"))
    append_line(path_of(directory, "repeats"), RepeatRecord("a", "torchdiffeq", 0, 1, 1e-6, 1e-6))
    made = {t.title: [row[0] for row in t.rows] for t in tables(read(directory))}
    assert made["case a"] == ["pynode-fused", "jax"]
    assert "torchdiffeq" in made["Not timed"]


def test_own_sizes_count_only_where_they_are_no_mere_calls(directory: Path) -> None:
    benchmark = read(directory)
    limits = ceiling(benchmark, benchmark.workloads[0])
    assert limits is not None
    assert limits.mix == pytest.approx(50)
    assert limits.copy == 10


def test_a_power_law_is_found() -> None:
    x = np.array([1.0, 2, 4, 8, 32])
    fit = power_law(list(x), list(3 * x**1.5))
    assert fit is not None
    assert (fit.exponent, fit.factor) == pytest.approx((1.5, 3))
    assert fit.error < 1e-12
    assert power_law([1, 2], [1, 2]) is None


def test_ratios_need_pairs() -> None:
    assert ratios([], [1.0]) is None


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(NoBenchmark, match="holds no benchmark"):
        read(tmp_path)
