"""The suite `own-modules`: the same nets in every program, processes that are shared, tables from records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.benchmarks import own_modules, suites
from experiments.benchmarks.agreement import Reference, difference
from experiments.benchmarks.ceilings import work_of
from experiments.benchmarks.entrants import ENTRANTS
from experiments.benchmarks.entrants.compiled import TorchCompile
from experiments.benchmarks.figures import render
from experiments.benchmarks.modules import COMPILED, DIFFRAX, NAMES
from experiments.benchmarks.modules.in_torch import MODULES
from experiments.benchmarks.process import Child
from experiments.benchmarks.race import Pool, Settings, race
from experiments.benchmarks.records import EntryRecord, RepeatRecord, WorkloadRecord, path_of, read
from experiments.benchmarks.suites import OwnModules, Task, own_workload
from experiments.benchmarks.workload import Workload, load, slots
from pynode.records.files import append_line, write_json

QUICK = Settings(repeats=2, block=0.002, ceilings=False, caches=False)


def check_alike(name: str, workload: Workload) -> None:
    """Loss and gradient are those of pynode by torch operators."""
    kind = ENTRANTS.load(name)
    if reason := kind.unfit(workload) or kind.missing():
        pytest.skip(reason)
    wanted = ENTRANTS.load("pynode-eager")(workload, "", "float64").gradient()
    entrant = kind(workload, "", "float64")
    for _ in range(2):  # a second time, since gradients must not add up
        mine = entrant.gradient()
        assert difference(mine.theta, wanted.theta) < 1e-12
        assert mine.loss == pytest.approx(wanted.loss, rel=1e-13)
        entrant.work()


@pytest.mark.parametrize("module", NAMES)
@pytest.mark.parametrize("name", ["pynode-auto", "torchdiffeq", "jax"])
def test_programs_agree(name: str, module: str) -> None:
    check_alike(name, replace(own_workload(module, 3), steps=3))


@pytest.mark.skipif(find_spec("diffrax") is None, reason="diffrax is not installed")
def test_diffrax_agrees() -> None:
    check_alike("diffrax", replace(own_workload("spiral", 3), steps=3))


@pytest.mark.parametrize("module", COMPILED)
def test_the_step_that_is_compiled_agrees(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda step: step)
    monkeypatch.setattr(TorchCompile, "latest", None)
    check_alike("torch-compile", replace(own_workload(module, 3), steps=3))


def test_the_gradient_is_that_of_the_loss_by_theta_and_by_the_initial_states() -> None:
    workload = replace(own_workload("lotka-volterra", 2), steps=3)
    gradient = ENTRANTS.load("pynode-eager")(workload, "", "float64").gradient().theta
    theta, y0 = workload.arrays["theta"], workload.arrays["y0"]
    assert gradient.shape == (theta.size + y0.size,)
    way = np.random.default_rng(0).standard_normal(gradient.shape)

    def loss(h: float) -> float:
        arrays = {"theta": theta + h * way[: theta.size], "y0": y0 + h * way[theta.size :].reshape(y0.shape)}
        return ENTRANTS.load("pynode-eager")(replace(workload, arrays=arrays), "", "float64").gradient().loss

    assert (loss(1e-5) - loss(-1e-5)) / 2e-5 == pytest.approx(gradient @ way, rel=1e-7)


def test_modules_are_known_by_the_names_of_the_report() -> None:
    assert tuple(MODULES) == NAMES
    assert set(COMPILED) | set(DIFFRAX) < set(NAMES)
    assert OwnModules().cases().names == NAMES


def test_a_workload_of_a_module_survives_its_file(tmp_path: Path) -> None:
    workload = own_workload("concatsquash", 3)
    workload.save(tmp_path / "w")
    again = load(tmp_path / "w")
    assert again.module == "concatsquash"
    assert work_of(again) is None
    shapes = {name: t.shape for name, t in slots(again, again.arrays["theta"]).items()}
    assert shapes["layers.0.layer.weight"] == (64, 2)
    assert sum(int(np.prod(s)) for s in shapes.values()) == workload.arrays["theta"].size


def test_processes_of_a_pool_stay_up(
    stand_in: Callable[..., Any], series: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Child] = []

    class Counted(Child):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            started.append(self)

    monkeypatch.setattr("experiments.benchmarks.race.Child", Counted)
    kinds = [stand_in("right"), stand_in("wrong", scale=2.0)]
    theta = series.arrays["theta"]
    reference = Reference(1.0, 2 * theta, theta * 0.9**3)
    write_json(tmp_path / "config.json", {"suite": "own-modules"})
    with Pool() as pool:
        for name in ("first", "second"):
            race(replace(series, name=name), kinds, QUICK, tmp_path, lambda _: None, reference, pool)
        assert [child.closed for child in started] == [False, True, True]  # the one that is refused is started again
    assert all(child.closed for child in started)
    assert not pool.shelf.exists()
    status = [(e.workload, e.entrant, e.status) for e in read(tmp_path).entries]
    wanted = [("right", "timed"), ("wrong", "refused")]
    assert status == [(name, who, what) for name in ("first", "second") for who, what in wanted]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two modules at two batch sizes; others take 2 and 8 times as long, torchdiffeq was timed on one alone."""
    write_json(tmp_path / "config.json", {"suite": "own-modules"})
    for batch in (1, 100):
        for module, factor in (("spiral", 2.0), ("gru", 8.0)):
            name = f"{module}-{batch}"
            record = WorkloadRecord(
                name, name, "gradient", "disc-opt", "float64", 1, "cpu", batch, 80, 9, "batch", batch, module=module
            )
            append_line(path_of(tmp_path, "workloads"), record)
            times = {"pynode-auto": 1e-3, "pynode-eager": factor * 1e-3}
            times |= {"torchdiffeq": 3e-3} if module == "spiral" else {}
            for who, seconds in times.items():
                engine = "fused" if who == "pynode-auto" else ""
                entry = EntryRecord(name, who, "timed", first_seconds=seconds, cached_seconds=None, engine=engine)
                append_line(path_of(tmp_path, "entries"), entry)
                for turn in range(3):
                    spent = (1 + turn) * seconds  # the machine gets slower, for all
                    append_line(path_of(tmp_path, "repeats"), RepeatRecord(name, who, turn, 1, spent, spent))
    return tmp_path


