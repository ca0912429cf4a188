"""`evaluate`: what it measures of runs of flows, on which engine, and runs that it can not measure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pynode.cli.evaluate import _on_any_engine
from pynode.engines.fused.engine import Fused
from pynode.errors import ConfigurationMismatch, EngineUnavailable
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.records.files import read_json, write_json
from pynode.schemes.rk4 import RK4
from pynode.studies.results import load_results
from pynode.training.machine import environment
from pynode.training.restore import restore
from tests.cli.conftest import call


@pytest.mark.usefixtures("drawn_figures")
def test_evaluate_writes_the_table_of_rq4(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--schemes", "euler,rk38", "--steps", "2,8", "--tolerances", "1e-4", "--samples", 20)
    assert call("evaluate", trained, *arguments, "--bound", 0.01) == 0
    records = load_results(trained).rediscretised
    grid, trained_with = [r for r in records if r.use == "other"], [r for r in records if r.use != "other"]
    assert len(grid) == 3 * 5
    assert [(r.trained, r.use, r.scheme) for r in trained_with] == [
        ("disc-opt-multilevel rk38 x 4", "training", "rk38"),
        ("disc-opt-multilevel rk38 x 4", "evaluation", "dopri5"),
        ("disc-opt-multilevel rk38 x 4", "mixed", "rk38"),
        ("disc-opt rk38 x 4", "training", "rk38"),
        ("disc-opt rk38 x 4", "evaluation", "dopri5"),
        ("disc-opt rk38 x 4", "mixed", "rk38"),
        ("opt-disc dopri5 rtol 1e-05", "training", "dopri5"),
        ("opt-disc dopri5 rtol 1e-05", "evaluation", "dopri5"),
    ]
    assert {(r.setting, r.atol) for r in trained_with if r.use == "evaluation"} == {(1e-5, 1e-5)}
    assert {r.bound for r in records} == {0.01}
    assert {r.samples for r in records} == {20}
    assert all(r.engine for r in records)
    git = environment()["git"]
    assert {(r.commit, r.changed) for r in records} == {("", None) if git is None else (git["commit"], git["changed"])}
    said = capsys.readouterr().out
    assert "RQ4 Coarsest invertible discretisation" in said
    assert "RQ4 Training steps" in said
    assert (trained / "figures/rediscretisation.png").stat().st_size > 10_000


def test_evaluate_uses_all_test_rows_and_keeps_the_grid_that_it_is_not_to_measure(trained: Path) -> None:
    arguments = ("--schemes", "euler", "--steps", "2", "--tolerances", "1e-2")
    assert call("evaluate", trained, *arguments, "--samples", 7) == 0
    assert call("evaluate", trained, "--no-grid") == 0
    records = load_results(trained).rediscretised
    rows = 24  # the last tenth of the table's 240
    assert {r.samples for r in records if r.use != "other"} == {rows}
    assert [r.samples for r in records if r.use == "other"] == [7] * 3 * 2


def test_evaluate_takes_tolerances_of_its_own(trained: Path) -> None:
    """Each by itself: what is not given is that of the problem's Opt-Disc."""
    for given, expected in (
        (("--rtol", "1e-3", "--atol", "1e-4"), (1e-3, 1e-4)),
        (("--rtol", "1e-3"), (1e-3, 1e-5)),
        (("--atol", "1e-4"), (1e-5, 1e-4)),
    ):
        assert call("evaluate", trained, "--no-grid", "--samples", 5, *given) == 0
        records = load_results(trained).rediscretised
        assert {(r.setting, r.atol) for r in records if r.use == "evaluation" and r.samples == 5} == {expected}


