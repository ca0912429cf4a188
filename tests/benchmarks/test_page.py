"""Blocks of the benchmarks' page and of Julia's, from made-up records: numbers that are known, and programs missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks.kinds import CONTINUOUS, THROUGH_STEPS
from experiments.benchmarks.page import adaptive, fixed_steps, growth, modules
from experiments.benchmarks.page.contents import BLOCKS, PAGES
from experiments.benchmarks.page.made import machine_of, made
from experiments.benchmarks.records import (
    FAILED,
    SKIPPED,
    UNFIT,
    CeilingRecord,
    EntryRecord,
    MemoryRecord,
    RepeatRecord,
    Status,
    WorkloadRecord,
    path_of,
)
from experiments.study.page import contents
from experiments.study.page.blocks import blocks, rewritten
from experiments.study.page.markdown import EMPTY
from experiments.study.page.records import records
from pynode.records.files import append_line, write_json

KERNELS, INTERPOLATING = "pynode-fused", "pynode-fused dopri5 interpolating"

ENVIRONMENT = {
    "command": ["experiments/run.py", "bench", "--repeats", "3"],
    "time": "2026-12-01T10:00:00+00:00",
    "git": {"commit": "0123456789", "changed": False},
    "cores": 2,
    "processor": "Some CPU",
    "load_average": 0.25,
}

ADAPTIVE = WorkloadRecord(
    "spiral-opt-disc",
    "spiral, Opt-Disc: rtol 1e-7, atol 1e-9",
    "gradient",
    "opt-disc",
    "float64",
    1,
    "cpu",
    1,
    0,
    9,
)
SPIRAL = WorkloadRecord("spiral", "spiral", "iteration", "disc-opt", "float64", 1, "cpu", 1, 116, 9)
LARGE = WorkloadRecord(
    "miniboone-1000",
    "miniboone",
    "iteration",
    "disc-opt",
    "float32",
    2,
    "cpu",
    9,
    16,
    9,
    operations=4e8,
    product_operations=4e8,
    bytes=1e6,
)

Raced = tuple[WorkloadRecord, Mapping[str, list[float]]]
"""A workload with the seconds of each turn by entrant."""


def publish(folder: Path, *raced: Raced, load: float | None = 1.5, **environment: Any) -> None:
    """Writes a benchmark."""
    folder.mkdir()
    write_json(folder / "config.json", {"suite": "cpu"})
    write_json(folder / "environment.json", ENVIRONMENT | environment)
    for workload, by_entrant in raced:
        append_line(path_of(folder, "workloads"), workload)
        for name, seconds in by_entrant.items():
            engine = "fused" if name == "pynode-auto" else ""
            entry = EntryRecord(workload.name, name, "timed", gradient_error=0.0, bound=1e-10, engine=engine)
            append_line(path_of(folder, "entries"), entry)
            for turn, spent in enumerate(seconds):
                known = None if load is None else load + turn / 4
                append_line(path_of(folder, "repeats"), RepeatRecord(workload.name, name, turn, 1, spent, spent, known))


def rows(text: str) -> list[list[str]]:
    """The cells of a table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def flat(text: str) -> str:
    """A sentence on one line."""
    return " ".join(text.split())


def times(**by_entrant: float) -> dict[str, list[float]]:
    """Three turns of the same seconds each; `pynode_fused` stands for `pynode-fused`."""
    return {name.replace("_", "-"): [seconds] * 3 for name, seconds in by_entrant.items()}


def test_a_race_shows_milliseconds_and_ratios_to_the_kernels(folder: Path) -> None:
    publish(
        folder / "bench-cpu",
        (SPIRAL, times(torchdiffeq=4e-3, pynode_fused=1e-3)),
        (LARGE, times(pynode_fused=2e-3, other=3e-3)),
    )
    assert rows(fixed_steps.race()) == [
        ["", "spiral", "MINIBOONE's size, `batch 1000`"],
        ["---", "--:", "--:"],
        ["pynode-fused", "1 (1)", "2 (1)"],
        ["torchdiffeq", "4 (4, 4–4)", ""],
        ["other", "", "3 (1.5, 1.5–1.5)"],
    ]
    assert fixed_steps.types() == "spiral: float64, one thread; MINIBOONE's size: float32, two threads."


