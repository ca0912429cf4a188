"""A run finds the user's file from every working folder, says what to do when the file has gone, and takes no other."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.cli.as_typed import as_typed
from pynode.errors import ConfigurationMismatch, StorageError, UsageError
from pynode.methods.disc_opt import DiscOpt
from pynode.outside_members import absolute_path, reference_origin, split_reference
from pynode.problems.density.user_tables import CsvTable
from pynode.problems.series.user_series import UserSeries
from pynode.records.events import EVENTS, Event
from pynode.records.files import read_json, read_lines
from pynode.training import run_directory
from pynode.training.config import RunConfig, default_method
from pynode.training.data import check_file
from pynode.training.plan import configure
from pynode.training.restore import restore
from pynode.training.trainer import train


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a table in it."""
    np.savetxt(tmp_path / "t.csv", np.random.default_rng(0).normal(size=(60, 2)), delimiter=",", fmt="%.10f")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_for(data: str, iterations: int = 2) -> RunConfig:
    options = {"data": data, "hidden": (4,), "batch": 10}
    return configure(CsvTable, DiscOpt(steps=1), problem_options=options, seed=0, iterations=iterations)


def test_a_run_is_used_from_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file of the same name may lie."""
    train(config_for("t.csv"), folder / "run")
    (elsewhere := folder / "elsewhere").mkdir()
    (elsewhere / "t.csv").write_text("1,2\n")
    monkeypatch.chdir(elsewhere)
    config, problem, _ = restore(folder / "run")
    assert config.options["data"] == str(folder / "t.csv")
    assert len(problem.splits.train) == 49  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["~$t.csv", "~nobody-of-this-name.csv"])
def test_a_name_that_begins_with_a_tilde(folder: Path, name: str) -> None:
    """As office programs call their locks: no home folder, and not the user of that name."""
    (folder / name).write_text((folder / "t.csv").read_text())
    assert configure(CsvTable, DiscOpt(), problem_options={"data": name}, seed=0).options["data"] == str(folder / name)
    (folder / f"{name}.py").write_text("")
    assert split_reference(f"{name}.py:FIELD", "field") == (folder / f"{name}.py", "FIELD")
    assert str(reference_origin(f"{name}.py:FIELD")) == f"{folder / name}.py:FIELD"
    assert absolute_path("~/t.csv") == str(Path.home() / "t.csv")


def test_series_and_tables_record_path_and_digest(folder: Path) -> None:
    for kind in (UserSeries, CsvTable):
        config = configure(kind, DiscOpt(), problem_options={"data": "t.csv"}, seed=0)
        assert config.options["data"] == str(folder / "t.csv")
        assert len(config.options["sha256"]) == 64


def test_a_file_that_has_gone_has_a_remedy_that_works(folder: Path) -> None:
    train(config_for("t.csv"), folder / "run")
    moved = folder / "t.csv"
    moved.rename(folder / "data.csv")
    told = (
        r"t\.csv, which .*run was trained on, is not there any more; put it back, or .* resume=True and the new data$"
    )
    with pytest.raises(UsageError, match=told) as caught:
        restore(folder / "run")
    assert "--" not in str(caught.value)
    assert as_typed(str(caught.value), "score").endswith("the command that trained it with --resume and the new --data")
    told = (
        r"^old\.csv, .* can't be found from this folder; run it from the folder where it was trained, or .* new data$"
    )
    with pytest.raises(UsageError, match=told):
        check_file(folder / "run", "old.csv")
    train(config_for("data.csv"), folder / "run", resume=True)
    assert restore(folder / "run")[0].options["data"] == str(folder / "data.csv")
    (event,) = read_lines(folder / "run" / EVENTS, Event)
    assert (event.event, event.detail) == ("changed", f"data: {moved} -> {folder / 'data.csv'}")


@pytest.mark.parametrize("writes", ["note", "write_json"])
def test_a_finished_run_that_can_only_be_read_stays_as_it_is(
    folder: Path, writes: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its summary is there, and what could not be written is said."""
    done = train(config_for("t.csv"), folder / "run")
    before = (folder / "run" / "config.json").read_bytes()
    (folder / "t.csv").rename(folder / "data.csv")

    def refuse(path: Path, *_: object) -> None:
        raise StorageError(path, OSError(errno.EROFS, os.strerror(errno.EROFS)))

    monkeypatch.setattr(run_directory, writes, refuse)
    again = train(config_for("data.csv"), folder / "run", resume=True)
    assert again == done
    assert (folder / "run" / "config.json").read_bytes() == before
    assert f"{folder / 'run'} is finished and stays as it is: can't write" in caplog.text


def test_a_longer_run_goes_on_with_the_moved_file(folder: Path) -> None:
    train(config_for("t.csv"), folder / "run")
    (folder / "t.csv").rename(folder / "data.csv")
    train(config_for("data.csv", iterations=4), folder / "run", resume=True)
    assert restore(folder / "run")[0].options["data"] == str(folder / "data.csv")


def test_another_file_is_not_taken(folder: Path) -> None:
    train(config_for("t.csv"), folder / "run")
    np.savetxt(folder / "other.csv", np.random.default_rng(1).normal(size=(60, 2)), delimiter=",", fmt="%.10f")
    with pytest.raises(ConfigurationMismatch, match="was started with another configuration"):
        train(config_for("other.csv"), folder / "run", resume=True)
    shutil.copy(folder / "other.csv", folder / "t.csv")
    with pytest.raises(UsageError, match="has changed since it was first used here"):
        restore(folder / "run")


def test_a_run_that_recorded_a_path_from_its_folder_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As earlier versions did, without a digest among the options."""
    train(config_for("t.csv"), folder / "run")
    path = folder / "run" / "config.json"
    recorded = read_json(path)
    recorded["options"]["data"] = "t.csv"
    del recorded["options"]["sha256"]
    path.write_text(json.dumps(recorded))
    (elsewhere := folder / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(
        UsageError, match=r"^t\.csv, which .* was trained on, can't be found from this folder; run it from the folder"
    ):
        restore(folder / "run")
    train(config_for("../t.csv"), folder / "run", resume=True)
    assert Path(restore(folder / "run")[0].options["data"]).samefile(folder / "t.csv")


@pytest.mark.usefixtures("folder")
def test_a_run_by_an_adjoint_that_was_the_default_says_how_to_go_on() -> None:
    """Users' tables were differentiated by a backward solve once; where more is another, that alone is no remedy."""
    options: dict[str, Any] = {"problem_options": {"data": "t.csv", "hidden": (4,)}, "seed": 0, "iterations": 1}
    earlier = configure(CsvTable, default_method(CsvTable, "opt-disc", adjoint="backsolve"), **options).to_json()
    now = configure(CsvTable, default_method(CsvTable, "opt-disc"), **options)
    with pytest.raises(
        ConfigurationMismatch, match=r"; resume with the same options \(--adjoint backsolve\), or choose"
    ):
        now.check_resumes(earlier)
    again = configure(CsvTable, default_method(CsvTable, "opt-disc", adjoint="backsolve"), **options)
    assert again.check_resumes(earlier) == {}
    for other in (replace(again, seed=1), replace(now, seed=1)):
        with pytest.raises(ConfigurationMismatch, match="resume with the same options, or choose"):
            other.check_resumes(earlier)