@pytest.mark.usefixtures("drawn_figures")
def test_evaluate_takes_a_sweep_of_training_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of several step counts in one results directory, and Opt-Disc once as the reference."""
    out, axes = tmp_path / "steps", ("--grid", "problem=moons", "--grid", "method=disc-opt,opt-disc")
    small = ("--set", "hidden=4", "--set", "batch=20", "--iterations", 2, "--jobs", 1)
    assert call("sweep", *axes, "--grid", "steps=1,2", *small, "--out", out) == 0
    capsys.readouterr()
    assert call("evaluate", out, "--no-grid", "--samples", 30) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Training steps from which on every seed's flow keeps an inverse error below 0.001 (30 test samples)" in said
    names = dict.fromkeys(r.trained for r in load_results(out / "moons").rediscretised)
    assert list(names) == ["disc-opt rk38 x 1", "disc-opt rk38 x 2", "opt-disc dopri5 rtol 1e-05"]
    assert (out / "moons/figures/training_steps.png").stat().st_size > 10_000


def test_evaluating_a_time_series_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("compare", "spiral", "--iterations", 2, "--no-checks", "--out", tmp_path / "s") == 0
    for command in ("evaluate", "sample"):
        capsys.readouterr()
        assert call(command, tmp_path / "s") == 2
        assert "no flow was trained there" in capsys.readouterr().err


def test_evaluating_one_run_keeps_the_records_of_the_others(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the working directory."""
    small = ("--schemes", "euler", "--steps", "2", "--tolerances", "1e-2", "--samples", 10)
    assert call("evaluate", trained, *small) == 0
    before = {r.run for r in load_results(trained).rediscretised}
    monkeypatch.chdir(trained / "runs")
    assert call("evaluate", "disc-opt-rk38-x4-seed0", *small) == 0
    after = load_results(trained).rediscretised
    assert {r.run for r in after} == before
    assert len([r for r in after if r.use == "other"]) == 3 * 2
    assert not (trained / "runs" / "tables.md").exists()


def copied(trained: Path, out: Path, *runs: str) -> Path:
    """Some runs of `trained` as results of their own."""
    for run in runs:
        shutil.copytree(trained / "runs" / run, out / "runs" / run)
    return out


DISC, OPT = "disc-opt-rk38-x4-seed0", "opt-disc-dopri5-rtol1e-05-seed0"


def test_evaluate_runs_on_another_engine_where_that_of_the_training_is_missing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(trained, tmp_path / "out", DISC)
    config = read_json(out / "runs" / DISC / "config.json")
    write_json(out / "runs" / DISC / "config.json", {**config, "decided_engine": "fused"})
    monkeypatch.setattr(Fused, "unavailable", lambda _: "no Numba here")
    assert call("evaluate", out, "--no-grid", "--samples", 5) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{DISC}: its solves run on another engine than in training: " in said
    assert "no Numba here" in said
    assert [(r.use, r.engine) for r in load_results(out).rediscretised] == [
        ("training", "eager"),
        ("evaluation", "eager"),
        ("mixed", "eager"),
    ]


def test_the_engine_that_takes_the_place_of_another() -> None:
    """A solver that only one engine has can't run without it."""
    refused = EngineUnavailable("no Julia here")
    assert _on_any_engine(OptDisc(engine="fused", rtol=1e-3), refused) == OptDisc(rtol=1e-3)
    assert _on_any_engine(DiscOptJulia(RK4, 3), refused) == DiscOpt(RK4, 3)
    with pytest.raises(EngineUnavailable, match="no Julia here"):
        _on_any_engine(OptDiscJulia(solver="vern9"), refused)


def test_runs_that_can_not_be_evaluated_leave_those_of_the_others(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(trained, tmp_path / "out", DISC, OPT)
    assert call("evaluate", out, "--no-grid", "--samples", 6) == 0
    refusal: Exception = EngineUnavailable("no Julia here")

    def refusing(folder: Path) -> object:
        if folder.name == OPT:
            raise refusal
        return restore(folder)

    monkeypatch.setattr("pynode.training.restore.restore", refusing)
    for error, status, rows in ((refusal, 1, 5), (ConfigurationMismatch("other rows"), 2, 4)):
        refusal = error
        capsys.readouterr()
        assert call("evaluate", out, "--no-grid", "--samples", rows) == status
        assert str(error) in capsys.readouterr().err
        measured = {(r.run, r.samples) for r in load_results(out).rediscretised}
        assert measured == {(DISC, rows), (OPT, 6)}, "what was measured is written, what was not is as before"


def test_evaluate_skips_runs_that_are_not_finished(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    for part, runs in (("a", (DISC, OPT)), ("b", (DISC,))):
        copied(trained, sweep / part, *runs)
    for unfinished in (sweep / "a" / "runs" / OPT, sweep / "b" / "runs" / DISC):
        (unfinished / "summary.json").unlink()
    assert call("evaluate", sweep, "--no-grid", "--samples", 5) == 0
    said = "".join(capsys.readouterr().out.split())
    for name in (f"a/runs/{OPT}", f"b/runs/{DISC}"):
        assert f"{name}:therunisnotfinished" in said
    assert {r.run for r in load_results(sweep / "a").rediscretised} == {DISC}
    assert not (sweep / "b" / "rediscretisation.jsonl").exists()
    (sweep / "a" / "runs" / DISC / "summary.json").unlink()
    assert call("evaluate", sweep, "--no-grid", "--samples", 5) == 2
    assert "no finished run there" in capsys.readouterr().err