def test_without_kernels_a_race_has_no_ratios(folder: Path) -> None:
    publish(folder / "bench-cpu", (SPIRAL, times(pynode_eager=4e-3)))
    assert rows(fixed_steps.race())[2:] == [["pynode-eager", "4"]]
    assert fixed_steps.certainty() == ""
    assert fixed_steps.ceilings() == EMPTY


@pytest.mark.parametrize(
    ("torchdiffeq", "won", "is_certain"),
    [([0.5, 0.9, 2.0], 2, False), ([1.5, 2.0, 2.0], 0, True), ([0.5, 0.6, 0.7], 3, True)],
)
def test_who_is_faster_is_said_as_the_turns_have_it(
    folder: Path, torchdiffeq: list[float], won: int, is_certain: bool
) -> None:
    publish(folder / "bench-cpu", (LARGE, {KERNELS: [1.0] * 3, "torchdiffeq": torchdiffeq}))
    said = flat(fixed_steps.certainty())
    assert said.startswith(
        f"Turns in which others were faster than the kernels at MINIBOONE's size: torchdiffeq {won} of 3."
    )
    assert ("For torchdiffeq the quartiles of the ratio lie on both sides of 1" in said) is not is_certain


def test_the_least_work_is_that_of_the_kernels_alone(folder: Path) -> None:
    publish(folder / "bench-cpu", (LARGE, times(pynode_fused=8e-3, jax=1e-3)))
    for what, sizes in (("product", [64, 64, 64]), ("copy", [1024])):
        record = CeilingRecord("miniboone-1000", 0, what, sizes, "nt", 100.0)
        append_line(path_of(folder / "bench-cpu", "ceilings"), record)
    assert rows(fixed_steps.ceilings())[2:] == [
        ["ms if products were all", "4"],
        ["ms if bytes were all", "0.01"],
        ["ms measured", "8"],
        ["of the square product", "50 %"],
    ]
    assert "reach 50 % of the rate" in flat(fixed_steps.certainty())


def test_adaptive_solves_say_over_whom(folder: Path) -> None:
    seconds = {INTERPOLATING: [2e-3] * 3, "julia gauss": [4e-3] * 3, "torchode tsit5 autograd": [1.0] * 3}
    publish(folder / "bench-cpu", (ADAPTIVE, seconds))
    assert adaptive.set_up() == "Spiral at rtol 1e-7, atol 1e-9, float64, one thread (same command)."
    head, _, *body = rows(adaptive.times(CONTINUOUS))
    assert head[2] == "over the fastest"
    assert [row[:4] for row in body] == [[INTERPOLATING, "2", "1", "–"], ["julia gauss", "4", "2", "0 of 3"]]
    assert [row[0] for row in rows(adaptive.times(THROUGH_STEPS))[2:]] == ["torchode tsit5 autograd"]


def test_adaptive_solves_where_another_program_is_the_fastest_and_julia_is_absent(folder: Path) -> None:
    seconds = {INTERPOLATING: [2e-3] * 3, "diffrax tsit5 backsolve": [1e-3] * 3}
    publish(folder / "bench-cpu", (ADAPTIVE, seconds))
    head, _, *body = rows(adaptive.times(CONTINUOUS))
    assert head[2] == f"over {INTERPOLATING}"
    assert [row[:4] for row in body] == [
        ["diffrax tsit5 backsolve", "1", "0.5", "3 of 3"],
        [INTERPOLATING, "2", "1", "–"],
    ]
    assert adaptive.times(THROUGH_STEPS) == EMPTY


