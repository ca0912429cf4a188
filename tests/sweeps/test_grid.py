"""Which cells a grid has, what they are called, what they need, and how a sweep may be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pynode.datasets.sources import Digest, file_digest
from pynode.errors import ConfigurationMismatch, InvalidArgument, PynodeError, RecordError
from pynode.problems.density.tables import Table
from pynode.records.files import read_json, write_json
from pynode.sweeps import grid
from pynode.sweeps.cells import Cell
from pynode.sweeps.executors.local import LocalExecutor, _Room
from pynode.sweeps.grid import make_cells
from pynode.sweeps.layout import FILE, check_resumes, check_runs, read_values, write_sweep
from pynode.sweeps.specification import read_file, specify
from pynode.sweeps.task import Task, worker_environment
from pynode.training.config import RunConfig


def cells_of(**values: Any) -> list[Cell]:
    """The cells of axes that are given as in a file; `set__x` stands for set.x."""
    specification = specify({name.replace("__", "."): value for name, value in values.items()})
    return make_cells(specification.axes, specification.needs)


def names(cells: list[Cell]) -> list[str]:
    return [cell.name for cell in cells]


def test_every_combination_once_and_in_order() -> None:
    cells = cells_of(problem=["spiral", "oscillator"], method=["disc-opt", "opt-disc"], rtol=[1e-3, 1e-6], seed=[0, 1])
    assert names(cells)[:6] == [
        "spiral/disc-opt-rk4-x1-seed0",
        "spiral/disc-opt-rk4-x1-seed1",
        "spiral/opt-disc-dopri5-rtol1e-03-seed0",
        "spiral/opt-disc-dopri5-rtol1e-03-seed1",
        "spiral/opt-disc-dopri5-rtol1e-06-seed0",
        "spiral/opt-disc-dopri5-rtol1e-06-seed1",
    ]
    assert len(cells) == 2 * (1 + 2) * 2, "rtol does not multiply what has no rtol"


def test_defaults_are_those_of_the_study() -> None:
    (disc_opt, opt_disc) = cells_of(problem="8gaussians")
    assert (disc_opt.config["method"]["method"], opt_disc.config["method"]["method"]) == ("disc-opt", "opt-disc")
    assert disc_opt.config["method"]["scheme"] == "rk38"
    assert (disc_opt.config["iterations"], disc_opt.config["weight_decay"]) == (10_000, 1e-5)
    assert (disc_opt.cpus, disc_opt.gpus) == (1, 0)


def test_cells_hold_configurations_of_runs() -> None:
    (cell,) = cells_of(problem="8gaussians", method="disc-opt", steps=4, set__hidden=[8, 8], iterations=3)
    config = RunConfig.from_json(cell.config)
    assert config.label == cell.label
    assert (config.iterations, config.method.setting, list(config.options["hidden"])) == (3, 4.0, [8, 8])


def test_axes_that_a_label_does_not_say_are_added_to_it() -> None:
    cells = cells_of(problem="spiral", method="disc-opt", learning_rate=[0.1, 0.01], memory=["store", "recompute"])
    assert names(cells)[0] == "spiral/disc-opt-rk4-x1-learning_rate0.1-memorystore-seed0"
    assert len(set(names(cells))) == 4
    cells = cells_of(problem=["8gaussians", "spiral"], method="disc-opt", set__hidden=[[8, 8], [16]])
    assert names(cells) == [
        "8gaussians/disc-opt-rk38-x10-hidden8-8-seed0",
        "8gaussians/disc-opt-rk38-x10-hidden16-seed0",
        "spiral/disc-opt-rk4-x1-seed0",
    ]


def test_names_of_folders_stay_in_their_folder(tmp_path: Path) -> None:
    tables = [tmp_path / "a" / "x.csv", tmp_path / "b" / "x.csv"]
    for k, table in enumerate(tables):
        table.parent.mkdir()
        table.write_text("".join(f"{(i + k) * 37 % 101 + 0.25},{(i * i) % 89 + 0.5}\n" for i in range(60)))
    cells = cells_of(problem="csv", method="disc-opt", set__batch=5, set__data=[str(table) for table in tables])
    assert len(cells) == 2
    for cell in cells:
        assert "/" not in cell.label
        assert cell.directory(tmp_path / "out").parent == tmp_path / "out" / "csv" / "runs"
    digests = {cell.config["options"]["sha256"] for cell in cells}
    assert len(digests) == 2, "a table that changes meanwhile is told"
    assert [cell.label for cell in cells] == [f"disc-opt-rk38-x4-data{name}_x.csv-seed0" for name in "ab"]


def test_a_table_is_found_from_every_folder_and_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_text("".join(f"{i * 37 % 101 + 0.25},{(i * i) % 89 + 0.5}\n" for i in range(60)))
    read: list[Path] = []

    def digest(path: Path) -> Digest:
        read.append(path)
        return file_digest(path)

    monkeypatch.setattr(grid, "file_digest", digest)
    monkeypatch.chdir(tmp_path)
    cells = cells_of(problem="csv", seed=[0, 1, 2], set__batch=5, set__data="x.csv")
    assert len(cells) == 6
    assert {cell.config["options"]["data"] for cell in cells} == {str(tmp_path / "x.csv")}
    assert read == [tmp_path / "x.csv"]


def test_workers_look_for_data_where_the_driver_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYNODE_DATA", "data")
    assert worker_environment(1)["PYNODE_DATA"] == str(tmp_path / "data")
    monkeypatch.delenv("PYNODE_DATA")
    assert "PYNODE_DATA" not in worker_environment(1), "another machine's default is its own"


def test_needs_by_problem_and_method() -> None:
    needs = {"problem": {"oscillator": {"cpus": 2}}, "method": {"opt-disc": {"cpus": 3, "gpus": 0}}}
    cells = cells_of(problem=["spiral", "oscillator"], needs=needs)
    assert [cell.cpus for cell in cells] == [1, 3, 2, 3]
    assert [cell.cpus for cell in cells_of(problem="spiral", method="disc-opt", needs=needs)] == [1]
    cells = cells_of(problem="spiral", device="cuda", method="disc-opt")
    assert [(cell.gpus, cell.config["device"]) for cell in cells] == [(1, "cuda")]


def test_room_for_cells() -> None:
    """GPUs are given whole or in shares; half of one does not take a whole one that another cell could have."""

    def task(threads: int, gpus: float) -> Task:
        return Task("x", {}, "", "", "", "", threads, gpus)

    room = _Room(8, {"0": 1.0, "1": 1.0})
    assert room.take(task(1, 0.5)) == {"0": 0.5}
    assert room.take(task(1, 0.5)) == {"0": 0.5}
    assert room.take(task(1, 1)) == {"1": 1.0}
    assert room.take(task(1, 0.5)) is None
    assert room.take(task(6, 0)) is None
    assert room.take(task(5, 0)) == {}


def test_more_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynode.sweeps.executors.local.available_cpus", lambda: 2)
    monkeypatch.setattr("pynode.sweeps.executors.local.available_gpus", list)
    with LocalExecutor() as executor:
        with pytest.raises(InvalidArgument, match=r"cpus = 3: .* more than the 2 of this machine; use 2 or fewer"):
            executor.check(cells_of(problem="spiral", cpus=3))
        with pytest.raises(InvalidArgument, match=r"gpus = 1: .* more than the 0 of this machine; use device = cpu"):
            executor.check(cells_of(problem="spiral", device="cuda"))


def sweep_on_disk(out: Path, **values: Any) -> None:
    specification = specify(values)
    out.mkdir(exist_ok=True)
    write_sweep(out, specification.axes, make_cells(specification.axes, specification.needs))


def resume(out: Path, **values: Any) -> None:
    specification = specify(values)
    cells = make_cells(specification.axes, specification.needs)
    check_resumes(out, specification.axes, cells)
    check_runs(out, cells)


def test_a_resumed_sweep_may_only_grow(tmp_path: Path) -> None:
    sweep_on_disk(tmp_path, problem="spiral", seed=[0, 1], rtol=[1e-3])
    resume(tmp_path, problem="spiral", seed=[0, 1], rtol=1e-3, cpus=2)
    resume(tmp_path, problem=["spiral", "oscillator"], seed=[0, 1, 2], rtol=[1e-3, 1e-4])
    resume(tmp_path, **read_values(tmp_path))
    with pytest.raises(ConfigurationMismatch, match=r"\(seed: \[0, 1\] -> \[0, 2\]\): this one lacks spiral/disc-opt"):
        resume(tmp_path, problem="spiral", seed=[0, 2], rtol=1e-3)
    with pytest.raises(ConfigurationMismatch, match=r"atol.: 0\.1"):
        resume(tmp_path, problem="spiral", seed=[0, 1], rtol=1e-3, atol=0.1)


def test_a_cell_may_only_become_longer(tmp_path: Path) -> None:
    sweep_on_disk(tmp_path, problem="spiral", iterations=5)
    resume(tmp_path, problem="spiral", iterations=6)
    with pytest.raises(ConfigurationMismatch, match="started with 5 iterations, resumed with 4"):
        resume(tmp_path, problem="spiral", iterations=4)


def test_another_run_in_a_cells_directory_is_refused(tmp_path: Path) -> None:
    sweep_on_disk(tmp_path, problem="spiral", method="disc-opt")
    (cell,) = cells_of(problem="spiral", method="disc-opt", learning_rate=0.5)
    cell.directory(tmp_path).mkdir(parents=True)
    write_json(cell.directory(tmp_path) / "config.json", cell.config)
    with pytest.raises(ConfigurationMismatch, match=r"learning_rate: 0\.5 -> 0.1"):
        resume(tmp_path, problem="spiral", method="disc-opt")


def test_errors_are_of_this_program() -> None:
    """Whatever stands in a file, it is told in one line."""
    mistakes: list[dict[str, Any]] = [
        {},
        {"problem": []},
        {"problem": "spiral", "needs": 3},
        {"problem": "spiral", "needs": {"problem": {"spiral": {"cpus": 0}}}},
        {"problem": "spiral", "needs": {"method": {"disc-opt": {"gpus": 1.5}}}},
        {"problem": "spiral", "needs": {"method": {"disc-op": {"cpus": 1}}}},
        {"problem": "spiral", "needs": {"seed": {}}},
        {"problem": "spiral", "set": 1},
        {"problem": "spiral", "jobs": 0},
        {"problem": "spiral", "retries": -1},
        {"problem": "spiral", "executor": 3},
        {"problem": "spiral", "iterations": True},
        {"problem": "spiral", "patience": "long"},
        {"problem": "spiral", "seed": {"a": 1}},
    ]
    for values in mistakes:
        with pytest.raises(PynodeError):
            specify(values)


def test_a_sweep_that_is_resumed_by_its_folder_needs_what_it_needed(tmp_path: Path) -> None:
    values = {"problem": "spiral", "cpus": 2, "needs": {"method": {"opt-disc": {"cpus": 3}}}}
    specification = specify(values)
    cells = make_cells(specification.axes, specification.needs)
    write_sweep(tmp_path, specification.axes, cells, specification.needs)
    assert cells_of(**read_values(tmp_path)) == cells


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": 1}, "has colour, which this version of pynode does not know"),
        (
            {"cells": [{"problem": "spiral", "label": "x", "config": {}, "colour": 1}]},
            r"cells\[0\]: unknown key \"colour\"",
        ),
        ({"cells": [{"problem": "spiral"}]}, r"cells\[0\]: label is missing"),
        ({"cells": [3]}, r"cells\[0\]: expected an object, got 3"),
        ({"axes": 3}, "axes: expected an object, got 3"),
        ({"cells": {}}, "cells: expected a list, got an object"),
    ],
)
def test_a_file_of_another_version_is_told(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    sweep_on_disk(tmp_path, problem="spiral")
    content = read_json(tmp_path / FILE)
    content.pop("running")  # of a version that did not write it
    write_json(tmp_path / FILE, content)
    assert read_values(tmp_path)["problem"] == ["spiral"]
    write_json(tmp_path / FILE, {**content, **change})
    with pytest.raises(RecordError, match=said):
        read_values(tmp_path)
    with pytest.raises(RecordError, match=said):
        resume(tmp_path, problem="spiral")


def test_a_resumed_sweep_remembers_its_executor(tmp_path: Path) -> None:
    specification = specify({"problem": "spiral", "executor": "ray", "address": "auto", "jobs": 3, "retries": 1})
    cells = make_cells(specification.axes, specification.needs)
    write_sweep(tmp_path, specification.axes, cells, specification.needs, specification.running)
    earlier = read_values(tmp_path)
    again = specify(earlier)
    assert (again.executor, again.address, again.jobs, again.retries) == ("ray", "auto", 3, 1)
    assert specify(earlier, jobs=2).jobs == 2
    other = specify(earlier, executor="local")
    assert (other.executor, other.address, other.jobs, other.retries) == ("local", None, None, 1)


def test_the_dearest_cells_have_the_most_work() -> None:
    """CPUs x iterations x (parameters x rows of a batch)."""
    small, large = cells_of(problem="8gaussians", method="disc-opt", set__hidden=[[4], [16]], set__batch=10)
    assert small.work == small.iterations * 10 * (small.size // 10)
    assert large.work > 3 * small.work
    (longer,) = cells_of(
        problem="8gaussians", method="disc-opt", set__hidden=[4], set__batch=10, iterations=20_000, cpus=3
    )
    assert longer.work == 6 * small.work


def test_sweeps_that_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their cells, the data apart: those need not be on this machine."""
    monkeypatch.setattr(Table, "check", lambda problem: None)
    folder = Path(__file__).parents[2] / "experiments" / "sweeps"
    shipped = {}
    for file in sorted(folder.glob("*.toml")):
        specification = specify(read_file(file))
        shipped[file.stem] = make_cells(specification.axes, specification.needs)
    assert {name: len(cells) for name, cells in shipped.items()} == {"study": 42, "tolerances": 48}
    study = shipped["study"]
    assert {(cell.config["device"], cell.gpus) for cell in study} == {("cuda", 1.0)}
    assert {cell.cpus for cell in study if cell.problem == "bsds300"} == {4}
    assert max(study, key=lambda cell: cell.work).problem == "bsds300"
    assert {cell.config["iterations"] for cell in study if cell.problem == "miniboone"} == {20_000}
    narrowed = specify({**read_file(folder / "study.toml"), "problem": ["spiral"]})
    assert len(make_cells(narrowed.axes, narrowed.needs)) == 6
