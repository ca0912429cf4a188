"""No command overwrites what it was not told to, and a resumed run checks everything before it changes anything."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.cli import main
from pynode.cli.output import check_target
from pynode.errors import OutputDirectoryError, StorageError
from pynode.records.files import write_new
from pynode.training.plan import plan
from pynode.training.trainer import train
from tests.misuse.tree import snapshot

LABEL = "disc-opt-rk4-x1-seed0"
TRAIN = ["compare", "spiral", "--methods", "disc-opt", "--no-checks", "--engine", "eager", "--checkpoint-every", "2"]


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small flow."""
    out = tmp_path_factory.mktemp("flow") / "results"
    options = ["--set", "hidden=4", "--set", "batch=8", "--iterations", "1", "--methods", "disc-opt", "--steps", "1"]
    assert main(["compare", "8gaussians", *options, "--no-checks", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("name", ["table.csv", "array.npy", "link.csv", "dangling.csv", "pipe.csv", "folder.csv"])
def test_samples_never_replace_a_file(
    name: str, flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    np.save(tmp_path / "array.npy", np.eye(2))
    (tmp_path / "link.csv").symlink_to("table.csv")
    (tmp_path / "dangling.csv").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    before = snapshot(tmp_path)
    capsys.readouterr()
    assert main(["sample", str(flow), "-n", "3", "--out", str(tmp_path / name)]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert "--resume" not in error
    assert name in error
    assert snapshot(tmp_path) == before


def test_samples_replace_a_file_when_asked(flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s[b].csv"
    assert main(["sample", str(flow), "-n", "3", "--out", str(file)]) == 0
    assert f"in {file}" in capsys.readouterr().out
    assert main(["sample", str(flow), "-n", "4", "--out", str(file)]) == 2
    assert len(file.read_text().splitlines()) == 3
    assert main(["sample", str(flow), "-n", "4", "--out", str(file), "--overwrite"]) == 0
    assert len(file.read_text().splitlines()) == 4
    assert main(["sample", str(flow), "-n", "3"]) == 0
    assert main(["sample", str(flow), "-n", "3"]) == 2, "the default file is a file like any other"


@pytest.mark.parametrize("count", ["200000000000", "9" * 20, "0"])
def test_too_many_samples(count: str, flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["sample", str(flow), "-n", count, "--out", str(tmp_path / "s.npy")]) == 2
    assert f"--number = {count}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    write_new(file, b"first")
    with pytest.raises(StorageError, match="File exists"):
        write_new(file, b"second")
    assert file.read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]
    with pytest.raises(OutputDirectoryError, match="does not exist; make it first"):
        check_target(tmp_path / "no" / "s.csv", overwrite=False)


def test_results_of_another_problem_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main([*TRAIN, "--iterations", "2", "--out", str(out)]) == 0
    before = snapshot(out)
    for command in (["compare", "oscillator"], ["gradients", "lotka-volterra"]):
        assert main([*command, "--resume", "--out", str(out)]) == 2
        assert "holds results of spiral" in capsys.readouterr().err
    assert snapshot(out) == before


def test_show_keeps_the_failures_of_runs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([*TRAIN, "--iterations", "3", "--lr", "1e200", "--out", str(out)]) == 1
    before = (out / "summary.json").read_text()
    assert "lower the learning rate" in before
    assert main(["show", str(out)]) == 0
    assert (out / "summary.json").read_text() == before


def test_show_keeps_what_it_can_not_make_again(flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run without a summary has no place in the tables, which tell of it still."""
    copied = tmp_path / "results"
    shutil.copytree(flow, copied)
    lost = next(copied.glob("runs/*/summary.json"))
    lost.unlink()
    before = snapshot(copied)
    capsys.readouterr()
    assert main(["show", str(copied)]) == 1
    assert f"{lost} is missing" in capsys.readouterr().err
    assert snapshot(copied) == before


@pytest.mark.parametrize("place", ["checkpoint.safetensors", "checkpoint.previous.safetensors"])
@pytest.mark.parametrize("other", [{"seed": 1}, {"learning_rate": 0.3}, {"dtype": "float32"}])
def test_a_checkpoint_of_another_run_changes_nothing(
    place: str, other: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = plan("spiral", ["disc-opt"], [0], {"engine": "eager"}, iterations=6, checkpoint_every=2)
    mine = tmp_path / "mine"
    train(run, mine / "runs" / LABEL)
    train(replace(run, iterations=2, **other), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "checkpoint.safetensors", mine / "runs" / LABEL / place)
    before = snapshot(mine)
    status = main([*TRAIN, "--iterations", "8", "--resume", "--out", str(mine)])
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (2, 1), error
    assert f"{place} is not a checkpoint of this run" in error
    assert "nothing was changed" in error
    assert snapshot(mine) == before