def module(name: str, batch: int) -> WorkloadRecord:
    """One of the user's modules, in 20 steps of four stages."""
    label = f"{name}-{batch}"
    return WorkloadRecord(
        label, label, "gradient", "disc-opt", "float64", 1, "cpu", batch, 80, 9, "batch", batch, module=name
    )


@pytest.mark.parametrize(
    ("jax", "said"),
    [
        (
            0.5e-3,
            "By the geometric mean jax is faster than pynode-auto at batch 1 and 100.",
        ),
        (2e-3, "By the geometric mean no other program of this table is faster than pynode-auto."),
    ],
)
def test_own_modules(folder: Path, jax: float, said: str) -> None:
    publish(
        folder / "bench-own-modules",
        (module("spiral", 1), times(pynode_auto=1e-3, torchdiffeq=2e-3, jax=jax)),
        (module("gru", 1), times(pynode_auto=1e-3, torchdiffeq=8e-3)),
        (module("spiral", 100), times(pynode_auto=1e-3, jax=jax)),
    )
    assert flat(modules.set_up()) == (
        "2 modules, each solved by `rk38` in 20 steps, in float64 on one thread, at batch 1 and 100. Losses and "
        "gradients agree to 1e-10. Timed on fewer modules: jax (1)."
    )
    assert "which ran on the kernels throughout" in flat(modules.engines())
    mean = f"{1e3 * jax:g} (1)"
    assert rows(modules.times_as_long()) == [
        ["", "torchdiffeq", "jax"],
        ["---", "--:", "--:"],
        ["batch 1", "4 (2)", mean],
        ["batch 100", "–", mean],
    ]
    assert flat(modules.finding()) == said, "and no cause that was not measured"


def test_modules_that_ran_on_torch_are_counted(folder: Path) -> None:
    publish(folder / "bench-own-modules", (module("spiral", 1), times(pynode_auto=1e-3)))
    workload = module("gru", 1)
    place = folder / "bench-own-modules"
    append_line(path_of(place, "workloads"), workload)
    append_line(path_of(place, "entries"), EntryRecord(workload.name, "pynode-auto", "timed", engine="eager"))
    append_line(path_of(place, "repeats"), RepeatRecord(workload.name, "pynode-auto", 0, 1, 1.0, 1.0))
    assert "which ran on the kernels on 1 of 2 workloads" in flat(modules.engines())
    assert modules.times_as_long() == EMPTY, "nobody to compare with"
    assert modules.finding() == ""


def test_scaling_and_memory(folder: Path) -> None:
    family = [
        WorkloadRecord(f"s{n}", "family", "gradient", "disc-opt", "float64", 1, "cpu", 1, 4, 9, "steps", n)
        for n in (1, 2, 4)
    ]
    publish(folder / "bench-scaling", *((w, times(pynode_eager=1e-3 * w.value)) for w in family))
    assert rows(growth.scaling())[2:] == [["family", "pynode-eager", "1 to 4", "1 to 4", "1.00 ± 0.00", "1.00 ± 0.00"]]
    publish(folder / "bench-memory", (SPIRAL, {}))
    for steps in (1, 2, 4):
        record = MemoryRecord("spiral", "store", steps, 1_000_000 * steps, None, 0.0)
        append_line(path_of(folder / "bench-memory", "memory"), record)
    assert rows(growth.memory())[2:] == [["store", "1–4", "1–4", "1.00"]]


@pytest.mark.parametrize(
    ("environment", "load", "said"),
    [
        ({}, 1.5, "0.25 at the start, at most 2.00 with the turns' own work."),
        ({"load_average": 1.8}, 1.5, "1.80 (not idle) at the start, at most 2.00 with the turns' own work."),
        ({"load_average": None}, None, "not recorded."),
        ({}, None, "0.25 at the start."),
    ],
)
def test_how_a_benchmark_was_made(folder: Path, environment: dict[str, Any], load: float | None, said: str) -> None:
    publish(folder / "bench-cpu", (SPIRAL, times(jax=1.0)), load=load, **environment)
    assert flat(made("bench-cpu")) == (
        "Made by `bench --repeats 3` on two cores (Some CPU), commit `0123456` (2026-12-01). Load average of the "
        f"machine: {said}"
    )


