"""`gradients` and `taylor` on flows: at trained weights and untrained ones, and weights that can not be measured."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pynode.fields.concatsquash import ConcatSquash
from pynode.records.files import read_json
from pynode.studies.results import load_results
from tests.cli.conftest import call


def test_gradient_tools_take_flows(table: Path, tmp_path: Path) -> None:
    given = ("csv", "--data", table, "--set", "hidden=4", "--set", "batch=10")
    assert call("taylor", *given, "--out", tmp_path / "t", "--methods", "disc-opt,opt-disc-fixed") == 0
    assert [r.passes for r in load_results(tmp_path / "t").taylor] == [True, False]
    tools = ("--tolerances", "1e-4", "--steps", "2", "--methods", "disc-opt,opt-disc")
    assert call("gradients", *given, *tools, "--out", tmp_path / "g") == 0
    errors = {r.label: r for r in load_results(tmp_path / "g").errors}
    exact = errors["disc-opt-rk4-x2"].error_discrete
    assert exact is not None
    assert exact < 1e-7


@pytest.mark.usefixtures("drawn_figures")
def test_gradients_at_trained_and_untrained_weights(table: Path, tmp_path: Path) -> None:
    """With the options of the run, in float64 although it was trained in float32; both adjoints, as many rows as asked
    for, and a figure for both weights.
    """
    short = ("--iterations", 3, "--no-checks", "--methods", "disc-opt", "--dtype", "float32")
    sizes = ("--set", "hidden=6,6", "--set", "batch=60")
    assert call("compare", "csv", "--data", table, *short, *sizes, "--seed", 3, "--out", tmp_path / "runs") == 0
    run = tmp_path / "runs/runs/disc-opt-rk38-x4-seed3"
    few = ("--steps", "1,2", "--tolerances", "1e-3,1e-7", "--methods", "disc-opt,opt-disc", "--samples", 7)
    assert call("gradients", "csv", "--at", run, "--untrained", *few, "--out", tmp_path / "g") == 0
    errors = load_results(tmp_path / "g").errors
    assert {r.weights for r in errors} == {"untrained", run.name}
    assert {r.samples for r in errors} == {7}
    assert {r.n_params for r in errors} == {ConcatSquash((3, 6, 6, 3)).n_params}
    assert all(r.reference_uncertainty < 1e-10 for r in errors), "float32 could not know it that well"
    assert {r.family for r in errors if r.adaptive} == {"opt-disc dopri5 backsolve", "opt-disc dopri5 interpolating"}
    assert len({(r.weights, r.label) for r in errors}) == len(errors) == 2 * (2 * 2 + 2 * 2)
    for weights in ("untrained", run.name):
        mine = [r for r in errors if r.weights == weights]
        assert all(r.error_discrete is not None and r.error_discrete < 1e-7 for r in mine if not r.adaptive)
        assert all(r.error is not None and r.error < 1e-5 for r in mine if r.setting == 1e-7)
        assert all(r.engine and r.scatter is not None for r in mine)
    losses = {r.weights: r.loss for r in errors if r.label == "disc-opt-rk4-x2"}
    assert losses["untrained"] != losses[run.name]
    for figure in ("gradient_error", "gradient_accuracy"):
        assert (tmp_path / "g" / "figures" / f"{figure}.png").stat().st_size > 10_000


def test_training_takes_the_adjoint_of_the_problem(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a user's table that of `density` and `compare`; a backward solve would leave the trajectory."""
    monkeypatch.setattr(sys.modules["pynode.cli.gradients"], "TRAINED_TOLERANCES", (1e-1, 1e-2))
    small = ("--set", "hidden=4", "--set", "batch=10", "--iterations", 1, "--methods", "opt-disc")
    grid = ("--tolerances", "1e-2", "--train", "--out", tmp_path / "g")
    assert call("gradients", "csv", "--data", table, *small, *grid) == 0
    methods = [read_json(path)["method"] for path in (tmp_path / "g" / "runs").glob("*/config.json")]
    assert len(methods) == 2
    assert {method["adjoint"] for method in methods} == {"interpolating"}


def test_weights_of_a_directory_that_is_no_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is named where there is one; a run that is damaged is another matter."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "part").symlink_to(trained)
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "records.jsonl").touch()
    here = f"; give {trained / 'runs' / 'disc-opt-rk38-'}"
    for status, problem, at, said in (
        (2, "csv", tmp_path / "empty", "it holds no run; give the directory of a run of csv"),
        (2, "csv", tmp_path / "file", "it is no directory; give the directory of a run of csv"),
        (2, "csv", tmp_path / "nosuch", "there is no such directory; give the directory of a run of csv"),
        (2, "csv", trained, f"it holds no run{here}"),
        (2, "csv", trained / "runs", f"it holds no run{here}"),
        (2, "csv", trained / "runs" / "disc-opt", f"there is no such directory{here}"),
        (2, "csv", tmp_path / "sweep", f"it holds no run; give {tmp_path / 'sweep' / 'part' / 'runs'}/"),
        (2, "spiral", trained, "it holds no run; give the directory of a run of spiral"),
        (1, "csv", tmp_path / "lost", "lost/config.json: No such file"),
    ):
        assert call("gradients", problem, "--at", at, "--out", tmp_path / "g") == status, at
        error = capsys.readouterr().err
        assert said in error
        assert status == 1 or f"--at = {at}: " in error
        assert not (tmp_path / "g").exists()


def test_weights_that_can_not_be_measured(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = trained / "runs/disc-opt-rk38-x4-seed0", ("--out", tmp_path / "g")
    for status, arguments, said in (
        (2, ("csv", "--at", run, "--samples", 100_000), "--samples = 100000: more than the"),
        (2, ("spiral", "--at", run), f"--at = {run}: it holds a run of csv, not of spiral; give a run of spiral, or"),
        (2, ("spiral", "--untrained"), "--untrained = True: no effect without --at"),
        (2, ("spiral", "--samples", 3), "--samples = 3: spiral is fitted to one trajectory"),
    ):
        assert call("gradients", *arguments, *out) == status
        assert said in capsys.readouterr().err
        assert not (tmp_path / "g").exists()


def test_weights_of_runs_with_the_study_s_defects_are_measured_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--methods", "disc-opt", "--out")
    assert call("compare", "spiral", "--iterations", 2, "--no-checks", "--faithful", *given, tmp_path / "s") == 0
    (run,) = (tmp_path / "s" / "runs").iterdir()
    few = ("gradients", "spiral", "--at", run, "--steps", 1, *given)
    capsys.readouterr()
    assert call(*few, tmp_path / "g") == 2
    assert "trained with --faithful; add it" in capsys.readouterr().err
    assert not (tmp_path / "g").exists()
    assert call(*few, tmp_path / "g", "--faithful") == 0
    assert {r.weights for r in load_results(tmp_path / "g").errors} == {run.name}


def test_the_seed_of_several_weights_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("gradients", "--help") == 0
    assert "thefirstrun'sseedcountsforall" in "".join(re.sub("[│\n]", "", capsys.readouterr().out).split())
