"""What a run records of the rows that it is trained on, and that it goes on with no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pynode.datasets import cache
from pynode.datasets.splits import Splits
from pynode.errors import ConfigurationMismatch
from pynode.methods.disc_opt import DiscOpt
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.problems.density.tables import Digits
from pynode.problems.density.user_tables import NpyTable
from pynode.records.files import read_json, write_json
from pynode.training.config import RunConfig
from pynode.training.data import check_same_rows, with_rows
from pynode.training.restore import restore
from pynode.training.trainer import train

PUBLISHED = {"train": 1_659_917, "validation": 184_435, "test": 204_928}
CONFIG = RunConfig(
    "power",
    DiscOpt(steps=1),
    seed=0,
    iterations=2,
    learning_rate=1e-3,
    weight_decay=0.0,
    options={"hidden": (4,), "blocks": 1, "batch": 20},
)


def rows_of_power(shift: float = 0.0) -> Splits:
    """60 / 20 / 20 rows of 6 columns."""
    rows = (np.random.default_rng(0).standard_normal((100, 6)) + shift).astype(np.float32)
    return Splits("power", rows[:60], rows[60:80], rows[80:])


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a cache with a part of POWER."""
    root = tmp_path / "data"
    monkeypatch.setenv("PYNODE_DATA", str(root))
    cache.store(rows_of_power(), root)
    return root


class SyntheticGas(NpyTable):
    """Rows of a generator in the shape of another set."""

    name: ClassVar[str] = "synthetic-gas"
    synthetic: ClassVar[str | None] = "independent standard normal columns"

    def load(self) -> Splits:
        return replace(rows_of_power(), name="gas")


def test_the_record_of_a_part(power: Path, tmp_path: Path) -> None:
    train(CONFIG, tmp_path / "run")
    data = read_json(tmp_path / "run" / "config.json")["data"]
    assert data["name"] == "power"
    assert data["rows"] == {"train": 60, "validation": 20, "test": 20}
    assert data["published_rows"] == PUBLISHED
    assert data["whole"] is False
    parts = read_json(power / "power" / "manifest.json")["parts"]
    assert data["sha256"] == {part: parts[part]["sha256"] for part in ("train", "validation", "test")}
    assert RunConfig.from_json(read_json(tmp_path / "run" / "config.json")).data == data


@pytest.mark.usefixtures("power")
def test_fewer_rows_by_option_are_a_part_too() -> None:
    config = replace(CONFIG, options={**CONFIG.options, "rows": 30})
    assert (config.make_problem().data_record() or {})["rows"] == {"train": 30, "validation": 20, "test": 20}


def test_a_run_goes_on_with_its_own_rows_only(power: Path, tmp_path: Path) -> None:
    run, longer = tmp_path / "run", replace(CONFIG, iterations=4)
    train(CONFIG, run)
    cache.store(rows_of_power(shift=0.5), power)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(ConfigurationMismatch, match=r"trained on other data \(sha256\.train: [0-9a-f]{12}\.\.\. -> "):
        train(longer, run, resume=True)
    with pytest.raises(ConfigurationMismatch, match=r"sha256\.test"):
        restore(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    cache.store(rows_of_power(), power)
    assert train(longer, run, resume=True)["iterations"] == 4
    restore(run)


@pytest.mark.usefixtures("power")
def test_a_run_from_before_there_was_a_record_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(CONFIG, run)
    plain = read_json(run / "config.json")
    del plain["data"]
    write_json(run / "config.json", plain)
    assert RunConfig.from_json(plain).data is None
    restore(run)
    assert train(replace(CONFIG, iterations=3), run, resume=True)["iterations"] == 3
    assert read_json(run / "config.json")["data"]["rows"]["train"] == 60


def test_a_finished_run_needs_no_data_to_be_resumed(power: Path, tmp_path: Path) -> None:
    summary = train(CONFIG, tmp_path / "run")
    (power / "power" / "train.npy").unlink()
    assert train(CONFIG, tmp_path / "run", resume=True)["iterations"] == summary["iterations"]


def test_problems_without_a_table_record_nothing() -> None:
    assert PROBLEMS.load("8gaussians")().data_record() is None
    assert "data" not in RunConfig("spiral", DiscOpt(), 0, 1, 0.1, 0.0).to_json()


def test_digits_are_no_part_of_anything() -> None:
    record = Digits().data_record()
    assert (record["published_rows"], record["whole"], record["sha256"]) == (None, None, {})
    assert record["rows"]["train"] == 1457


def test_a_users_table_is_known_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    records: list[Any] = []
    for seed in (0, 0, 1):
        np.save(path, np.random.default_rng(seed).standard_normal((300, 3)))
        records.append(NpyTable(options=options_from_json(NpyTable, {"data": str(path)})).data_record())
    assert records[0]["rows"] == {"train": 243, "validation": 27, "test": 30}
    check_same_rows("run", records[0], records[1])
    with pytest.raises(ConfigurationMismatch, match=r"run was trained on other data \(sha256\.file: "):
        check_same_rows("run", records[0], records[2])


def test_synthetic_rows_say_so_and_are_no_measured_ones() -> None:
    record = SyntheticGas(options=options_from_json(SyntheticGas, {"batch": 20})).data_record()
    assert record["synthetic"] == "independent standard normal columns"
    assert record["published_rows"] is None
    measured = {k: v for k, v in record.items() if k != "synthetic"}
    check_same_rows("run", record, dict(record))
    with pytest.raises(ConfigurationMismatch, match="synthetic rows -> measured rows"):
        check_same_rows("run", record, measured)
    with pytest.raises(ConfigurationMismatch, match=r"synthetic: independent standard normal columns -> others"):
        check_same_rows("run", record, {**record, "synthetic": "others"})


@pytest.mark.usefixtures("power")
def test_the_record_is_compared_before_it_is_replaced() -> None:
    problem = CONFIG.make_problem()
    recorded = with_rows(CONFIG, problem)
    assert with_rows(recorded, problem) == recorded
    assert recorded.data is not None
    other = {**recorded.data, "rows": {"train": 61, "validation": 20, "test": 20}}
    with pytest.raises(ConfigurationMismatch, match=r"rows\.train: 61 -> 60"):
        with_rows(replace(recorded, data=other), problem)