def test_uncommitted_changes_and_what_is_not_known_are_said(folder: Path) -> None:
    publish(folder / "bench-cpu", (SPIRAL, times(jax=1.0)), git={"commit": "0123456789", "changed": True})
    assert "commit `0123456` with uncommitted changes (2026-12-01)" in flat(made("bench-cpu"))
    assert made("bench-memory") == EMPTY
    assert machine_of({"cores": 1, "processor": ""}) == "one core"
    assert machine_of({}) == "a machine"


def test_who_is_missing_is_said(folder: Path) -> None:
    publish(folder / "bench-cpu", (SPIRAL, times(pynode_eager=1.0)), (LARGE, times(pynode_eager=1.0, torchode=1.0)))
    missing: list[tuple[str, Status]] = [("jax", SKIPPED), ("diffrax", SKIPPED), ("julia", UNFIT), ("torchode", FAILED)]
    for workload in (SPIRAL, LARGE):
        for name, status in missing[: 3 if workload is LARGE else 4]:
            append_line(path_of(folder / "bench-cpu", "entries"), EntryRecord(workload.name, name, status, "why"))
    assert flat(made("bench-cpu")).endswith(" own work. Not installed: jax and diffrax. Broke down: torchode.")


def test_the_table_of_records_tells_the_load(folder: Path) -> None:
    publish(folder / "bench-cpu", (SPIRAL, times(jax=1.0)))
    publish(folder / "bench-scaling", (SPIRAL, times(jax=1.0)), load=None, load_average=None)
    (folder / "scale").mkdir()
    write_json(folder / "scale" / "environment.json", ENVIRONMENT)
    cells = {row[0].partition("]")[0]: row[-1] for row in rows(records())[2:]}
    assert cells == {
        "[bench-cpu": "0.25 at the start, at most 2.00 with the turns' own work",
        "[bench-scaling": "–",
        "[scale": "0.25 at the start",
    }


def nothing(_: Path) -> None:
    """No records at all."""


def eager_alone(folder: Path) -> None:
    """Neither Numba, JAX nor Julia."""
    publish(folder / "bench-cpu", (SPIRAL, times(pynode_eager=1.0)), (ADAPTIVE, times(pynode_eager=1.0)))
    publish(folder / "bench-own-modules", (module("spiral", 1), times(pynode_eager=1.0)))


def nobody_timed(folder: Path) -> None:
    """All entrants broke down, at the last turn."""
    publish(folder / "bench-cpu", (SPIRAL, times(jax=1.0)), (LARGE, times(pynode_fused=1.0)))
    for path in folder.rglob("entries.jsonl"):
        path.unlink()
    for workload, who in ((SPIRAL, "jax"), (LARGE, KERNELS)):
        append_line(path_of(folder / "bench-cpu", "entries"), EntryRecord(workload.name, who, "failed", "no answer"))


@pytest.mark.parametrize("write", [nothing, eager_alone, nobody_timed])
@pytest.mark.parametrize("path", PAGES)
def test_the_pages_come_out_whole_whatever_is_missing(path: str, write: Callable[[Path], None], folder: Path) -> None:
    page = contents.page(path)
    write(folder)
    after = blocks(rewritten(page, {name: BLOCKS[name]() for name in blocks(page)}))
    shown = [cell for text in after.values() for row in rows(text) for cell in row]
    assert list(after) == list(blocks(page))
    assert not {"jax", "julia gauss"} & set(shown)
    assert ("pynode-eager" in shown) is (write is eager_alone and path == PAGES[0])