@pytest.mark.usefixtures("drawn_figures")
def test_tables_and_figure_come_from_records(records: Path) -> None:
    rendered = render(records)
    made = {t.title: t for t in rendered.tables}
    assert list(made) == ["Own modules, batch 1", "Own modules, batch 100", "Own modules: first calls"]
    table = made["Own modules, batch 100"]
    assert table.columns == ["", "engine", "pynode-auto, ms", "pynode-eager", "torchdiffeq"]
    assert table.rows == [
        ["spiral", "fused", "2", "2", "3"],
        ["gru", "fused", "2", "8", "–"],
        ["geometric mean (modules)", "", "", "4 (2)", "3 (1)"],
    ]
    calls = {row[0]: row[1:] for row in made["Own modules: first calls"].rows}
    assert calls["pynode-eager"] == ["0.002", "–", "0.008", "0.008", "–", "–"]
    assert rendered.findings[0] == (
        "own modules, batch 1: against pynode-auto, pynode-eager 4 times (2 modules), torchdiffeq 3 times (1 modules) "
        "as long."
    )
    assert {p.name for p in rendered.paths if p.suffix == ".png"} == {"own-modules.png"}
    drawn = own_modules.figure(read(records))
    assert drawn is not None
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["pynode-eager", "torchdiffeq"]
    assert [line.get_xdata().tolist() for line in drawn.axes[0].get_lines()[1:]] == [[2.0, 8.0], [3.0]]  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_tiny_run_of_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "MODULE_BATCHES", (2, 3))
    write_json(tmp_path / "config.json", {"suite": "own-modules"})
    kinds = tuple(ENTRANTS.load(name) for name in ("pynode-auto", "pynode-eager", "torchdiffeq", "pynode-fused"))
    entries = OwnModules().run(Task(kinds, ("spiral",), None, 2, True, tmp_path, lambda _: None))
    timed = [(e.workload, e.entrant) for e in entries if e.status == "timed"]
    who = [kind.name for kind in kinds[:3] if kind.missing() is None]
    assert timed == [(f"spiral-{n}", name) for n in (2, 3) for name in who]
    assert all(e.gradient_error is not None and e.gradient_error < 1e-10 for e in entries if e.status == "timed")
    assert {e.engine for e in entries if e.entrant == "pynode-eager"} == {"eager"}
